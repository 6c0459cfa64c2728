"""A damaged record costs itself alone, and no cut one passes for whole."""

import gzip
from pathlib import Path

import pytest
import zstandard

from beam_pipelines.sources.containers import Container, Range
from beam_pipelines.web import warc
from beam_pipelines.web.page import RawPage
from tests.beam_pipelines.web.crawls import members, page_record, read, response, warc_record, write

NAMES = ["0", "1", "2", "3", "4"]
RECORDS = [page_record(name, b"<p>" + name.encode() * 3000) for name in NAMES]
OTHERS = ["0", "1", "3", "4"]


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


DAMAGED_MEMBERS = {
    "a flipped byte": lambda member: _flipped(member, 40),
    "a cut member": lambda member: member[:60],
    "a wrong checksum": lambda member: _flipped(member, -8),
    "no gzip at all": lambda member: b"junk" * 200,
    "a length that is too short": lambda _: _member(length=100),
    "a length that is too long": lambda _: _member(length=5000),
    "no length": lambda _: gzip.compress(_without_length()),
    "a length that is no number": lambda _: _member(length=-7),
    "another version's mark": lambda _: gzip.compress(b"WARX" + RECORDS[2][4:]),
}


def _member(**facts: object) -> bytes:
    return gzip.compress(page_record("2", b"<p>" + b"2" * 3000, **facts))


def _without_length() -> bytes:
    return RECORDS[2].replace(b"Content-Length", b"Content-Missing")


@pytest.mark.parametrize("damage", DAMAGED_MEMBERS)
def test_a_damaged_member_costs_only_itself(damage: str, tmp_path: Path) -> None:
    packed = members(RECORDS)
    packed[2] = DAMAGED_MEMBERS[damage](packed[2])
    pages, obstacles, _ = read(write(tmp_path / "a.warc.gz", packed))
    assert pages == OTHERS
    assert len(obstacles) == 1
    assert obstacles[0].startswith("damaged_source: a.warc.gz: record at byte ")


@pytest.mark.parametrize("length", [100, 5000, 50_000])
def test_a_wrong_length_in_a_plain_file_costs_only_its_record(length: int, tmp_path: Path) -> None:
    records = list(RECORDS)
    records[2] = page_record("2", b"<p>" + b"2" * 3000, length=length)
    pages, obstacles, _ = read(write(tmp_path / "a.warc", records))
    assert pages == OTHERS
    assert [obstacle.split(":")[0] for obstacle in obstacles] == ["damaged_source"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst"])
def test_a_file_that_is_cut_off_loses_its_last_record(name: str, tmp_path: Path) -> None:
    content = b"".join(RECORDS)
    packed = {
        "a.warc": content,
        "a.warc.gz": b"".join(members(RECORDS)),
        "a.warc.zst": b"".join(zstandard.compress(record) for record in RECORDS),
    }[name]
    pages, obstacles, _ = read(write(tmp_path / name, packed[:-40]))
    assert pages == NAMES[:4]
    assert [obstacle.split(":")[0] for obstacle in obstacles] == ["damaged_source"]


@pytest.mark.parametrize("width", [1 << 26, 1000])
def test_a_file_under_the_wrong_suffix_is_read_all_the_same(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warc, "_RANGE_BYTES", width)
    assert read(write(tmp_path / "unpacked.warc.gz", RECORDS)) == (NAMES, [], {})
    assert read(write(tmp_path / "packed.warc", members(RECORDS))) == (NAMES, [], {})


def test_zeros_between_members_and_a_missing_last_line_end_are_no_damage(tmp_path: Path) -> None:
    packed = [*members(RECORDS[:4]), gzip.compress(RECORDS[4].rstrip(b"\r\n"))]
    assert read(write(tmp_path / "a.warc.gz", b"\0".join(packed) + b"\0" * 512)) == (NAMES, [], {})


@pytest.mark.parametrize("unit", [0, 700], ids=["one member", "blocks of 700 bytes"])
def test_a_file_with_other_members_than_records_is_read_whole(unit: int, tmp_path: Path) -> None:
    content = b"".join(RECORDS)
    unit = unit or len(content)
    blocks = [content[start : start + unit] for start in range(0, len(content), unit)]
    assert read(write(tmp_path / "a.warc.gz", members(blocks))) == (NAMES, [], {})


@pytest.mark.parametrize("width", [1, 37, 64, 150, 1000])
def test_ranges_give_every_record_once(width: int, tmp_path: Path) -> None:
    packed = members(page_record(str(number)) for number in range(50))
    packed[20] = b"junk" * 20
    path = write(tmp_path / "a.warc.gz", packed)
    size = path.stat().st_size
    container = Container(str(path), path.name, size)
    form = warc.WarcFormat()
    found = [
        record
        for start in range(0, size, width)
        for record in form.read(
            container, Range(start, start + width if start + width < size else -1), 10_000
        )
    ]
    pages = [record.url.rpartition("/")[2] for record in found if isinstance(record, RawPage)]
    assert pages == [str(number) for number in range(50) if number != 20]
    assert len(found) - len(pages) == 1


def test_only_pages_are_captures_and_other_records_are_counted(tmp_path: Path) -> None:
    page = response(b"<p>x")
    records = [
        warc_record("https://example.org/", b"software: test\r\n", "warcinfo"),
        warc_record("https://example.org/a", b"GET / HTTP/1.1\r\n\r\n", "request"),
        warc_record("https://example.org/a", page),
        warc_record("https://example.org/a", b"fetchTimeMs: 1\r\n", "metadata"),
        warc_record("https://example.org/b", response(b""), "revisit"),
        warc_record("https://example.org/c", b"text of c", "conversion", content_type="text/plain"),
        warc_record("https://example.org/d", b"<p>d", "resource", content_type="text/html"),
        warc_record("https://example.org/e", b"\x89PNG", "resource", content_type="image/png"),
        warc_record("https://example.org/f", page, "odd kind"),
        warc_record("dns:example.org", b"192.0.2.7", content_type="text/dns"),
    ]
    pages, obstacles, skipped = read(write(tmp_path / "a.warc", records))
    assert pages == ["a", "c", "d"]
    assert [obstacle.split(":")[0] for obstacle in obstacles] == ["not_html", "not_html"]
    assert skipped == {"warcinfo": 1, "request": 1, "metadata": 1, "revisit": 1, "unknown": 1}


def test_a_record_that_is_too_large_is_told_and_the_next_one_read(tmp_path: Path) -> None:
    records = [page_record("a", b"<p>" + b"x" * 400_000), page_record("b")]
    for name, content in (("a.warc", b"".join(records)), ("a.warc.gz", b"".join(members(records)))):
        pages, obstacles, _ = read(write(tmp_path / name, content), max_file_bytes=100_000)
        assert pages == ["b"]
        assert [obstacle.split(":")[0] for obstacle in obstacles] == ["too_large"]
