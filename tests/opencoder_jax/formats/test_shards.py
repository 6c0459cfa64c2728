import pytest

from opencoder_jax.formats import shards
from opencoder_jax.formats.example import RecordError


def write_set(folder, count=3, records=5):
    for index in range(count):
        shards.write_shard(
            folder / shards.shard_name("documents", index, count),
            (f"{index}:{i}".encode() for i in range(records)),
        )


def test_records_come_back_in_shard_order(tmp_path):
    write_set(tmp_path)
    records = list(shards.read_records(tmp_path, "documents"))
    assert records == [f"{s}:{i}".encode() for s in range(3) for i in range(5)]
    assert shards.count_records(tmp_path, "documents") == 15


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        shards.write_shard(tmp_path / name, (bytes([i]) * 1000 for i in range(50)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_shard_is_a_shard(tmp_path):
    write_set(tmp_path, count=2, records=0)
    assert list(shards.read_records(tmp_path, "documents")) == []


def test_a_missing_shard_is_named(tmp_path):
    write_set(tmp_path)
    (tmp_path / shards.shard_name("documents", 1, 3)).unlink()
    with pytest.raises(shards.MissingShardsError, match="documents-00001-of-00003"):
        shards.list_shards(tmp_path, "documents")


def test_two_sets_of_shards_in_one_folder_are_refused(tmp_path):
    write_set(tmp_path, count=2)
    write_set(tmp_path, count=3)
    with pytest.raises(shards.MissingShardsError, match="different sets"):
        shards.list_shards(tmp_path, "documents")


def test_a_writer_that_fails_leaves_nothing_under_the_name(tmp_path):
    def records():
        yield b"one"
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        shards.write_shard(tmp_path / "s.arrayrecord", records())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_shard_cut_short_is_an_error_that_names_the_file(tmp_path, keep):
    write_set(tmp_path, count=1, records=500)
    path = shards.list_shards(tmp_path, "documents")[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(RecordError, match="documents-00000-of-00001"):
        list(shards.read_shard(path))
