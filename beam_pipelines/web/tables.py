"""JSON lines and parquet as sources of pages: FineWeb, SkyPile, AutoMathText, a crawl's tables.

A record has the page's text, or its HTML, and perhaps its address and day, under names that
`PageFields` lists. Where no address is given the file and the position in it stand for one.
Cutting, damage and compression are those of `sources.jsonl` and `sources.parquet`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipelines.sources import containers
from beam_pipelines.sources.containers import Container
from beam_pipelines.sources.fields import (
    BadRecordError,
    Fields,
    Omitted,
    first,
    seconds_of,
    shown,
    text_of,
)
from beam_pipelines.sources.jsonl import JsonLinesFormat
from beam_pipelines.sources.parquet import ParquetFormat
from beam_pipelines.web.page import RawPage
from beam_pipelines.web.warc import PROVENANCE


@dataclasses.dataclass(frozen=True)
class PageFields(Fields):
    """Names of fields, in order of preference; `a.b` is the field `b` of the object `a`.

    Attributes:
      content: the page, text or HTML; required.
      html: those of `content` that are HTML.
      path: the address.
      commit_time: when it was fetched.
      encoding: of HTML that is bytes.
    """

    content: Sequence[str] = ("html", "raw_html", "text", "content", "raw_content")
    html: Sequence[str] = ("html", "raw_html")
    path: Sequence[str] = ("url", "meta.url", "metadata.url", "source_url", "uri")
    commit_time: Sequence[str] = ("date", "timestamp", "date_download", "crawl_date", "meta.date")
    encoding: Sequence[str] = ("charset", "encoding")
    repo: Sequence[str] = ()
    licence: Sequence[str] = ()
    stars: Sequence[str] = ()
    language: Sequence[str] = ()
    blob: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class JsonPages(containers.ContainerSource):
    """JSON lines of pages.

    Attributes:
      fields: where each object keeps what a page needs.
    """

    fields: PageFields = dataclasses.field(default_factory=PageFields)

    def form(self) -> containers.Format:
        return _JsonPagesFormat(self.fields, PROVENANCE)


@dataclasses.dataclass(frozen=True)
class ParquetPages(containers.ContainerSource):
    """Parquet files of pages.

    Attributes:
      fields: which column keeps what a page needs.
    """

    fields: PageFields = dataclasses.field(default_factory=PageFields)

    def form(self) -> containers.Format:
        return _ParquetPagesFormat(self.fields, PROVENANCE)


class _JsonPagesFormat(JsonLinesFormat):
    @property
    def required(self) -> tuple[str, ...]:
        return ("content",)

    def value(
        self, record: Mapping[str, Any], container: Container, position: str, max_file_bytes: int
    ) -> RawPage:
        return raw_page(record, _page_fields(self.fields), container, position, max_file_bytes)


class _ParquetPagesFormat(ParquetFormat):
    @property
    def required(self) -> tuple[str, ...]:
        return ("content",)

    def value(
        self,
        row: Mapping[str, Any],
        container: Container,
        position: str,
        max_file_bytes: int,
        is_text: bool,
    ) -> RawPage:
        return raw_page(row, _page_fields(self.fields), container, position, max_file_bytes)


def raw_page(
    record: Mapping[str, Any],
    fields: PageFields,
    container: Container,
    position: str,
    max_file_bytes: int,
) -> RawPage:
    """The page that a record describes.

    Raises:
      BadRecordError: with the reason and the field.
    """
    name = next((name for name in fields.content if first(record, [name]) is not None), None)
    if name is None:
        raise BadRecordError(f"no content ({', '.join(fields.content)} missing or null)")
    url = first(record, fields.path)
    url = shown(text_of(url, "url")) if url is not None else ""
    body, charset = first(record, [name]), "utf-8"
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    elif isinstance(body, bytes):
        declared = first(record, fields.encoding)
        charset = shown(text_of(declared, "encoding")) if declared is not None else ""
    size = body.size if isinstance(body, Omitted) else len(_bytes(body))
    if size > max_file_bytes:
        error = BadRecordError(f"{size} bytes, at most {max_file_bytes}", "too_large")
        error.path = url[:4096]
        raise error
    return RawPage(
        url=url,
        body=body,
        is_html=name in fields.html,
        charset=charset,
        fetched=_fetched(record, fields),
        source=container.name,
        position=position,
    )


def _bytes(body: Any) -> bytes:
    if not isinstance(body, bytes):
        raise BadRecordError(f"content is {type(body).__name__}, expected text")
    return body


def _fetched(record: Mapping[str, Any], fields: PageFields) -> int:
    """Seconds since the epoch; a day that cannot be read costs no page."""
    try:
        return seconds_of(first(record, fields.commit_time))
    except BadRecordError:
        return 0


def _page_fields(fields: Fields) -> PageFields:
    if not isinstance(fields, PageFields):
        raise TypeError(f"expected PageFields, got {type(fields).__name__}")
    return fields
