"""Batch k, a pure function of (seed, mixture, k).

Each packed set is shuffled with a seed of its own, another permutation every epoch, and
repeated; the mixture interleaves the sets by their rates; rows kB to (k+1)B are batch k.
All of that is index arithmetic on `grain.MapDataset`s, so batch 400,000 costs what batch 0
costs, in any process, on any number of hosts, whatever was read before. A checkpoint needs
the step and the `fingerprint`, and no iterator state.

Rates are shares of sequences, which are shares of tokens, as all sequences have S+1.
"""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from opencoder_jax.data import stores
from opencoder_jax.data.interleaving import Interleaving
from opencoder_jax.data.packed_set import PackedSet, open_packed_set
from opencoder_jax.data.packed_source import packed_dataset
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import flattened
from opencoder_jax.formats.packed import ARRAYS, features_of
from opencoder_jax.formats.split import hash_fraction

Batch = dict[str, np.ndarray]

# Records that are fetched from a store at a time.
_REQUESTS = 32


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """What to train on, with T5X's names.

    Attributes:
      mixture_or_task_name: a seqio task or mixture (`opencoder_jax.data.mixtures`), or the
        rates themselves, task name to rate, which saves importing seqio.
      packed_dir: folder with a packed set for each task, under the task's name.
      task_feature_lengths: `{"targets": S}`; has to be the sets' sequence length.
      split: `train` or `heldout`.
      batch_size: B, sequences of all hosts together.
      seed: of all shuffling.
    """

    mixture_or_task_name: str | Mapping[str, float]
    packed_dir: str
    task_feature_lengths: Mapping[str, int]
    split: str
    batch_size: int
    seed: int


class BatchSource:
    """Batches of a mixture, by number.

    Attributes:
      config: what to train on.
      fingerprint: JSON of everything that batch k depends on; store it in checkpoints and
        compare with `check_fingerprint`.
      tokenizer_fingerprint: of the tokenizer that all sets were made with.
      num_records: sequences in each set of the mixture.
    """

    def __init__(self, config: DatasetConfig, *, rows: Sequence[int] | None = None) -> None:
        """Args:
          config: what to train on.
          rows: the rows of each batch that this host reads, ascending, for its devices
            (`sharding.local_rows`); None reads all.

        Raises:
          InputError: an unknown task, a set that is missing, empty or of another length or
            tokenizer than the others, an impossible batch size.
        """
        if config.batch_size < 1:
            raise InputError(f"batch_size is {config.batch_size}, expected at least 1")
        rates = _rates(config.mixture_or_task_name)
        sets = [open_packed_set(config.packed_dir, name, config.split) for name in rates]
        _check_sets(sets, config)
        self.config = config
        self._names = list(rates)
        self._interleaving = Interleaving(list(rates.values()))
        self._rows = list(range(config.batch_size) if rows is None else rows)
        self._sequences = grain.MapDataset.select_from_datasets(
            [_shuffled(packed_set, config.seed) for packed_set in sets], self._interleaving
        )
        # A store answers after some 50 ms, so rows are asked for side by side.
        remote = stores.is_remote(config.packed_dir)
        self._pool = concurrent.futures.ThreadPoolExecutor(_REQUESTS, "rows") if remote else None
        self.num_records = {packed_set.name: packed_set.num_records for packed_set in sets}
        self.tokenizer_fingerprint = sets[0].tokenizer_fingerprint
        self.fingerprint: dict[str, Any] = {
            "seed": config.seed,
            "batch_size": config.batch_size,
            "split": config.split,
            "sequence_length": sets[0].sequence_length,
            "tokenizer": self.tokenizer_fingerprint,
            "mixture": dict(rates),
            "sets": {packed_set.name: packed_set.fingerprint for packed_set in sets},
        }

    def batch(self, k: int) -> Batch:
        """Batch k, this host's rows: int32[b, S] of each of `formats.packed.BATCH_KEYS`."""
        first = k * self.config.batch_size
        read = self._pool.map if self._pool else map
        rows = list(read(self._sequences.__getitem__, [first + row for row in self._rows]))
        return features_of({name: np.stack([row[name] for row in rows]) for name in ARRAYS})

    def iterate(self, first_step: int = 0, prefetch: int = 2) -> Iterator[Batch]:
        """Batches `first_step`, `first_step` + 1, ... without end.

        Args:
          first_step: where to start; its size makes no difference to the time it takes.
          prefetch: batches that threads prepare ahead; the batches do not depend on it.
        """
        if prefetch < 1:
            raise InputError(f"prefetch is {prefetch}, expected at least 1")
        with concurrent.futures.ThreadPoolExecutor(min(prefetch, 4), "batches") as pool:
            pending = collections.deque(
                pool.submit(self.batch, first_step + i) for i in range(prefetch)
            )
            next_step = first_step + prefetch
            try:
                while True:
                    yield pending.popleft().result()
                    pending.append(pool.submit(self.batch, next_step))
                    next_step += 1
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sets of the mixture; `row_source_ids` counts them from 0."""
        return tuple(self._names)

    def shape(self, k: int) -> tuple[int, int]:
        """(B, S) of batch k, of all hosts together."""
        return self.config.batch_size, self.fingerprint["sequence_length"]

    def row_source_ids(self, k: int) -> np.ndarray:
        """int32[b]: the set that each of this host's rows of batch k comes from."""
        first = k * self.config.batch_size
        return np.array([self._interleaving[first + row][0] for row in self._rows], np.int32)

    def source_counts(self, k: int) -> dict[str, int]:
        """Rows of each set in batch k, of all hosts together."""
        before = self._interleaving.counts(k * self.config.batch_size)
        after = self._interleaving.counts((k + 1) * self.config.batch_size)
        return {name: after[i] - before[i] for i, name in enumerate(self._names)}

    def epochs(self, k: int) -> dict[str, float]:
        """How often each set has been gone through after batches 0 to k - 1."""
        rows = self._interleaving.counts(k * self.config.batch_size)
        return {name: rows[i] / self.num_records[name] for i, name in enumerate(self._names)}


def check_fingerprint(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuses to go on with other data than a checkpoint was trained on.

    Raises:
      InputError: the fingerprints differ; the message lists each part that does.
    """
    there, here = flattened(saved), flattened(current)
    differing = [
        f"{part}: checkpoint {there.get(part)!r}, now {here.get(part)!r}"
        for part in sorted({*there, *here})
        if there.get(part) != here.get(part)
    ]
    if differing:
        raise InputError(
            "the training data is not what the checkpoint was trained on; restore it, or start "
            "in another model directory:\n  " + "\n  ".join(differing)
        )


def _rates(mixture_or_task: str | Mapping[str, float]) -> dict[str, float]:
    if isinstance(mixture_or_task, str):
        # seqio takes ten seconds to import, and TensorFlow a gigabyte: only where it is asked.
        from opencoder_jax.data.mixtures import mixture_rates

        return mixture_rates(mixture_or_task)
    if not mixture_or_task or not all(rate > 0 for rate in mixture_or_task.values()):
        raise InputError(f"mixture rates {dict(mixture_or_task)}, expected positive numbers")
    return {name: float(rate) for name, rate in sorted(mixture_or_task.items())}


def _shuffled(packed_set: PackedSet, seed: int) -> grain.MapDataset:
    # grain adds the epoch's number to the seed; a hash keeps the orders of neighbouring
    # seeds, and of sets of one size, apart.
    own_seed = int(hash_fraction("shuffle", seed, packed_set.name) * 2**32)
    return packed_dataset(packed_set).shuffle(seed=own_seed).repeat()


def _check_sets(sets: list[PackedSet], config: DatasetConfig) -> None:
    if set(config.task_feature_lengths) != {"targets"}:
        raise InputError(
            f"task_feature_lengths is {dict(config.task_feature_lengths)}, expected "
            '{"targets": S} with the sequence length S'
        )
    for packed_set in sets:
        name = f"{config.packed_dir}/{packed_set.name}"
        if packed_set.sequence_length != config.task_feature_lengths["targets"]:
            raise InputError(
                f"{name} has sequences of {packed_set.sequence_length} tokens, "
                f"task_feature_lengths asks for {config.task_feature_lengths['targets']}; pack "
                "the set at that length"
            )
        if packed_set.tokenizer_fingerprint != sets[0].tokenizer_fingerprint:
            raise InputError(
                f"{name} was packed with tokenizer {packed_set.tokenizer_fingerprint}, "
                f"{sets[0].name} with {sets[0].tokenizer_fingerprint}; pack both with one"
            )
        if not packed_set.num_records:
            raise InputError(
                f"{name} has no {config.split} sequence; take it out of the mixture "
                f"{config.mixture_or_task_name!r}, or pack a larger set"
            )
