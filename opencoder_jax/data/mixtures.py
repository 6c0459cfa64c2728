"""The seqio registry: tasks over packed sets, and mixtures of them with their rates.

A task `NAME` stands for the packed set `packed_dir/NAME`. Training asks this module only
for the rates and reads the sets itself (`opencoder_jax.data.batches`); through seqio's own
`get_dataset` the same sets come out as `tf.data`, for T5X and everything that reads seqio
tasks. A mixture of one's own is registered with `register_mixture`, from gin or in Python:

    MIXTURE_OR_TASK_NAME = @mixtures.register_mixture()
    mixtures.register_mixture.name = 'opencoder_annealing'
    mixtures.register_mixture.rates = {'refinecode': 83.94, 'algorithmic_corpus': 12.44}

The only module that imports seqio, and with it TensorFlow: ten seconds and a gigabyte.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # No greetings on stderr.

import seqio
import tensorflow as tf

from opencoder_jax.data.packed_set import PACKED_TASKS, SPLITS, PackedSet, open_packed_set
from opencoder_jax.data.records import Shard, ShardRecords
from opencoder_jax.errors import InputError
from opencoder_jax.formats.packed import BATCH_KEYS, decode_arrays, features_of

_packed_dir: str | os.PathLike | None = None


def set_packed_dir(packed_dir: str | os.PathLike) -> None:
    """Says where the tasks' sets are; for `get_dataset`, as `seqio.set_tfds_data_dir_override`."""
    global _packed_dir
    _packed_dir = packed_dir


def register_packed_task(name: str) -> str:
    """Registers a task over the packed set `name`, if there is none yet.

    Returns:
      `name`, so that gin can bind `MIXTURE_OR_TASK_NAME` to the call.
    """
    if name not in seqio.TaskRegistry.names():
        feature = seqio.Feature(
            # Tokens come as ids; the tokenizer is `opencoder_jax.formats.tokenizer`.
            vocabulary=seqio.PassThroughVocabulary(size=0),
            add_eos=False,
            dtype=tf.int32,
        )
        seqio.TaskRegistry.add(
            name,
            source=PackedSource(name),
            output_features=dict.fromkeys(BATCH_KEYS, feature),
        )
    return name


def register_mixture(name: str, rates: Mapping[str, float]) -> str:
    """Registers a mixture of packed sets, and the tasks that it needs.

    Args:
      name: of the mixture.
      rates: task name to rate; shares of tokens, in any unit.

    Returns:
      `name`.

    Raises:
      InputError: a rate is not positive, or a mixture of that name has other rates.
    """
    wrong = {task: rate for task, rate in rates.items() if not rate > 0}
    if wrong or not rates:
        raise InputError(f"mixture {name!r}: rates {dict(rates)}, expected positive numbers")
    if name in seqio.TaskRegistry.names():
        raise InputError(f"mixture {name!r}: a task has that name; choose another")
    for task in rates:
        register_packed_task(task)
    if name not in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.add(name, sorted(rates.items()))
    elif mixture_rates(name) != {task: float(rate) for task, rate in rates.items()}:
        raise InputError(
            f"mixture {name!r} is registered with rates {mixture_rates(name)}; choose another name"
        )
    return name


def forget_mixture(mixture_or_task_name: str | Mapping[str, float]) -> None:
    """Makes room for a mixture of that name with other rates; of a task, or of rates, nothing."""
    if isinstance(mixture_or_task_name, str):
        seqio.MixtureRegistry.remove(mixture_or_task_name)


def mixture_rates(mixture_or_task_name: str) -> dict[str, float]:
    """Task name to rate of a registered mixture, in order of name; a task alone has rate 1.

    Raises:
      InputError: neither a task nor a mixture, or one that does not read packed sets.
    """
    try:
        provider = seqio.get_mixture_or_task(mixture_or_task_name)
    except ValueError as error:
        known = sorted({*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()})
        raise InputError(
            f"no task or mixture {mixture_or_task_name!r} (registered: {', '.join(known)}); "
            "register it with opencoder_jax.data.mixtures.register_mixture"
        ) from error
    if isinstance(provider, seqio.Task):
        rates = {provider.name: 1.0}
        tasks = [provider]
    else:
        tasks = sorted(provider.tasks, key=lambda task: task.name)
        rates = {task.name: float(provider.get_rate(task)) for task in tasks}
    foreign = [task.name for task in tasks if not isinstance(task.source, PackedSource)]
    if foreign:
        raise InputError(
            f"{mixture_or_task_name!r} has tasks that do not read packed sets: {foreign}; pack "
            "their data with beam_pipelines.pack"
        )
    return rates


class PackedSource(seqio.DataSource):
    """The sequences of the packed set `name` as `tf.data`, already shuffled by their packing."""

    def __init__(self, name: str) -> None:
        super().__init__(splits=SPLITS, caching_permitted=False, performs_internal_shuffling=True)
        self._name = name

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        return [shard.path for shard in self._packed_set(split).shards]

    def num_input_examples(self, split: str) -> int:
        return self._packed_set(split).num_records

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **unused: object,
    ) -> tf.data.Dataset:
        """Examples of int32[S] under `BATCH_KEYS`; `shuffle` orders the shards anew."""
        packed_set = self._packed_set(split)
        numbers = tf.data.Dataset.range(len(packed_set.shards))
        if shard_info:
            numbers = numbers.shard(shard_info.num_shards, shard_info.index)
        if shuffle:
            numbers = numbers.shuffle(len(packed_set.shards), seed=seed)
        signature = {
            key: tf.TensorSpec([packed_set.sequence_length], tf.int32) for key in BATCH_KEYS
        }
        examples = functools.partial(_shard_examples, packed_set.shards)
        return numbers.flat_map(
            lambda number: tf.data.Dataset.from_generator(
                examples, args=(number,), output_signature=signature
            )
        )

    def _packed_set(self, split: str) -> PackedSet:
        if _packed_dir is None:
            raise InputError(
                f"task {self._name!r}: call opencoder_jax.data.mixtures.set_packed_dir first"
            )
        return open_packed_set(_packed_dir, self._name, split)


def _shard_examples(shards: Sequence[Shard], number: int) -> Iterator[dict]:
    records = ShardRecords([shards[number]])
    for index in range(len(records)):
        yield features_of(decode_arrays(records[index]))


for _task in PACKED_TASKS:
    register_packed_task(_task)
