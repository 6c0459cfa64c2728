"""Every kind of file gives the same rows, and damage is told where it is."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_pipelines.dialogues.layouts import CONVERSATIONS
from beam_pipelines.dialogues.rows import Row, RowFormat
from beam_pipelines.sources.containers import DamagedError, list_containers
from beam_pipelines.sources.entry import RawFile
from opencoder_jax.errors import InputError
from tests.beam_pipelines.dialogues.published_rows import ALPACA, EDUCATIONAL, SHAREGPT

FORM = RowFormat(CONVERSATIONS)
ROWS = [{**ALPACA, "instruction": f'{n} [{{\u2028 \\" ü'} for n in range(70)]


def read(path: Path) -> list:
    (container,) = list_containers(str(path), FORM.suffixes)
    return [row for part in FORM.split(container) for row in FORM.read(container, part, 1 << 20)]


def values(path: Path) -> list:
    return [row.values for row in read(path)]


def arrow(rows: list, kind: str) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    make = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=32)
    return sink.getvalue()


def test_the_same_rows_come_of_every_kind_of_file(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    array = json.dumps(ROWS).encode()
    contents = {
        "a.jsonl": lines,
        "b.jsonl.zst": zstandard.compress(lines),
        "c.json": array,
        "d.json": b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
        "e.json.gz": gzip.compress(array),
        "f.arrow": arrow(ROWS, "stream"),
        "g.arrow": arrow(ROWS, "file"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert values(tmp_path / name) == ROWS, name
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "h.parquet", row_group_size=32)
    assert values(tmp_path / "h.parquet") == ROWS
    assert read(tmp_path / "h.parquet")[33].position == "row group 1 row 1"
    assert read(tmp_path / "c.json")[69].position == "item 69"


def test_nested_columns_come_as_json_has_them(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([SHAREGPT]), tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == [SHAREGPT]
    (tmp_path / "a.arrow").write_bytes(arrow([EDUCATIONAL], "stream"))
    assert values(tmp_path / "a.arrow") == [EDUCATIONAL]


def test_an_array_larger_than_any_buffer_is_read_item_by_item(tmp_path: Path) -> None:
    long = [{"instruction": "x" * 300_000, "output": str(n)} for n in range(8)]
    (tmp_path / "a.json").write_text(json.dumps(long))
    assert values(tmp_path / "a.json") == long
    (tmp_path / "b.json").write_text(" [ ] ")
    assert read(tmp_path / "b.json") == []


def test_records_that_are_none_are_obstacles_and_the_others_rows(tmp_path: Path) -> None:
    good = json.dumps(ALPACA)
    (tmp_path / "a.jsonl").write_text(f"{good}\n{{half\n[1]\n\n{good}\n")
    found = read(tmp_path / "a.jsonl")
    assert [type(row) for row in found] == [Row, RawFile, RawFile, Row]
    assert found[1].obstacle == "bad_record"
    assert "line at byte" in found[1].detail
    (tmp_path / "b.json").write_text(f"[{good}, 3, {good}]")
    assert [type(row) for row in read(tmp_path / "b.json")] == [Row, RawFile, Row]
    (tmp_path / "c.jsonl").write_text(json.dumps({"instruction": "x" * (1 << 23), "output": ""}))
    (large,) = read(tmp_path / "c.jsonl")
    assert large.obstacle == "too_large"


@pytest.mark.parametrize(
    ("name", "content", "position"),
    [
        ("a.json", b'[{"a": 1}, {"a": 2}, {"a"', "item 2"),
        ("a.json", b'[{"a": 1}, oops, {"a": 2}]', "item 1"),
        ("a.json", b'[{"a": "\xff"}]', "the array"),
        ("a.json.gz", gzip.compress(b'[{"a": 1}, {"a": 2}]')[:-9], "byte"),
        ("a.arrow", arrow(ROWS, "stream")[:3000], "row"),
        ("a.arrow", b"no arrow at all", "row 0"),
        ("a.parquet", b"PAR1 no parquet", "all rows"),
        ("a.jsonl", b"PAR1 no lines", "from byte 0"),
    ],
)
def test_a_damaged_file_tells_where(name: str, content: bytes, position: str, tmp_path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        read(tmp_path / name)
    assert position in caught.value.position


def test_files_of_another_layout_are_refused_with_their_fields(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"repo": "x", "stars": 3}\n')
    containers = list_containers(str(tmp_path), FORM.suffixes)
    with pytest.raises(InputError, match=r"expected fields messages or .* have repo, stars"):
        FORM.check(containers)
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n' + json.dumps(ALPACA))
    FORM.check(containers)
