"""Documents meet what was decided about them, by id.

Deduplication decides on light records (ids, hashes, stars); the texts are shuffled once a
stage, under a key of their own each, so no key is hot. Documents and decisions travel as
bytes: a runner that has to bring two kinds of values together (`CoGroupByKey`) decodes and
encodes each on the way, once more for every text.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.coders import DocumentCoder
from beam_pipelines.dedup.keep_order import KeepOrder, keep_order
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document

DUPLICATE_ID = "duplicate_id"
_CODER = DocumentCoder()
# No marshalled tuple begins so.
_MARK = b"="


class JoinById(beam.PTransform):
    """(PCollection[Document], PCollection[(id, str)]) to PCollection[(Document, str)].

    Each document comes out once, with an empty string where nothing was decided.

    Raises (in the job):
      InputError: two documents have the same id, and `several` is false.
    """

    def __init__(self, several: bool = False) -> None:
        """Args:
        several: of documents with the same id the first by `identity_order` meets the
          decision and the others come out with `DUPLICATE_ID`.
        """
        super().__init__()
        self._several = several

    @no_annotations
    def expand(self, pcollections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        documents, decisions = pcollections
        return (
            (
                documents | "KeyById" >> beam.Map(_by_id).with_output_types(tuple[str, bytes]),
                decisions | "Mark" >> beam.Map(_marked).with_output_types(tuple[str, bytes]),
            )
            | "Together" >> beam.Flatten()
            | "GroupById" >> beam.GroupByKey()
            | "Pair" >> beam.FlatMap(_pair, self._several).with_output_types(tuple[Document, str])
        )


def _by_id(document: Document) -> tuple[str, bytes]:
    return document.id, _CODER.encode(document)


def _marked(decision: tuple[str, str]) -> tuple[str, bytes]:
    document_id, text = decision
    return document_id, _MARK + text.encode("utf-8")


def identity_order(document: Document) -> tuple[KeepOrder, str]:
    """A sort key of documents with the same id; what is equal in it has the same content."""
    return keep_order(document), document.content_sha256


def _pair(group: tuple[str, Iterable[bytes]], several: bool) -> Iterator[tuple[Document, str]]:
    """Keeps at most two documents of a group in memory, however often an id is used."""
    document_id, values = group
    decision = ""
    best: Document | None = None
    for value in values:
        if value.startswith(_MARK):
            decision = value.removeprefix(_MARK).decode("utf-8")
            continue
        document = _CODER.decode(value)
        if best is None:
            best = document
            continue
        if not several:
            raise InputError(
                f"two documents have the id {document_id!r} ({best.repo}:{best.path}, "
                f"{document.repo}:{document.path}): ids have to be unique before deduplication"
            )
        first, other = sorted((best, document), key=_total_order)
        yield other, DUPLICATE_ID
        best = first
    if best is None:
        raise InputError(
            f"something was decided about document {document_id!r}, which is not there"
        )
    yield best, decision


def _total_order(document: Document) -> tuple[tuple[KeepOrder, str], tuple[str | int, ...]]:
    return identity_order(document), dataclasses.astuple(document)
