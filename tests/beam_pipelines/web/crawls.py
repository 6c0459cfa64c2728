"""Crawl files for tests: records as crawlers write them, whole and damaged."""

import gzip
import uuid
from collections.abc import Iterable
from pathlib import Path

from beam_pipelines.web.page import RawPage
from beam_pipelines.web.warc import Warc
from tests.beam_pipelines.dedup.running import run_source

DATE = "2026-01-02T03:04:05Z"


def warc_record(
    url: str,
    block: bytes,
    kind: str = "response",
    date: str = DATE,
    content_type: str = "application/http; msgtype=response",
    length: int | None = None,
) -> bytes:
    """A record with its end; `length` is what it claims of its block."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\n"
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>\r\n"
        f"WARC-Date: {date}\r\nWARC-Target-URI: {url}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def response(
    body: bytes, content_type: str = "text/html", status: str = "200 OK", *headers: str
) -> bytes:
    """What a server sent."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def page_record(name: str, body: bytes = b"", **facts: object) -> bytes:
    """A response with a page that says its name."""
    body = body or f"<html><body><p>This is the page {name}.</p></body></html>".encode()
    return warc_record(f"https://example.org/{name}", response(body), **facts)


def members(records: Iterable[bytes]) -> list[bytes]:
    """Each record as a gzip member."""
    return [gzip.compress(record, mtime=0) for record in records]


def write(path: Path, content: bytes | Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else b"".join(content))
    return path


def read(path: Path, max_file_bytes: int = 1_000_000) -> tuple[list[str], list[str], dict]:
    """(addresses of the pages, reasons of the others with their details, records skipped)."""
    pages, obstacles, skipped = [], [], {}
    for record in run_source(Warc(str(path)), max_file_bytes):
        if isinstance(record, RawPage):
            pages.append(record.url.removeprefix("https://example.org/"))
        elif isinstance(record, tuple):
            skipped[record.kind] = skipped.get(record.kind, 0) + record.records
        else:
            obstacles.append(f"{record.obstacle}: {record.detail}")
    return sorted(pages), sorted(obstacles), skipped
