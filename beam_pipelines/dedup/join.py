"""Documents meet what was decided about them, by id.

Deduplication decides on light records (ids, hashes, stars); the texts are shuffled once a
stage, under a key of their own each, so no key is hot.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations

from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document


class JoinById(beam.PTransform):
    """(PCollection[Document], PCollection[(id, str)]) to PCollection[(Document, str)].

    Each document comes out once, with an empty string where nothing was decided.

    Raises (in the job):
      InputError: two documents have the same id.
    """

    @no_annotations
    def expand(self, pcollections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        documents, decisions = pcollections
        keyed = documents | "KeyById" >> beam.Map(_by_id).with_output_types(tuple[str, Document])
        return (
            {"documents": keyed, "decisions": decisions}
            | "GroupById" >> beam.CoGroupByKey()
            | "Pair" >> beam.FlatMap(_pair).with_output_types(tuple[Document, str])
        )


def _by_id(document: Document) -> tuple[str, Document]:
    return document.id, document


def _pair(group: tuple[str, Mapping[str, Iterable[Any]]]) -> Iterator[tuple[Document, str]]:
    document_id, joined = group
    documents, decisions = list(joined["documents"]), list(joined["decisions"])
    if len(documents) != 1 or len(decisions) > 1:
        places = ", ".join(f"{d.repo}:{d.path}" for d in documents)
        raise InputError(
            f"{len(documents)} documents have the id {document_id!r} ({places}): "
            "ids have to be unique before deduplication"
        )
    yield documents[0], decisions[0] if decisions else ""
