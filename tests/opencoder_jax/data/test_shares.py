"""What is told of a mixture before the first step is what its batches hold, row by row."""

import collections
import itertools
from pathlib import Path

import pytest

from opencoder_jax.data.batches import BatchSource, DatasetConfig, DatasetStage
from opencoder_jax.data.shares import planned_shares, shares_table
from opencoder_jax.formats.packed import BATCH_KEYS
from tests import packed_example

# Paper Table 3; a set of its own each, so that a row's text tells which set it came from.
ANNEALING = {
    "refinecode": 83.94,
    "algorithmic_corpus": 12.44,
    "code_snippets": 2.71,
    "code_textbooks": 0.91,
}


@pytest.fixture(scope="module")
def packed_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shares")
    documents = [d for d in packed_example.documents() if len(d.text) > 300]
    shares = (documents[8:], documents[4:8], documents[1:4], documents[:1])
    for name, part in zip(ANNEALING, shares, strict=True):
        corpus = packed_example.write_corpus(root / "corpora" / name, part)
        packed_example.pack_example(corpus, root / "packed" / name, heldout_fraction=0.0)
    return root / "packed"


def config(packed_dir: Path, rates: dict[str, float], batch_size: int = 16) -> DatasetConfig:
    lengths = {"targets": packed_example.SEQUENCE_LENGTH}
    return DatasetConfig(rates, str(packed_dir), lengths, "train", batch_size, 3)


def rows_of(packed_dir: Path) -> dict[bytes, str]:
    """A row's bytes to the set that it is in, from each set alone, one epoch of it."""
    found = {}
    for name in ANNEALING:
        source = BatchSource(config(packed_dir, {name: 1.0}, 1))
        for k in range(source.num_records[name]):
            found[row_bytes(source.batch(k), 0)] = name
    return found


def row_bytes(batch: dict, row: int) -> bytes:
    return b"".join(batch[key][row].tobytes() for key in BATCH_KEYS)


def test_real_batches_hold_what_is_told_within_two_sequences_a_set(packed_dir: Path) -> None:
    source = BatchSource(config(packed_dir, ANNEALING))
    # Annealing goes on at pretraining's step.
    first, last = 37, 37 + 120
    told = {share.name: share for share in planned_shares(source, first, last, {})}

    known = rows_of(packed_dir)
    counted: collections.Counter[str] = collections.Counter()
    learned: collections.Counter[str] = collections.Counter()
    for k in range(first, last):
        batch = source.batch(k)
        for row in range(16):
            name = known[row_bytes(batch, row)]
            counted[name] += 1
            learned[name] += int(batch["decoder_loss_weights"][row].sum())

    total = 16 * 120
    assert {name: share.sequences for name, share in told.items()} == dict(counted)
    for name, rate in ANNEALING.items():
        share = told[name]
        assert share.wanted == pytest.approx(rate / 100)
        assert abs(share.sequences - total * rate / 100) <= 2 * len(ANNEALING)
        assert share.actual == share.sequences / total
        assert share.tokens == share.sequences * packed_example.SEQUENCE_LENGTH
        assert share.repeats == pytest.approx(share.sequences / share.records)
        assert share.learned == pytest.approx(learned[name] / learned.total(), abs=0.01)


def test_a_set_too_small_for_its_rate_is_repeated_and_every_record_as_often(
    packed_dir: Path,
) -> None:
    source = BatchSource(config(packed_dir, {"refinecode": 1.0, "code_textbooks": 1.0}))
    small = source.num_records["code_textbooks"]
    steps = 3 * small // 8 + 1
    told = {share.name: share for share in planned_shares(source, 0, steps, {})}
    assert told["code_textbooks"].repeats > 2.9

    known = rows_of(packed_dir)
    batches = (source.batch(k) for k in range(steps))
    rows = (row_bytes(batch, row) for batch, row in itertools.product(batches, range(16)))
    counted = collections.Counter(row for row in rows if known[row] == "code_textbooks")
    assert counted.total() == told["code_textbooks"].sequences
    assert len(counted) == small
    assert max(counted.values()) - min(counted.values()) <= 1


def test_earlier_phases_count_as_epochs_and_not_as_repeats(packed_dir: Path) -> None:
    source = BatchSource(config(packed_dir, ANNEALING))
    before = 2 * source.num_records["refinecode"] * packed_example.SEQUENCE_LENGTH
    told = {s.name: s for s in planned_shares(source, 0, 50, {"refinecode": before})}
    assert told["refinecode"].epochs == pytest.approx(2 + told["refinecode"].repeats)
    assert told["code_snippets"].epochs == pytest.approx(told["code_snippets"].repeats)
    table = shares_table(told.values())
    assert f"{told['refinecode'].epochs:.2f} with earlier phases" in table
    assert table.count("with earlier phases") == 1


def test_a_run_too_short_for_a_rate_says_that_the_set_gives_nothing(packed_dir: Path) -> None:
    source = BatchSource(config(packed_dir, ANNEALING, 1))
    told = {share.name: share for share in planned_shares(source, 10, 15, {})}
    assert told["code_textbooks"].sequences == 0
    (line,) = (x for x in shares_table(told.values()).splitlines() if "code_textbooks" in x)
    assert line.split("  ")[-1] == "gets no sequence: the phase is too short for its rate"


def test_stages_are_counted_each_by_its_own_rates(packed_dir: Path) -> None:
    plan = [
        DatasetStage(40, config(packed_dir, {"refinecode": 1.0})),
        DatasetStage(60, config(packed_dir, ANNEALING, 4)),
    ]
    source = BatchSource(plan)
    told = {share.name: share for share in planned_shares(source, 30, 90, {})}
    counted: collections.Counter[str] = collections.Counter()
    for k in range(30, 90):
        counted.update(source.source_counts(k))
    assert {name: share.sequences for name, share in told.items()} == dict(counted)
    wanted = (10 * 16 + 50 * 4 * 0.8394) / (10 * 16 + 50 * 4)
    assert told["refinecode"].wanted == pytest.approx(wanted)
    assert sum(share.wanted for share in told.values()) == pytest.approx(1)
