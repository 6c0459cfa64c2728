"""Plans of several mixtures, sequence lengths and batch sizes on one axis of steps."""

import collections
import dataclasses
import functools
import json

import numpy as np
import pytest

from opencoder_jax.data.batches import BatchSource, DatasetConfig, DatasetStage, plan_shapes
from opencoder_jax.data.fingerprints import check_fingerprint
from opencoder_jax.errors import InputError
from opencoder_jax.formats.packed import BATCH_KEYS
from tests import packed_example

S = packed_example.SEQUENCE_LENGTH


@functools.cache
def half_length_dir():
    """`refinecode` once more, in sequences of half the length."""
    folder = packed_example.root() / "packed-half"
    packed_example.pack_example(
        packed_example.corpus_dir(), folder / "refinecode", sequence_length=S // 2
    )
    return folder


def dataset(rates, batch_size=8, length=S, seed=5):
    packed_dir = packed_example.packed_dir() if length == S else half_length_dir()
    return DatasetConfig(rates, str(packed_dir), {"targets": length}, "train", batch_size, seed)


PRETRAIN = dataset({"refinecode": 1.0})
ANNEAL = dataset({"refinecode": 3.0, "algorithmic_corpus": 1.0}, batch_size=4)
PLAN = [DatasetStage(3, PRETRAIN), DatasetStage(4, ANNEAL), DatasetStage(2, PRETRAIN)]


def rows(batch):
    count = len(batch["decoder_positions"])
    return [b"".join(batch[key][row].tobytes() for key in BATCH_KEYS) for row in range(count)]


def rows_of(source, name, steps):
    """The rows that steps take from a set, in order."""
    wanted = source.source_names.index(name)
    return [
        row
        for k in steps
        for row, owner in zip(rows(source.batch(k)), source.row_source_ids(k), strict=True)
        if owner == wanted
    ]


def test_a_stage_has_its_own_mixture_length_and_batch_size():
    short = dataset({"refinecode": 1.0}, batch_size=16, length=S // 2)
    source = BatchSource([DatasetStage(2, short), DatasetStage(3, ANNEAL)])

    assert [source.shape(k) for k in range(5)] == [(16, S // 2)] * 2 + [(4, S)] * 3
    assert plan_shapes(source.plan) == ((16, S // 2), (4, S))
    assert plan_shapes(short) == ((16, S // 2),)
    for k in range(5):
        assert {array.shape for array in source.batch(k).values()} == {source.shape(k)}
        assert sum(source.source_counts(k).values()) == source.shape(k)[0]
    assert [source.sequences_before(k) for k in (0, 1, 2, 4)] == [0, 16, 32, 40]
    assert [source.tokens_before(k) for k in (0, 2, 4)] == [0, 16 * S, 16 * S + 8 * S]
    # Of the first stage are the batches that it would give alone.
    for key, array in BatchSource(short).batch(1).items():
        np.testing.assert_array_equal(source.batch(1)[key], array)


def test_a_set_goes_on_in_the_next_stage_where_it_was():
    source = BatchSource(PLAN)
    alone = BatchSource(PRETRAIN)
    taken = rows_of(source, "refinecode", range(9))

    expected = [row for k in range(-(-len(taken) // 8)) for row in rows(alone.batch(k))]
    assert taken == expected[: len(taken)]
    assert len(taken) < alone.num_records["refinecode"]
    assert max(collections.Counter(taken).values()) == 1


def test_a_set_of_another_length_begins_at_its_first_sequence():
    short = dataset({"refinecode": 1.0}, length=S // 2)
    source = BatchSource([DatasetStage(3, PRETRAIN), DatasetStage(2, short)])

    assert rows(source.batch(3)) == rows(BatchSource(short).batch(0))


def test_batch_k_of_a_plan_needs_no_other_batch():
    source = BatchSource(PLAN)
    expected = [rows(source.batch(k)) for k in range(9)]

    assert [rows(source.batch(k)) for k in reversed(range(9))] == expected[::-1]
    assert [rows(batch) for batch in source.iterate(2, prefetch=3)] == expected[2:]
    assert [rows(batch) for batch in BatchSource(PLAN).iterate(8)] == expected[8:]


def test_a_plan_ends_with_its_last_stage():
    source = BatchSource(PLAN)

    assert source.num_steps == 9
    assert list(source.iterate(9)) == []
    for k in (9, -1):
        with pytest.raises(InputError, match="the stages have 9 steps in all"):
            source.batch(k)


def test_hosts_read_their_rows_of_each_stage():
    whole = BatchSource(PLAN)
    part = BatchSource(PLAN, rows=lambda batch_size: range(batch_size // 2, batch_size))

    for k in (0, 4, 8):
        half = whole.shape(k)[0] // 2
        assert rows(part.batch(k)) == rows(whole.batch(k))[half:]
        np.testing.assert_array_equal(part.row_source_ids(k), whole.row_source_ids(k)[half:])
        assert part.source_counts(k) == whole.source_counts(k)
    assert part.fingerprint == whole.fingerprint


def test_passes_add_up_over_lengths_and_phases():
    short = dataset({"refinecode": 1.0}, batch_size=16, length=S // 2)
    source = BatchSource([DatasetStage(2, short), DatasetStage(3, PRETRAIN)])
    one_pass = source.num_records["refinecode"] * S

    assert source.epochs({}) == {"refinecode": 0.0}
    assert source.epochs({"refinecode": 3 * one_pass, "another": 7}) == {"refinecode": 3.0}


def fingerprint(plan):
    return json.loads(json.dumps(BatchSource(plan).fingerprint))


@pytest.mark.parametrize("step", [1, 3, 5])
def test_stages_that_have_not_begun_may_change_and_the_current_one_may_grow(step):
    saved = fingerprint(PLAN)
    begun = [stage for stage, first in zip(PLAN, (0, 3, 7), strict=True) if first < step]
    longer = [*begun[:-1], dataclasses.replace(begun[-1], steps=100)]
    changed = [*PLAN[: len(begun)], DatasetStage(9, dataset({"algorithmic_corpus": 1.0}))]

    for plan in (longer, changed):
        check_fingerprint(saved, fingerprint(plan), step=step)
        with pytest.raises(InputError, match="not what the checkpoint was trained on"):
            check_fingerprint(saved, fingerprint(plan))


def test_nothing_that_has_begun_may_change():
    saved = fingerprint(PLAN)
    other_rates = [PLAN[0], DatasetStage(4, dataset({"refinecode": 1.0}, batch_size=4)), PLAN[2]]
    moved = [DatasetStage(4, PRETRAIN), DatasetStage(3, ANNEAL), PLAN[2]]

    for plan in (other_rates, moved):
        with pytest.raises(InputError, match="up to step 5") as error:
            check_fingerprint(saved, fingerprint(plan), step=5)
        assert "stage 2" in str(error.value)
    with pytest.raises(InputError, match=r"stage 1\.steps: checkpoint 3, now 4"):
        check_fingerprint(saved, fingerprint(moved), step=4)


def test_a_run_on_one_mixture_can_be_the_first_stage_of_a_plan():
    check_fingerprint(fingerprint(PRETRAIN), fingerprint(PLAN), step=3)
    with pytest.raises(InputError, match="not what the checkpoint was trained on"):
        check_fingerprint(fingerprint(PRETRAIN), fingerprint(PLAN), step=4)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([], "a plan of no stages"),
        ([DatasetStage(0, PRETRAIN)], "steps of stage 1 is 0, expected at least 1"),
        ([DatasetStage(1, dataclasses.replace(PRETRAIN, batch_size=0))], "batch_size is 0"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(plan, message):
    with pytest.raises(InputError, match=message):
        BatchSource(plan)
