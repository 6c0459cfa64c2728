"""Judges documents by their quality signals and the tables of rules.

A document that violates any rule of its table is dropped (paper §2.1.1); the drop names
the first rule and lists all, so that a threshold can be judged by the documents that it
alone removes (paper App. A.1). One whose signals cannot be computed is dropped as
`signal_error`, never passed. Every judged document also gives a record of its signals,
for statistics and `what_if`. Next: `beam_pipelines/signals`, `docs/rules.md`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, drop_document
from beam_pipelines.runner import collect_seldom
from beam_pipelines.signals.compute import SignalResult, compute_signals
from beam_pipelines.signals.rules import RuleTable, Violation, decide, select_table
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.judged import Judged

RULE = "rule"
SIGNAL_ERROR = "signal_error"
# One encoder for all; `json.dumps` would make one for each document.
_encode_signals = json.JSONEncoder(sort_keys=True).encode
_Dropped = TaggedOutput[Literal["dropped"], Drop]
_Judged = TaggedOutput[Literal["judged"], Judged]


class Judgements(NamedTuple):
    """What the stage returns.

    Attributes:
      kept: PCollection[Document], with their signals as JSON.
      dropped: PCollection[Drop].
      judged: PCollection[Judged]: kept and dropped, every document that came in.
    """

    kept: beam.PCollection
    dropped: beam.PCollection
    judged: beam.PCollection


class JudgeQuality(beam.PTransform):
    """PCollection[Document] to `Judgements`."""

    def __init__(self, tables: Mapping[str, RuleTable]) -> None:
        super().__init__()
        self._tables = dict(tables)

    def expand(self, documents: beam.PCollection) -> Judgements:
        outputs = documents | beam.ParDo(_Judge(self._tables)).with_outputs(
            "dropped", "judged", main="kept"
        )
        return Judgements(outputs.kept, outputs.dropped, outputs.judged)


def document_signals(document: Document) -> SignalResult:
    """The signals of a document, as its rules ask for them."""
    return compute_signals(
        document.text,
        language=document.language,
        doc_type=document.doc_type,
        path=document.path,
        size_bytes=document.text_bytes,
        document_id=document.id,
    )


def judge(
    document: Document, tables: Mapping[str, RuleTable]
) -> tuple[Document, Judged] | tuple[Drop, Judged]:
    """The document with its signals, or why it is dropped; and the record of both."""
    result = document_signals(document)
    sample = document.text[:SAMPLE_CHARACTERS]
    signals = _encode_signals(result.values)

    def judged(table: str, violations: list[Violation], error: str = "") -> Judged:
        return Judged(
            id=document.id,
            repo=document.repo,
            path=document.path,
            language=document.language,
            doc_type=document.doc_type,
            human_language=result.human_language,
            size_bytes=document.text_bytes,
            table=table,
            kept=not violations and not error,
            signals=signals,
            violations=json.dumps([dataclasses.asdict(violation) for violation in violations]),
            error=error,
        )

    if result.errors:
        signal, message = min(result.errors.items())
        drop = drop_document(document, SIGNAL_ERROR, signal=signal, detail=message, sample=sample)
        return drop, judged("", [], f"{signal}: {message}")
    table = select_table(document.doc_type, document.language, result.human_language, tables)
    violations = decide(result.values, table, document.id)
    if not violations:
        return document.replace(signals=signals), judged(table.name, [])
    first = violations[0]
    drop = drop_document(
        document,
        RULE,
        signal=first.signal,
        value=first.value,
        threshold=first.threshold,
        detail=json.dumps({"table": table.name, "rules": [v.signal for v in violations]}),
        sample=sample,
    )
    return drop, judged(table.name, violations)


def violated_rules(drop: Drop) -> list[str]:
    """All rules that a document dropped by a rule violates."""
    return json.loads(drop.detail)["rules"] if drop.reason == RULE else []


class _Judge(beam.DoFn):
    def __init__(self, tables: Mapping[str, RuleTable]) -> None:
        self._tables = tables

    def setup(self) -> None:
        # Here because it is where a worker process spends its time.
        collect_seldom()

    def process(self, document: Document) -> Iterator[Document | _Dropped | _Judged]:
        verdict, judged = judge(document, self._tables)
        yield _Dropped("dropped", verdict) if isinstance(verdict, Drop) else verdict
        yield _Judged("judged", judged)
