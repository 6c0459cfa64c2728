"""Crawl records to documents: address, encoding, main text; the latest capture of each page.

Whatever gives no document is a drop. Reasons, in the order in which they are found:
`damaged_source`, `unreadable`, `bad_record` (the crawl file), `too_large`, `http_status`,
`bad_http`, `not_html`, `bad_encoding` (the response), `bad_url`, `not_http`, `empty`, `binary`,
`bad_charset`, `too_deep`, `too_many_attributes`, `too_short` (the page), `older_capture`.
"""

import dataclasses
import datetime
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop
from beam_pipelines.sources.entry import RawFile, file_id
from beam_pipelines.web.address import Address, BadAddressError, parse_address
from beam_pipelines.web.charset import NoTextError, page_text
from beam_pipelines.web.main_text import HostileError, main_text
from beam_pipelines.web.page import RawPage, Skipped
from beam_pipelines.web.warc import PROVENANCE
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.document import Document

LANGUAGE, DOC_TYPE = "markdown", "text"
_Dropped = TaggedOutput[Literal["dropped"], Drop]


@dataclasses.dataclass(frozen=True)
class PageSettings:
    """Which captures become documents.

    Attributes:
      max_page_bytes: of a body; larger ones are dropped unparsed.
      min_characters: of a main text; shorter ones say nothing.
    """

    max_page_bytes: int
    min_characters: int

    def __post_init__(self) -> None:
        require_at_least(1, max_page_bytes=self.max_page_bytes)
        require_at_least(0, min_characters=self.min_characters)


class Pages(NamedTuple):
    """What `MakePages` returns.

    Attributes:
      captures: PCollection of whatever stands for a capture, to be counted.
      skipped: PCollection[Skipped].
      kept: PCollection[Document].
      dropped: PCollection[Drop].
    """

    captures: Any
    skipped: Any
    kept: Any
    dropped: Any


class MakePages(beam.PTransform):
    """PCollection of `RawPage`s, `RawFile` obstacles and `Skipped` counts to `Pages`."""

    def __init__(self, settings: PageSettings) -> None:
        super().__init__()
        self._settings = settings

    @no_annotations
    def expand(self, records: beam.PCollection) -> Pages:
        captures = records | "Captures" >> beam.Filter(_is_capture)
        skipped = records | "Skipped" >> beam.Filter(_is_skipped).with_output_types(Skipped)
        made = captures | "Make" >> beam.ParDo(_Make(self._settings)).with_outputs(
            "dropped", main="kept"
        )
        latest = (
            made.kept
            | "KeyById" >> beam.Map(_keyed).with_output_types(tuple[str, Document])
            | "GroupById" >> beam.GroupByKey()
            | "Latest" >> beam.ParDo(_Latest()).with_outputs("dropped", main="kept")
        )
        dropped = (made.dropped, latest.dropped) | "Drops" >> beam.Flatten()
        return Pages(captures, skipped, latest.kept, dropped)


def page_document(page: RawPage, settings: PageSettings) -> Document:
    """The document of one capture.

    Raises:
      BadAddressError, NoTextError: it gives none, with the reason.
    """
    address = parse_address(page.url) if page.url else Address(page.position, page.source)
    text = extracted_text(page, settings)
    return Document(
        id=_page_id(address),
        text=text,
        repo=address.host,
        path=address.url,
        language=LANGUAGE,
        doc_type=DOC_TYPE,
        commit_time=page.fetched,
        provenance=PROVENANCE,
        content_sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(),
    )


def extracted_text(page: RawPage, settings: PageSettings) -> str:
    """The main text of a capture.

    Raises:
      NoTextError: there is none, with the reason.
    """
    if len(page.body) > settings.max_page_bytes:
        detail = f"{len(page.body)} bytes, at most {settings.max_page_bytes}"
        raise NoTextError("too_large", detail)
    source = page_text(page.body, page.charset, page.is_html)
    try:
        text = main_text(source) if page.is_html else _plain_text(source)
    except HostileError as error:
        raise NoTextError(error.reason, error.detail) from error
    if len(text) < settings.min_characters or not text or text.isspace():
        detail = f"{len(text)} characters, at least {settings.min_characters}"
        raise NoTextError("too_short", detail, text[:SAMPLE_CHARACTERS])
    return text


def _plain_text(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-8", "replace").decode("utf-8").strip("\n")


def _page_id(address: Address) -> str:
    return file_id(PROVENANCE, address.host, address.url)


def _is_capture(record: Any) -> bool:
    return not isinstance(record, Skipped)


def _is_skipped(record: Any) -> bool:
    return isinstance(record, Skipped)


class _Make(beam.DoFn):
    def __init__(self, settings: PageSettings) -> None:
        super().__init__()
        self._settings = settings

    def process(self, record: RawPage | RawFile) -> Iterator[Document | _Dropped]:
        if isinstance(record, RawFile):
            yield _Dropped("dropped", _drop_obstacle(record))
            return
        try:
            yield page_document(record, self._settings)
        except (BadAddressError, NoTextError) as problem:
            yield _Dropped("dropped", _drop_page(record, problem))


def _drop_obstacle(file: RawFile) -> Drop:
    return Drop(
        id=file.id,
        repo=file.repo,
        path=file.path,
        language=LANGUAGE,
        reason=file.obstacle,
        detail=file.detail,
    )


def _drop_page(page: RawPage, problem: BadAddressError | NoTextError) -> Drop:
    try:
        address = parse_address(page.url)
    except BadAddressError:
        url = page.url[:SAMPLE_CHARACTERS].encode("utf-8", "backslashreplace").decode()
        address = Address(url or page.position, page.source)
    return Drop(
        id=_page_id(address),
        repo=address.host,
        path=address.url,
        language=LANGUAGE,
        reason=problem.reason,
        detail=f"{page.source}: {page.position}: {problem.detail}",
        sample=getattr(problem, "sample", ""),
    )


def _keyed(document: Document) -> tuple[str, Document]:
    return document.id, document


class _Latest(beam.DoFn):
    """Of several captures of an address the latest; of equally late ones any, but always it."""

    def process(self, group: tuple[str, Iterable[Document]]) -> Iterator[Document | _Dropped]:
        latest, *older = sorted(group[1], key=_age, reverse=True)
        yield latest
        for document in older:
            drop = Drop(
                id=document.id,
                repo=document.repo,
                path=document.path,
                language=LANGUAGE,
                reason="older_capture",
                detail=f"of {_day(document.commit_time)}, kept that of {_day(latest.commit_time)}",
                sample="" if document.text == latest.text else document.text[:SAMPLE_CHARACTERS],
            )
            yield _Dropped("dropped", drop)


def _age(document: Document) -> tuple[int, str]:
    return document.commit_time, document.content_sha256


def _day(seconds: int) -> str:
    if not seconds:
        return "an unknown day"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
