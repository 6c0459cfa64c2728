import collections
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from opencoder_jax.data.batches import BatchSource, DatasetConfig
from opencoder_jax.data.fingerprints import check_fingerprint
from opencoder_jax.data.records import ShardRecords
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.packed import BATCH_KEYS, decode_packed, features
from tests import packed_example

RATES = {"refinecode": 84.0, "algorithmic_corpus": 16.0}


def source(task=None, *, rows=None, **changes):
    settings = {
        "packed_dir": str(packed_example.packed_dir()),
        "task_feature_lengths": {"targets": packed_example.SEQUENCE_LENGTH},
        "split": "train",
        "batch_size": 8,
        "seed": 5,
        **changes,
    }
    return BatchSource(
        DatasetConfig(task or {"refinecode": 1.0}, **settings),
        rows=rows and (lambda batch_size: rows),
    )


def mixed(**changes):
    return source(RATES, **changes)


def digest(batch):
    joined = b"".join(np.ascontiguousarray(batch[key]).tobytes() for key in BATCH_KEYS)
    return hashlib.sha256(joined).hexdigest()


def rows(batches, first, count):
    """Digest of each of `count` rows."""
    size = len(batches.batch(0)["decoder_positions"])
    found = []
    for k in range(first // size, -(-(first + count) // size)):
        batch = batches.batch(k)
        found += [digest({key: batch[key][row] for key in BATCH_KEYS}) for row in range(size)]
    return found[first % size :][:count]


def test_a_batch_has_t5x_keys_shapes_and_types():
    batch = source().batch(0)

    assert set(batch) == set(BATCH_KEYS)
    for array in batch.values():
        assert array.shape == (8, packed_example.SEQUENCE_LENGTH)
        assert array.dtype == np.int32


def test_batch_k_is_the_same_after_any_other_and_at_any_prefetch():
    batches = mixed()
    expected = [digest(batches.batch(k)) for k in range(12)]

    backwards = [digest(batches.batch(k)) for k in reversed(range(12))]
    assert backwards == expected[::-1]
    for prefetch in (1, 2, 7):
        stream = batches.iterate(4, prefetch=prefetch)
        assert [digest(next(stream)) for _ in range(8)] == expected[4:]
        stream.close()


def test_a_late_batch_reads_its_own_records_and_no_others(monkeypatch):
    read = []
    record = ShardRecords.__getitem__
    monkeypatch.setattr(
        ShardRecords, "__getitem__", lambda self, index: read.append(index) or record(self, index)
    )
    for k in (0, 1_000_000):
        batches = mixed()
        read.clear()
        stream = batches.iterate(k, prefetch=1)
        next(stream)
        assert len(read) == 8
        stream.close()


def test_batch_k_is_the_same_in_a_fresh_process():
    batches = mixed()
    program = (
        "from tests.opencoder_jax.data.test_batches import *\n"
        f"batches = BatchSource({batches.plan!r})\n"
        "print(json.dumps([digest(batches.batch(k)) for k in (100_000, 3)]))"
    )

    out = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)

    assert json.loads(out.stdout) == [digest(batches.batch(k)) for k in (100_000, 3)]


def test_an_epoch_is_every_sequence_once_and_the_next_another_order_of_them():
    batches = source()
    size = batches.num_records["refinecode"]
    stored = [
        digest(features(decode_packed(record)))
        for record in shards.read_records(packed_example.packed_dir() / "refinecode", "train")
    ]

    first, second = rows(batches, 0, size), rows(batches, size, size)

    assert collections.Counter(first) == collections.Counter(stored)
    assert collections.Counter(second) == collections.Counter(stored)
    assert first != second
    assert first != stored


def test_another_seed_is_another_order():
    assert digest(source(seed=1).batch(0)) != digest(source(seed=2).batch(0))
    assert rows(source(seed=6), 0, 50) != rows(
        source(seed=5), source().num_records["refinecode"], 50
    )


def test_rows_come_from_the_sources_at_the_mixtures_rates():
    batches = mixed()
    own = {
        name: {
            digest(features(decode_packed(record)))
            for record in shards.read_records(packed_example.packed_dir() / name, "train")
        }
        for name in RATES
    }
    counts = collections.Counter()
    for k in range(50):
        names = [batches.source_names[i] for i in batches.row_source_ids(k)]
        assert collections.Counter(names) == {
            name: count for name, count in batches.source_counts(k).items() if count
        }
        batch = batches.batch(k)
        for row, name in enumerate(names):
            assert digest({key: batch[key][row] for key in BATCH_KEYS}) in own[name]
        counts.update(names)

    assert counts["refinecode"] == pytest.approx(0.84 * 400, abs=2)
    assert batches.row_source_ids(0).dtype == np.int32
    length = packed_example.SEQUENCE_LENGTH
    assert batches.epochs({name: count * length for name, count in counts.items()}) == {
        name: pytest.approx(count / batches.num_records[name]) for name, count in counts.items()
    }


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [2, 3, 6, 7], [5]])
def test_a_host_reads_its_rows_of_the_one_global_batch(rows):
    whole, part = mixed(), mixed(rows=rows)

    for k in (0, 9):
        for key, array in part.batch(k).items():
            np.testing.assert_array_equal(array, whole.batch(k)[key][rows])
        np.testing.assert_array_equal(part.row_source_ids(k), whole.row_source_ids(k)[rows])
        assert part.source_counts(k) == whole.source_counts(k)
    assert part.fingerprint == whole.fingerprint


def test_an_iterator_can_be_left_at_any_time():
    stream = source().iterate(3)
    next(stream)
    stream.close()

    with pytest.raises(StopIteration):
        next(stream)


def test_a_fingerprint_that_differs_is_refused_part_by_part():
    current = mixed().fingerprint
    saved = json.loads(json.dumps(current))
    check_fingerprint(saved, current)

    saved["mixture"]["refinecode"] = 1.0
    saved["tokenizer"] = "0" * 16
    with pytest.raises(InputError) as error:
        check_fingerprint(saved, current)

    assert "mixture.refinecode: checkpoint 1.0, now 84.0" in str(error.value)
    assert "tokenizer: checkpoint '0000000000000000'" in str(error.value)
    assert "seed" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ({"code_snippets": 1}, {}, "no such packed set"),
        ({"refinecode": 0.0}, {}, "expected positive numbers"),
        (None, {"packed_dir": "/nonexistent"}, "no such packed set"),
        (None, {"task_feature_lengths": {"targets": 64}}, "sequences of 128 tokens"),
        (None, {"task_feature_lengths": {"inputs": 64}}, "task_feature_lengths is"),
        (None, {"split": "validation"}, "split 'validation'"),
        (None, {"batch_size": 0}, "batch_size is 0, expected at least 1"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(task, change, message):
    with pytest.raises(InputError, match=message):
        source(task, **change)


def test_sets_of_two_tokenizers_are_not_mixed(tmp_path):
    packed = tmp_path / "packed"
    for name in RATES:
        folder = packed / name
        folder.mkdir(parents=True)
        for path in (packed_example.packed_dir() / name).glob("*.*"):
            (folder / path.name).write_bytes(path.read_bytes())
    manifest = packed / "refinecode" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["inputs"]["tokenizer"] = "f" * 16
    manifest.write_text(json.dumps(content))
    mixed()

    with pytest.raises(InputError, match="was packed with tokenizer"):
        mixed(packed_dir=str(packed))


def test_an_empty_set_is_refused_before_training(tmp_path):
    empty = packed_example.write_corpus(tmp_path / "corpus", [])
    packed_example.pack_example(empty, tmp_path / "packed" / "refinecode")

    with pytest.raises(InputError, match="has no train sequence"):
        source(packed_dir=str(tmp_path / "packed"))
