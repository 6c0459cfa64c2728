import collections

import pytest
import seqio

from opencoder_jax.data import mixtures
from opencoder_jax.data.batches import BatchSource, DatasetConfig
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.packed import BATCH_KEYS, decode_packed, features
from tests import packed_example


@pytest.fixture(autouse=True)
def _sets():
    mixtures.set_packed_dir(packed_example.packed_dir())


def rows(dataset):
    return collections.Counter(
        tuple(example[key].numpy().tobytes() for key in BATCH_KEYS) for example in dataset
    )


def stored(name, split):
    records = shards.read_records(packed_example.packed_dir() / name, split)
    examples = (features(decode_packed(record)) for record in records)
    return collections.Counter(tuple(e[key].tobytes() for key in BATCH_KEYS) for e in examples)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_task_gives_the_packed_sequences_through_tf_data(split):
    task = seqio.get_mixture_or_task("refinecode")

    dataset = task.get_dataset(sequence_length=None, split=split, shuffle=split == "train", seed=1)

    assert rows(dataset) == stored("refinecode", split)


def test_shards_of_a_task_are_its_parts():
    task = seqio.get_mixture_or_task("refinecode")
    parts = [
        rows(task.get_dataset(None, "train", shuffle=False, shard_info=seqio.ShardInfo(i, 3)))
        for i in range(3)
    ]

    assert sum(parts, collections.Counter()) == stored("refinecode", "train")


def test_a_mixture_is_a_real_seqio_mixture_and_its_rates_come_back():
    rates = {"refinecode": 83.94, "algorithmic_corpus": 12.44, "code_snippets": 2.71}

    name = mixtures.register_mixture("test_rates", rates)

    assert isinstance(seqio.get_mixture_or_task(name), seqio.Mixture)
    assert mixtures.mixture_rates(name) == rates
    assert list(mixtures.mixture_rates(name)) == sorted(rates)
    assert mixtures.mixture_rates("refinecode") == {"refinecode": 1.0}


def test_a_mixture_runs_through_tf_data():
    name = mixtures.register_mixture("test_tf", {"refinecode": 3, "algorithmic_corpus": 1})

    dataset = seqio.get_mixture_or_task(name).get_dataset(None, "train", shuffle=False)

    both = stored("refinecode", "train") + stored("algorithmic_corpus", "train")
    assert set(rows(dataset.take(50))) <= set(both)


def test_registering_twice_is_harmless_and_other_rates_are_refused():
    mixtures.register_mixture("test_twice", {"refinecode": 1})
    mixtures.register_mixture("test_twice", {"refinecode": 1})

    with pytest.raises(InputError, match="is registered with rates"):
        mixtures.register_mixture("test_twice", {"refinecode": 2})


@pytest.mark.parametrize("rates", [{}, {"refinecode": 0}, {"refinecode": -1.0}])
def test_rates_that_are_no_shares_are_refused(rates):
    with pytest.raises(InputError, match="expected positive numbers"):
        mixtures.register_mixture("test_wrong", rates)


def test_a_mixture_cannot_take_a_tasks_name():
    with pytest.raises(InputError, match="a task has that name"):
        mixtures.register_mixture("refinecode", {"algorithmic_corpus": 1})


def test_a_task_that_reads_something_else_is_refused():
    seqio.TaskRegistry.add(
        "test_foreign",
        source=seqio.TextLineDataSource({"train": "/nonexistent"}),
        output_features={"targets": seqio.Feature(seqio.PassThroughVocabulary(size=1))},
    )

    with pytest.raises(InputError, match="do not read packed sets"):
        mixtures.mixture_rates("test_foreign")


def batches(mixture_or_task):
    lengths = {"targets": packed_example.SEQUENCE_LENGTH}
    folder = str(packed_example.packed_dir())
    return BatchSource(DatasetConfig(mixture_or_task, folder, lengths, "train", 8, 0))


def test_batches_of_a_registered_mixture_are_those_of_its_rates():
    rates = {"refinecode": 84.0, "algorithmic_corpus": 16.0}
    name = mixtures.register_mixture("test_batches", rates)

    registered, plain = batches(name), batches(rates)

    assert registered.fingerprint == plain.fingerprint
    for key in BATCH_KEYS:
        assert (registered.batch(7)[key] == plain.batch(7)[key]).all()


def test_batches_of_an_unknown_task_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no task or mixture 'refinecod'.*refinecode"):
        batches("refinecod")
