"""Random access to the sequences of a packed set, through grain.

Any record of any shard costs one read, so the order of training is a matter of arithmetic
on indices and needs no iterator state. A record is decoded where it is read, so that an
error can name it.
"""

from collections.abc import Mapping

import grain
import numpy as np

from opencoder_jax.data.packed_set import PackedSet
from opencoder_jax.data.records import ShardRecords
from opencoder_jax.formats.example import RecordError
from opencoder_jax.formats.packed import decode_arrays

# int32[S+1] of `formats.packed.ARRAYS`.
Arrays = Mapping[str, np.ndarray]


def packed_dataset(packed_set: PackedSet) -> grain.MapDataset[Arrays]:
    """The sequences in shard order: element i is record i, int32[S+1] of each array."""
    return grain.MapDataset.source(_Sequences(packed_set))


class _Sequences:
    """Grain's source."""

    def __init__(self, packed_set: PackedSet) -> None:
        self._records = ShardRecords(packed_set.shards)
        self._length = packed_set.sequence_length + 1

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Arrays:
        record = self._records[index]
        try:
            arrays = decode_arrays(record)
            length = arrays["tokens"].shape[0]
            if length != self._length:
                raise RecordError(f"{length} tokens, its set has sequences of {self._length}")
        except RecordError as error:
            raise RecordError(f"{self._records.name(index)}: {error}") from error
        return arrays
