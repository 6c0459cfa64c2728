"""Public tables of pages are read by the names that they use."""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.web.page import RawPage
from beam_pipelines.web.tables import JsonPages, PageFields, ParquetPages
from opencoder_jax.errors import InputError
from tests.beam_pipelines.dedup.running import run_source

DAY = 1368852894
FINEWEB = {
    "text": "Some text.",
    "id": "<urn:uuid:1>",
    "dump": "CC-MAIN-2013-20",
    "url": "http://example.org/a",
    "date": "2013-05-18T04:54:54Z",
    "file_path": "s3://commoncrawl/x.warc.gz",
    "language": "en",
    "language_score": 0.98,
    "token_count": 3,
}
MATH = {"url": "http://example.org/m", "text": "A proof.", "date": None, "meta": '{"x": 1}'}
RECORDS = {
    "FineWeb": (FINEWEB, ("http://example.org/a", b"Some text.", False, DAY)),
    "AutoMathText": (MATH, ("http://example.org/m", b"A proof.", False, 0)),
    "SkyPile": ({"text": "一段文字"}, ("", "一段文字".encode(), False, 0)),
    "HTML": (
        {"html": "<p>x", "text": "x", "metadata": {"url": "http://e.org/"}, "timestamp": DAY},
        ("http://e.org/", b"<p>x", True, DAY),
    ),
    "a day that is none": (
        {"text": "x", "url": "http://e.org/", "date": "some day"},
        ("http://e.org/", b"x", False, 0),
    ),
    "a line of JSON with half a pair": (
        {"text": "a\ud800b", "url": "http://e.org/"},
        ("http://e.org/", b"a?b", False, 0),
    ),
}


def facts(page: RawPage) -> tuple[str, bytes, bool, int]:
    return page.url, page.body, page.is_html, page.fetched


@pytest.mark.parametrize("name", RECORDS)
def test_json_lines(name: str, tmp_path: Path) -> None:
    record, expected = RECORDS[name]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record) + "\n")
    (page,) = run_source(JsonPages(str(path)), 1000)
    assert facts(page) == expected
    assert (page.source, page.position) == ("a.jsonl", "line at byte 0")


@pytest.mark.parametrize("name", [name for name in RECORDS if "JSON" not in name])
def test_parquet(name: str, tmp_path: Path) -> None:
    record, expected = RECORDS[name]
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "a.parquet")
    (page,) = run_source(ParquetPages(str(tmp_path)), 1000)
    assert facts(page) == expected


def test_parquet_keeps_bytes_and_timestamps(tmp_path: Path) -> None:
    day = datetime.datetime.fromtimestamp(DAY, datetime.UTC)
    row = {"html": "<p>中".encode("gb18030"), "url": "http://e.org/", "date": day, "charset": "gbk"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (page,) = run_source(ParquetPages(str(tmp_path)), 1000)
    assert facts(page) == ("http://e.org/", row["html"], True, DAY)
    assert page.charset == "gbk"


def test_what_is_no_page_is_told(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": None, "url": "http://e.org/1"}),
        json.dumps({"text": 3, "url": "http://e.org/2"}),
        json.dumps({"text": "x", "url": 3}),
        json.dumps({"text": "x" * 2000, "url": "http://e.org/4"}),
        "{",
        json.dumps({"text": "good"}),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    found = run_source(JsonPages(str(path)), 1000)
    assert [page.body for page in found if isinstance(page, RawPage)] == [b"good"]
    told = sorted(file.obstacle for file in found if not isinstance(file, RawPage))
    assert told == ["bad_record", "bad_record", "bad_record", "bad_record", "too_large"]


def test_other_names_are_given_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"body": "x", "address": "http://e.org/"}))
    with pytest.raises(InputError, match=r"PageFields\.content"):
        run_source(JsonPages(str(path)), 1000)
    fields = PageFields(content=("body",), path=("address",))
    (page,) = run_source(JsonPages(str(path), fields), 1000)
    assert facts(page) == ("http://e.org/", b"x", False, 0)
