"""Data files of benchmarks: what is wrong with one is told by file, line and key."""

import gzip
import json
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.data_files import DataFolder, read_records

KEYS = ("task_id", "text", "test_list")
GOOD = {"task_id": 1, "text": "x\u2028y", "test_list": []}


def lines(*records: object) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "data.jsonl is empty"),
        (lines(GOOD) + b'\n{"task_id": 2, "te', r"data\.jsonl, line 3, cannot be read as JSON"),
        (lines(GOOD, {**GOOD, "task_id": 2}, GOOD), "line 1 and line 3 have the same task_id"),
        (lines(GOOD, {"task_id": 2, "text": ""}), "line 2 has no test_list"),
        (lines({**GOOD, "test_list": 5}), "line 1: test_list is 5, expected a list"),
        (lines({**GOOD, "text": None}), "line 1: text is null, expected text"),
        (lines({**GOOD, "task_id": [1]}), r"line 1: task_id is \[1\], expected text"),
        (lines(GOOD, 7), "line 2: expected one JSON object"),
        (b"caf\xe9", "cannot be read as JSON lines: 'utf-8' codec"),
        (json.dumps([GOOD, GOOD]).encode(), "record 1 and record 2 have the same task_id"),
        (b"[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_what_is_wrong_is_told(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_records(path, KEYS)


def test_damaged_gzip_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    packed = gzip.compress(lines(*({**GOOD, "task_id": n} for n in range(99))))
    for content in (packed[:-20], packed[:30] + b"\0" * 30 + packed[60:], b"no gzip"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as JSON lines"):
            read_records(path, KEYS)


def test_a_gzipped_file_is_found_under_its_plain_name(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines(GOOD)))
    assert DataFolder(str(tmp_path)).find(None, ("data.jsonl",), "", "page") == path
    assert read_records(path, KEYS) == [GOOD]
