"""WARC and WET files as a source of pages: `.warc`, `.warc.gz`, Common Crawl's `.warc.wet.gz`.

Responses are pages, and so are the texts that others extracted (`conversion`, WET) and files
that were saved without a response (`resource`). Requests, metadata and revisits, which only
say that a page has not changed, are counted. Next: `warc_records` for the framing, `http`.
"""

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from beam_pipelines.sources import containers
from beam_pipelines.sources.compression import compression_of
from beam_pipelines.sources.containers import Container, Range, obstacle_file
from beam_pipelines.sources.entry import RawFile
from beam_pipelines.web.http import BadResponseError, content_type, decoded_body, parse_response
from beam_pipelines.web.page import RawPage, Skipped
from beam_pipelines.web.warc_records import Record, read_records

PROVENANCE = "web-page"
_RANGE_BYTES = 1 << 26
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_PLAIN = "text/plain"
_CAPTURES = frozenset({"response", "resource", "conversion"})
# Heads, and a body that is packed.
_LONGEST_HEAD = 1 << 17


@dataclasses.dataclass(frozen=True)
class Warc(containers.ContainerSource):
    """WARC and WET files."""

    def form(self) -> containers.Format:
        return WarcFormat()


@dataclasses.dataclass(frozen=True)
class WarcFormat:
    """How a WARC file is cut and read: into `RawPage`s, obstacles and `Skipped` counts."""

    provenance: str = PROVENANCE
    suffixes: ClassVar[tuple[str, ...]] = tuple(
        f".{name}{packed}" for name in ("warc", "wet") for packed in ("", ".gz", ".zst", ".bz2")
    )

    def split(self, container: Container) -> Iterator[Range]:
        if compression_of(container.name) != ".gz" or container.size <= _RANGE_BYTES:
            yield Range(0, -1)
            return
        for start in range(0, container.size, _RANGE_BYTES):
            stop = start + _RANGE_BYTES
            yield Range(start, stop if stop < container.size else -1)

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[Any]:
        skipped: dict[str, int] = {}
        with containers.open_container(container) as file:
            longest = max_file_bytes + _LONGEST_HEAD
            for record in read_records(file, container.name, part, longest):
                kind = record.headers.get("warc-type", "").lower()
                if record.damage:
                    yield _obstacle(container, record, "damaged_source", record.damage)
                elif kind not in _CAPTURES:
                    kind = kind if kind.isidentifier() and len(kind) < 30 else "unknown"
                    skipped[kind] = skipped.get(kind, 0) + 1
                else:
                    yield _capture(container, record, kind, max_file_bytes)
        for kind, count in sorted(skipped.items()):
            yield Skipped(kind, count)

    def check(self, containers: Sequence[Container]) -> None:
        """Whatever is no WARC file is damaged."""


def _capture(container: Container, record: Record, kind: str, longest: int) -> RawPage | RawFile:
    if record.block is None:
        detail = f"{record.size} bytes, at most {longest}"
        return _obstacle(container, record, "too_large", detail)
    declared, charset = content_type(record.headers.get("content-type", ""))
    body = record.block
    try:
        # Heritrix keeps the answers of name servers as responses, too.
        if declared == "application/http" or (kind == "response" and not declared):
            response = parse_response(body)
            if response.status != 200:
                raise BadResponseError("http_status", str(response.status))
            declared, charset = content_type(response.headers.get("content-type", ""))
            mime = declared or record.headers.get("warc-identified-payload-type", "text/html")
            _require_page(mime)
            body = decoded_body(response, longest)
        else:
            mime = declared or _PLAIN
            _require_page(mime)
            if len(body) > longest:
                raise BadResponseError("too_large", f"{len(body)} bytes, at most {longest}")
    except BadResponseError as error:
        return _obstacle(container, record, error.reason, error.detail)
    return RawPage(
        url=record.headers.get("warc-target-uri", "").strip("<> "),
        body=body,
        is_html=mime in _HTML,
        # WET is UTF-8 by its definition.
        charset="utf-8" if kind == "conversion" else charset,
        fetched=_seconds(record.headers.get("warc-date", "")),
        source=container.name,
        position=record.position,
    )


def _require_page(mime: str) -> None:
    if mime not in _HTML and mime != _PLAIN:
        raise BadResponseError("not_html", mime[:80])


def _obstacle(container: Container, record: Record, reason: str, detail: str) -> RawFile:
    url = record.headers.get("warc-target-uri", "").strip("<> ")[:4096]
    return obstacle_file(
        PROVENANCE, container, record.position, reason, f"{record.position}: {detail}", path=url
    )


def _seconds(date: str) -> int:
    """Seconds since the epoch; 0 for what is no time."""
    try:
        time = datetime.datetime.fromisoformat(date.strip())
        zone = time.tzinfo or datetime.UTC
        return max(int(time.replace(tzinfo=zone).timestamp()), 0)
    except (ValueError, OverflowError):
        return 0
