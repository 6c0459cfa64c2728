"""Judges documents by their quality signals and the tables of rules.

A document that violates any rule of its table is dropped (paper §2.1.1); the drop names
the first rule and lists all, so that a threshold can be judged by the documents that it
alone removes (paper App. A.1). One whose signals cannot be computed is dropped as
`signal_error`, never passed. Next: `beam_pipelines/signals`, `docs/rules.md`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, Split, drop_document
from beam_pipelines.signals.compute import compute_signals
from beam_pipelines.signals.rules import RuleTable, decide, select_table
from opencoder_jax.formats.document import Document

RULE = "rule"
SIGNAL_ERROR = "signal_error"
_DROPPED = "dropped"


class JudgeQuality(beam.PTransform):
    """PCollection[Document] to a `Split`; kept documents carry their signals as JSON."""

    def __init__(self, tables: Mapping[str, RuleTable]) -> None:
        super().__init__()
        self._tables = dict(tables)

    def expand(self, documents: beam.PCollection) -> Split:
        judged = documents | beam.ParDo(_Judge(self._tables)).with_outputs(_DROPPED, main="kept")
        return Split(judged.kept, judged[_DROPPED])


def judge(document: Document, tables: Mapping[str, RuleTable]) -> Document | Drop:
    """The document with its signals, or why it is dropped."""
    result = compute_signals(
        document.text,
        language=document.language,
        doc_type=document.doc_type,
        path=document.path,
        size_bytes=len(document.text.encode("utf-8")),
        document_id=document.id,
    )
    sample = document.text[:SAMPLE_CHARACTERS]
    if result.errors:
        signal, message = min(result.errors.items())
        return drop_document(document, SIGNAL_ERROR, signal=signal, detail=message, sample=sample)
    table = select_table(document.doc_type, document.language, result.human_language, tables)
    violations = decide(result.values, table, document.id)
    if not violations:
        return document.replace(signals=json.dumps(result.values, sort_keys=True))
    first = violations[0]
    return drop_document(
        document,
        RULE,
        signal=first.signal,
        value=first.value,
        threshold=first.threshold,
        detail=json.dumps({"table": table.name, "rules": [v.signal for v in violations]}),
        sample=sample,
    )


def violated_rules(drop: Drop) -> list[str]:
    """All rules that a document dropped by a rule violates."""
    return json.loads(drop.detail)["rules"] if drop.reason == RULE else []


class _Judge(beam.DoFn):
    def __init__(self, tables: Mapping[str, RuleTable]) -> None:
        self._tables = tables

    def process(self, document: Document) -> Iterator[Any]:
        judged = judge(document, self._tables)
        yield TaggedOutput(_DROPPED, judged) if isinstance(judged, Drop) else judged
