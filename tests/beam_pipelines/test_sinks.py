"""Sinks: the same bytes whatever the order, and every shard is there."""

import json
import random
from pathlib import Path

import apache_beam as beam
import pytest
from pyarrow import parquet

from beam_pipelines import runner, sinks
from beam_pipelines.accounting import Drop, decode_drop, encode_drop
from beam_pipelines.parquet import Table
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, decode_document, encode_document
from opencoder_jax.formats.manifest import file_sha256
from opencoder_jax.formats.shards import count_records, list_shards, read_records, read_shard

WORDS = [f"word-{i}" for i in range(200)]


def write(folder: Path, words: list[str], num_shards: int = 4) -> beam.Pipeline:
    pipeline = runner.pipeline([])
    with pipeline:
        _ = (
            pipeline
            | beam.Create(words)
            | sinks.WriteShards(folder, "words", num_shards, str.encode, key=lambda word: word)
            | beam.Map(lambda shard: (Path(shard[0]).name, [shard[1], shard[2]])).with_output_types(
                tuple[str, list]
            )
            | sinks.WriteJson(folder / "shards.json")
        )
    return pipeline


def digests(folder: Path) -> list[str]:
    return [file_sha256(path) for path in list_shards(folder, "words")]


def test_the_order_of_the_input_does_not_show_in_the_files(tmp_path: Path) -> None:
    write(tmp_path / "a", WORDS)
    write(tmp_path / "b", random.Random(0).sample(WORDS, len(WORDS)))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_every_record_is_written_once_and_sorted_in_its_shard(tmp_path: Path) -> None:
    write(tmp_path, WORDS)
    assert sorted(read_records(tmp_path, "words")) == sorted(map(str.encode, WORDS))
    assert sinks.shard_index("word-0", 4) in range(4)


def test_shards_without_records_are_written_too(tmp_path: Path) -> None:
    write(tmp_path, WORDS[:2], num_shards=5)
    assert len(list_shards(tmp_path, "words")) == 5
    assert count_records(tmp_path, "words") == 2


def test_a_sink_tells_the_name_the_digest_and_the_count_of_each_shard(tmp_path: Path) -> None:
    pipeline = write(tmp_path, WORDS)
    told = json.loads((tmp_path / "shards.json").read_text())
    assert {name: digest for name, (digest, _) in told.items()} == {
        path.name: file_sha256(path) for path in list_shards(tmp_path, "words")
    }
    assert sum(count for _, count in told.values()) == len(WORDS)
    assert sinks.committed_records(pipeline.result, "words") == len(WORDS)


@pytest.mark.slow
def test_a_parquet_file_has_the_rows_of_its_shard_in_bounded_groups(tmp_path: Path) -> None:
    documents = [
        Document(id=f"{i:032x}", text="日本 x = 1\n" * 700_000, repo="r", path="p", stars=i)
        for i in range(5)
    ]
    table = Table(str(tmp_path / "parquet"), Document, decode_document)
    with runner.pipeline([]) as pipeline:
        _ = (
            pipeline
            | beam.Create(documents)
            | sinks.WriteShards(
                tmp_path, "documents", 2, encode_document, lambda document: document.id, table=table
            )
        )
    for shard in list_shards(tmp_path, "documents"):
        file = parquet.ParquetFile(tmp_path / "parquet" / f"{shard.stem}.parquet")
        rows = [Document(**row) for row in file.read().to_pylist()]
        assert rows == [decode_document(record) for record in read_shard(shard)]
        assert file.num_row_groups >= len(rows) / 3


def test_a_value_that_is_not_there_is_null_in_parquet(tmp_path: Path) -> None:
    drops = [Drop("1", "r", "p", "python", "rule", value=0.1), Drop("2", "r", "p", "", "empty")]
    table = Table(str(tmp_path), Drop, decode_drop)
    table.write(tmp_path / "dropped.parquet", [encode_drop(drop) for drop in drops])
    rows = parquet.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert [Drop(**row) for row in rows] == drops
    table.write(tmp_path / "none.parquet", [])
    assert parquet.read_table(tmp_path / "none.parquet").schema.names == list(Drop.__slots__)


def test_a_record_without_a_key_stops_the_job(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a key"):
        write(tmp_path, ["a", ""])


def test_a_set_has_at_least_one_shard(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_shards is 0"):
        write(tmp_path, WORDS, num_shards=0)
