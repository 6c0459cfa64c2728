"""Single records of many shards, on this machine and in a real server of Google Cloud Storage."""

import json
import os
import resource
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from opencoder_jax.data import records, stores
from opencoder_jax.data.batches import BatchSource, DatasetConfig
from opencoder_jax.data.packed_set import heldout_sequences, open_packed_set
from opencoder_jax.data.records import Shard, ShardRecords
from opencoder_jax.errors import InputError
from opencoder_jax.formats.example import RecordError
from opencoder_jax.formats.record_offsets import record_offsets
from opencoder_jax.formats.shards import shard_name, write_shard
from tests import packed_example
from tests.beam_pipelines.object_store import running_store_of


def contents(count, seed=0, longest=9000):
    noise = np.random.default_rng(seed)
    sizes = noise.integers(1, longest, count)
    return [noise.integers(0, 8, int(size), dtype=np.uint8).tobytes() for size in sizes]


def write_set(folder, counts, **settings):
    """A set of shards with so many records each, and all the records."""
    written, everything = [], []
    for number, count in enumerate(counts):
        path = folder / shard_name("train", number, len(counts))
        part = contents(count, seed=number, **settings)
        write_shard(path, part)
        written.append(Shard(str(path), count, path.stat().st_size))
        everything += part
    return written, everything


def overwrite(path, content):
    with open(path, "r+b") as file:
        file.write(content)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with (
        running_store_of("gs", tmp_path_factory.mktemp("store")) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", os.environ["STORAGE_EMULATOR_HOST"])
        patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
        stores._store.cache_clear()
        yield store


@pytest.fixture(scope="module", params=["local", "gs"])
def placed(request, tmp_path_factory):
    """Shards of 0 to 400 records, where they are, and all their records."""
    folder = tmp_path_factory.mktemp("shards")
    shards, expected = write_set(folder, [3, 0, 400, 1, 50], longest=3000)
    if request.param == "gs":
        url = request.getfixturevalue("store").upload(folder, "placed")
        shards = [Shard(f"{url}/{os.path.basename(s.path)}", s.num_records, s.num_bytes)
                  for s in shards]  # fmt: skip
    return shards, expected


def test_records_come_in_the_order_of_their_shards(placed):
    shards, expected = placed
    found = ShardRecords(shards)

    assert len(found) == len(expected)
    for index in np.random.default_rng(0).permutation(len(found)).tolist():
        assert found[index] == expected[index]
    with pytest.raises(IndexError):
        found[len(found)]


def test_threads_share_one_set_with_few_shards_open(placed):
    shards, expected = placed
    found = ShardRecords(shards, max_open=2)
    wrong = []

    def read(seed):
        for index in np.random.default_rng(seed).integers(0, len(found), 60).tolist():
            if found[index] != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(found._open) <= 2


def test_no_more_files_are_open_than_said_and_none_before_the_first_record(tmp_path):
    shards, expected = write_set(tmp_path, [2] * 60, longest=20)
    before = len(os.listdir("/proc/self/fd"))
    found = ShardRecords(shards, max_open=8)
    assert len(os.listdir("/proc/self/fd")) == before

    assert [found[index] for index in range(len(found))] == expected

    assert len(os.listdir("/proc/self/fd")) <= before + 8
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > records.MAX_OPEN_LOCAL


def test_a_flipped_byte_is_an_error_that_names_the_shard_or_changes_nothing(tmp_path):
    (shard,), expected = write_set(tmp_path, [12], longest=12_000)
    sound = Path(shard.path).read_bytes()
    noise = np.random.default_rng(7)
    used = np.flatnonzero(np.frombuffer(sound, np.uint8))
    # Anywhere, where there is content, and in the headers of the blocks of 64 KiB.
    places = [
        *noise.integers(0, len(sound), 60),
        *noise.choice(used, 120),
        *(65_536 * noise.integers(0, len(sound) // 65_536, 40) + noise.integers(0, 24, 40)),
    ]
    failed = 0
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << noise.integers(0, 8)
        with open(shard.path, "wb") as file:
            file.write(damaged)
        found = ShardRecords([shard])
        for index, record in enumerate(expected):
            try:
                read = found[index]
            except RecordError as error:
                failed += shard.path in str(error)
                continue
            assert read == record, f"byte {place}"
    assert failed > 100


def test_the_end_of_a_file_that_is_none_or_damaged_is_refused(tmp_path):
    (shard,), _ = write_set(tmp_path, [5])
    sound = Path(shard.path).read_bytes()
    used = np.flatnonzero(np.frombuffer(sound, np.uint8))
    offsets = record_offsets(lambda start, stop: sound[start:stop], len(sound))
    noise = np.random.default_rng(3)
    for place in [*noise.choice(used, 100), *range(len(sound) - 65_536 + 24, len(sound) - 65_440)]:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << noise.integers(0, 8)
        try:
            record_offsets(lambda start, stop, d=bytes(damaged): d[start:stop], len(damaged))
        except RecordError:
            continue
    for content in (b"", b"no shard", bytes(200_000), bytes(131_072), sound[:65_536]):
        with pytest.raises(RecordError, match="its end is damaged or missing"):
            record_offsets(lambda start, stop, c=content: c[start:stop], len(content))
    assert len(offsets) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: os.truncate(path, 65_536), "65536 bytes, its manifest says"),
        (os.remove, "no such file"),
        (lambda path: overwrite(path, bytes(100)), "damaged"),
        (lambda path: write_shard(path, contents(4)), "4 records, its manifest says 5"),
    ],
)
def test_a_shard_that_changes_under_the_run_is_named(tmp_path, change, message):
    (shard,), _ = write_set(tmp_path, [5], longest=100)
    change(shard.path)

    with pytest.raises(RecordError, match=message) as error:
        ShardRecords([shard])[0]

    assert shard.path in str(error.value)


def test_a_shard_of_a_store_that_is_missing_or_damaged_is_named(store, tmp_path):
    (shard,), expected = write_set(tmp_path, [5], longest=30_000)
    sound = Path(shard.path).read_bytes()
    url = f"{store.root}/damaged/train-00000-of-00001.arrayrecord"
    remote = Shard(url, 5, len(sound))
    offsets = record_offsets(lambda start, stop: sound[start:stop], len(sound))

    with pytest.raises(RecordError, match=f"{url}: no such object"):
        ShardRecords([remote])[0]
    store.put(url, sound[:-65_536])
    with pytest.raises(InputError, match=url):
        ShardRecords([remote])[0]
    flipped = bytearray(sound)
    flipped[int(offsets[3]) + 200] ^= 1
    store.put(url, bytes(flipped))
    found = ShardRecords([remote])
    assert [found[index] for index in (0, 1, 2, 4)] == [expected[i] for i in (0, 1, 2, 4)]
    with pytest.raises(RecordError, match=f"{url}: record 3 is damaged"):
        found[3]


def config(packed_dir):
    lengths = {"targets": packed_example.SEQUENCE_LENGTH}
    rates = {"refinecode": 3.0, "algorithmic_corpus": 1.0}
    return DatasetConfig(rates, str(packed_dir), lengths, "train", 8, 5)


def test_batches_from_a_store_are_those_from_a_disk(store):
    url = store.upload(packed_example.packed_dir(), "packed")
    here, there = BatchSource(config(packed_example.packed_dir())), BatchSource(config(url))

    assert there.fingerprint == here.fingerprint
    for k in (0, 31):
        for key, array in here.batch(k).items():
            np.testing.assert_array_equal(there.batch(k)[key], array)
    heldout = [s.document_ids for s in heldout_sequences(url, "refinecode")]
    local = heldout_sequences(packed_example.packed_dir(), "refinecode")
    assert heldout == [s.document_ids for s in local]


def test_a_set_that_a_store_lacks_or_holds_in_part_is_refused_before_training(store):
    url = store.upload(packed_example.packed_dir(), "part")

    with pytest.raises(InputError, match=f"{url}/code_snippets has no manifest"):
        open_packed_set(url, "code_snippets", "train")
    store.remove(f"{url}/refinecode/train-00001-of-00003.arrayrecord")
    with pytest.raises(InputError, match="lacks train-00001-of-00003"):
        open_packed_set(url, "refinecode", "train")


@pytest.fixture
def thousand(tmp_path):
    """A packed set of a thousand shards of one record: one real shard under many names."""
    source = packed_example.packed_dir() / "refinecode"
    folder = tmp_path / "packed" / "refinecode"
    folder.mkdir(parents=True)
    (record,) = contents(1)
    write_shard(folder / "one", [record])
    manifest = json.loads((source / "manifest.json").read_text())
    names = [shard_name("train", number, 1000) for number in range(1000)]
    for name in names:
        os.link(folder / "one", folder / name)
    size = (folder / "one").stat().st_size
    manifest["counts"]["train"]["shards"] = {name: {"records": 1, "bytes": size} for name in names}
    manifest["counts"]["train"]["sequences"] = 1000
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_opening_a_set_of_many_shards_opens_none_of_them(thousand, monkeypatch):
    monkeypatch.setattr(records, "_reader", None)

    packed_set = open_packed_set(thousand.parent, "refinecode", "train")
    ShardRecords(packed_set.shards)

    assert packed_set.num_records == 1000


def test_missing_and_truncated_shards_are_named_at_once(thousand):
    lost = thousand / shard_name("train", 417, 1000)
    shutil.move(lost, thousand / "elsewhere")
    with pytest.raises(InputError, match=f"lacks {lost.name}"):
        open_packed_set(thousand.parent, "refinecode", "train")

    lost.write_bytes((thousand / "elsewhere").read_bytes()[:-1])
    with pytest.raises(InputError, match=f"cut short: {lost.name}"):
        open_packed_set(thousand.parent, "refinecode", "train")


def test_the_shards_of_a_set_that_an_earlier_version_packed_are_counted(tmp_path):
    shutil.copytree(packed_example.packed_dir(), tmp_path / "packed")
    path = tmp_path / "packed" / "refinecode" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["counts"]["train"]["shards"]
    path.write_text(json.dumps(manifest))

    earlier = open_packed_set(tmp_path / "packed", "refinecode", "train")

    now = open_packed_set(packed_example.packed_dir(), "refinecode", "train")
    assert [s.num_records for s in earlier.shards] == [s.num_records for s in now.shards]
