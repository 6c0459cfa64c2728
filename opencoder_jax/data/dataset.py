"""Row i of one mixture of packed sets: which set, which record, and what it holds.

Each packed set is shuffled with a seed of its own, another permutation every epoch, and
repeated; the mixture interleaves the sets by their rates. All of that is index arithmetic on
`grain.MapDataset`s, so row 400,000,000 costs what row 0 costs, in any process, whatever was
read before. Rates are shares of sequences, which are shares of tokens, as all sequences of a
mixture have S+1. Next: `batches` makes batches of rows, `stages` puts mixtures one after
another.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import grain

from opencoder_jax.data import stores
from opencoder_jax.data.gathered_sets import set_folder
from opencoder_jax.data.interleaving import Interleaving
from opencoder_jax.data.packed_set import PACKED_TASKS, PackedSet, open_packed_set
from opencoder_jax.data.packed_source import Arrays, packed_dataset
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.split import hash_fraction


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """What to train on, with T5X's names.

    Attributes:
      mixture_or_task_name: a seqio task or mixture (`opencoder_jax.data.mixtures`), or the
        rates themselves, task name to rate, which saves importing seqio.
      packed_dir: folder with a packed set for each task, under the task's name; a path, or a
        url of an object store (`gs://bucket/packed-4096`).
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


class Order(NamedTuple):
    """Which records of which set, in which order: two stages with the same one walk it on."""

    fingerprint: str
    split: str
    name: str
    seed: int


class Dataset:
    """An opened `DatasetConfig`.

    Attributes:
      config: what it was opened from.
      names: of the sets, in the order in which rows count them.
      sets: the packed set of each name.
      sequence_length: S of all of them.
      fingerprint: JSON of everything that row i depends on, but for `taken`.
      is_remote: whether its rows come from an object store.
    """

    def __init__(self, config: DatasetConfig, taken: Mapping[Order, int] | None = None) -> None:
        """Args:
          config: what to train on.
          taken: how many sequences of a set went to earlier rows; it goes on after them.

        Raises:
          InputError: an unknown task, a set that is missing, empty or of another length or
            tokenizer than the others, an impossible batch size.
        """
        check_shape(config)
        rates = _rates(config.mixture_or_task_name)
        sets = [open_packed_set(config.packed_dir, name, config.split) for name in rates]
        _check_sets(sets, config)
        self.config = config
        self.names = tuple(rates)
        self.sets = {packed_set.name: packed_set for packed_set in sets}
        self.sequence_length = sets[0].sequence_length
        folders = (set_folder(config.packed_dir, name) for name in rates)
        self.is_remote = any(map(stores.is_remote, folders))
        self.orders = {name: _order(self.sets[name], config.seed) for name in rates}
        first = [(taken or {}).get(self.orders[name], 0) for name in rates]
        self._interleaving = Interleaving(list(rates.values()), first)
        self._sequences = grain.MapDataset.select_from_datasets(
            [_shuffled(packed_set, config.seed) for packed_set in sets], self._interleaving
        )
        self.fingerprint: dict[str, Any] = {
            "seed": config.seed,
            "batch_size": config.batch_size,
            "split": config.split,
            "sequence_length": self.sequence_length,
            "tokenizer": sets[0].tokenizer_fingerprint,
            "mixture": dict(rates),
            "sets": {packed_set.name: packed_set.fingerprint for packed_set in sets},
        }

    def sequence(self, row: int) -> Arrays:
        """int32[S+1] of each of `formats.packed.ARRAYS`."""
        return self._sequences[row]

    def source(self, row: int) -> int:
        """The place in `names` of the set that a row comes from."""
        return self._interleaving[row][0]

    def counts(self, rows: int) -> dict[str, int]:
        """How many of the first `rows` rows come from each set."""
        return dict(zip(self.names, self._interleaving.counts(rows), strict=True))


def _rates(mixture_or_task: str | Mapping[str, float]) -> dict[str, float]:
    if mixture_or_task in PACKED_TASKS:
        return {str(mixture_or_task): 1.0}
    if isinstance(mixture_or_task, str):
        # seqio takes ten seconds to import, and TensorFlow a gigabyte: only where it is asked.
        from opencoder_jax.data.mixtures import mixture_rates

        return mixture_rates(mixture_or_task)
    if not mixture_or_task or not all(rate > 0 for rate in mixture_or_task.values()):
        raise InputError(f"mixture rates {dict(mixture_or_task)}, expected positive numbers")
    return {name: float(rate) for name, rate in sorted(mixture_or_task.items())}


def _order(packed_set: PackedSet, seed: int) -> Order:
    return Order(packed_set.fingerprint, packed_set.split, packed_set.name, seed)


def _shuffled(packed_set: PackedSet, seed: int) -> grain.MapDataset:
    # grain adds the epoch's number to the seed; a hash keeps the orders of neighbouring
    # seeds, and of sets of one size, apart.
    own_seed = int(hash_fraction("shuffle", seed, packed_set.name) * 2**32)
    return packed_dataset(packed_set).shuffle(seed=own_seed).repeat()


def check_shape(config: DatasetConfig) -> None:
    """Raises: InputError: it has no batch size or no sequence length."""
    require_at_least(1, batch_size=config.batch_size)
    if set(config.task_feature_lengths) != {"targets"}:
        raise InputError(
            f"task_feature_lengths is {dict(config.task_feature_lengths)}, expected "
            '{"targets": S} with the sequence length S'
        )
    require_at_least(1, sequence_length=config.task_feature_lengths["targets"])


def _check_sets(sets: list[PackedSet], config: DatasetConfig) -> None:
    for packed_set in sets:
        name = set_folder(config.packed_dir, packed_set.name)
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
