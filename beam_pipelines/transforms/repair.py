"""Repairs documents that would otherwise be lost or harmful: the paper's transformation stage.

It comes before the rules (paper §2.1.1), so that a file is judged by what is left of it.
What was replaced is counted by kind. Next: `licence_header`, `personal_data`, `quality`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.transforms.licence_header import remove_licence_header
from beam_pipelines.transforms.personal_data import replace_personal_data
from opencoder_jax.formats.document import Document

LICENCE_HEADER = "licence_header"
_REPLACED = "replaced"


class Repaired(NamedTuple):
    """What the stage returns.

    Attributes:
      documents: PCollection[Document], as many as came in.
      replaced: PCollection[(kind, count)], one for each kind of replacement in a document.
    """

    documents: beam.PCollection
    replaced: beam.PCollection


class Repair(beam.PTransform):
    """PCollection[Document] to `Repaired`."""

    def expand(self, documents: beam.PCollection) -> Repaired:
        outputs = documents | beam.ParDo(_Repair()).with_outputs(_REPLACED, main="documents")
        return Repaired(outputs.documents, outputs[_REPLACED])


def repair(document: Document) -> tuple[Document, dict[str, int]]:
    """The document without licence header and personal data, and what was replaced.

    Prose keeps its licence text: it has no code for a notice to precede.
    """
    text, counts = document.text, {}
    if document.doc_type != "text":
        text = remove_licence_header(text, document.language)
        if text != document.text:
            counts[LICENCE_HEADER] = 1
    replaced = replace_personal_data(text)
    return document.replace(text=replaced.text), counts | replaced.counts


class _Repair(beam.DoFn):
    def process(self, document: Document) -> Iterator[Any]:
        repaired, counts = repair(document)
        yield repaired
        for kind, count in counts.items():
            yield TaggedOutput(_REPLACED, (kind, count))
