"""Exact deduplication: of all documents with the same text, the best one stays.

Texts are compared by the SHA-256 that the reader computed. Nearly three quarters of
GitHub's files are byte-identical copies (paper §2.1.1), so this is the stage that has to
scale: a group holds (stars, commit time, id) only, so a text with ten million copies
moves none of its content under one key. Groups are read twice, as the iterables that Beam
hands out, never made into lists. Of documents with the same id (a source that lists a file
twice) one is chosen first, by light records too; the others leave as `duplicate_id`, in
the same join that the copies leave in. Next: `near`.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.accounting import Drop, Split, drop_document
from beam_pipelines.dedup.join import DUPLICATE_ID, JoinById, identity_order
from beam_pipelines.dedup.keep_order import KeepOrder
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document

REASON = "exact_duplicate"
_Dropped = TaggedOutput[Literal["dropped"], Drop]


class ExactDedup(beam.PTransform):
    """PCollection[Document] to a `Split` of kept documents and drops.

    A drop's `detail` is the id of the document that stays instead. Which one stays is
    `keep_order`'s decision, whatever the order of the input.

    Raises (in the job):
      InputError: a document has no `content_sha256`.
    """

    @no_annotations
    def expand(self, documents: beam.PCollection) -> Split:
        worse = (
            documents
            | "Identity"
            >> beam.Map(_identity).with_output_types(tuple[str, tuple[tuple[int, int, str], str]])
            | "OnePerId" >> beam.CombinePerKey(min)
            | "KeyByContent"
            >> beam.MapTuple(lambda _, identity: (identity[1], identity[0])).with_output_types(
                tuple[str, tuple[int, int, str]]
            )
            | "GroupByContent" >> beam.GroupByKey()
            | "AllButBest" >> beam.FlatMap(_all_but_best).with_output_types(tuple[str, str])
        )
        split = (
            (documents, worse)
            | "Join" >> JoinById(several=True)
            | "Split" >> beam.ParDo(SplitDuplicates()).with_outputs("dropped", main="kept")
        )
        return Split(kept=split.kept, dropped=split.dropped)


class SplitDuplicates(beam.DoFn):
    """(document, id of the one that stays) of `JoinById` to documents and drops."""

    def process(self, joined: tuple[Document, str]) -> Iterator[Document | _Dropped]:
        document, kept_id = joined
        if kept_id == DUPLICATE_ID:
            drop = drop_document(document, DUPLICATE_ID, detail="listed more than once")
            yield _Dropped("dropped", drop)
        elif kept_id:
            yield _Dropped("dropped", drop_document(document, REASON, detail=kept_id))
        else:
            yield document


def _identity(document: Document) -> tuple[str, tuple[KeepOrder, str]]:
    if not document.content_sha256:
        raise InputError(
            f"document {document.id} ({document.repo}:{document.path}) has no content_sha256; "
            "its reader has to fill it"
        )
    return document.id, identity_order(document)


def _all_but_best(group: tuple[str, Iterable[KeepOrder]]) -> Iterator[tuple[str, str]]:
    """(id of a worse copy, id of the best) pairs of one text."""
    _, copies = group
    _, _, best = min(copies)
    for _, _, copy in copies:
        if copy != best:
            yield copy, best
