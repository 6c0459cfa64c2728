"""Other tables of rules over stored signals: who would stay, who would go, and why.

Rules see nothing of a document but its signals, its kind and its id, all of which its
`Judged` record holds, so this decides exactly as the cleaning job would with those
tables. A record that lacks a signal which the job would compute today is refused, since
a missing value would pass for an undefined one. Next: `beam_pipelines/what_if.py`.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines.signals.compute import signals_of_kind
from beam_pipelines.signals.rules import RuleTable, decide, select_table
from opencoder_jax.errors import InputError
from opencoder_jax.formats.judged import Judged
from opencoder_jax.formats.split import hash_fraction

NEWLY_KEPT = "newly_kept"
NEWLY_DROPPED = "newly_dropped"
_SIDES = ("judged", "before", "after", NEWLY_KEPT, NEWLY_DROPPED)
_RULE_SIDES = ("before", "after", "sole_before", "sole_after", NEWLY_KEPT, NEWLY_DROPPED)

# (what it is of, its name, which side) and (documents, bytes)
Fact = tuple[tuple[str, str, str], tuple[int, int]]


class Verdicts(NamedTuple):
    """A document before and after.

    Attributes:
      judged: its record.
      before: rules that it violated when the corpus was made.
      after: rules of the other tables that drop it.
      kept_after: whether those let it stay.
    """

    judged: Judged
    before: tuple[str, ...]
    after: tuple[str, ...]
    kept_after: bool

    @property
    def change(self) -> str:
        """`newly_kept`, `newly_dropped`, or empty."""
        if self.kept_after == self.judged.kept:
            return ""
        return NEWLY_KEPT if self.kept_after else NEWLY_DROPPED


class CompareTables(beam.PTransform):
    """PCollection[Judged] to the (str, JSON value) pairs of the comparison, for `WriteJson`.

    `totals`, `languages` (by name) and `rules` (by signal) hold side → {documents, bytes};
    the sides are `judged`, `before`, `after` (what stays; of a rule: what it hits),
    `newly_kept` and `newly_dropped` (of a rule: documents that it freed or takes), and of a
    rule `sole_before` and `sole_after`, its documents that no other rule hits.
    `samples` holds a few changed documents each way, those with the smallest hashes.
    """

    def __init__(self, tables: Mapping[str, RuleTable], samples: int) -> None:
        super().__init__()
        self._tables = dict(tables)
        self._samples = samples

    def expand(self, judged: beam.PCollection) -> beam.PCollection:
        compared = judged | "Rejudge" >> beam.Map(rejudge, self._tables).with_output_types(Verdicts)
        counts = (
            compared
            | "Facts" >> beam.FlatMap(_facts).with_output_types(Fact)
            | "Add" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
            | "All" >> beam.combiners.ToList()
            | "Tables" >> beam.FlatMap(_tables)
        )
        samples = (
            compared
            | "Changed" >> beam.FlatMap(_changed).with_output_types(tuple[str, Verdicts])
            | "Few" >> beam.combiners.Top.SmallestPerKey(self._samples, key=_sample_order)
            | "AllSamples" >> beam.combiners.ToDict()
            | "Describe" >> beam.Map(_described)
        )
        return (counts, samples) | "Together" >> beam.Flatten()


def rejudge(judged: Judged, tables: Mapping[str, RuleTable]) -> Verdicts:
    """The verdict of `tables` beside the one that is recorded.

    Raises:
      InputError: the record lacks a signal that the document would have today.
    """
    before = tuple(violation["signal"] for violation in judged.violated())
    if judged.error:
        return Verdicts(judged, before, (), kept_after=False)
    values = judged.values()
    lacking = _computed_today(judged.doc_type, judged.language) - values.keys()
    if lacking:
        raise InputError(
            f"the stored signals of {judged.repo} {judged.path} ({judged.id}) lack "
            f"{min(lacking)}, which this version computes; clean the corpus again"
        )
    table = select_table(judged.doc_type, judged.language, judged.human_language, tables)
    after = tuple(violation.signal for violation in decide(values, table, judged.id))
    return Verdicts(judged, before, after, kept_after=not after)


@functools.cache
def _computed_today(doc_type: str, language: str) -> frozenset[str]:
    return frozenset(signals_of_kind(doc_type, language))


def _facts(verdicts: Verdicts) -> Iterator[Fact]:
    judged, change = verdicts.judged, verdicts.change
    amount = (1, judged.size_bytes)
    sides = [
        "judged",
        *(["before"] if judged.kept else []),
        *(["after"] if verdicts.kept_after else []),
        *([change] if change else []),
    ]
    for side in sides:
        yield ("language", judged.language, side), amount
    for side, rules, changed in (
        ("before", verdicts.before, NEWLY_KEPT),
        ("after", verdicts.after, NEWLY_DROPPED),
    ):
        for rule in rules:
            yield ("rule", rule, side), amount
            if len(rules) == 1:
                yield ("rule", rule, f"sole_{side}"), amount
            if change == changed:
                yield ("rule", rule, change), amount


def _tables(facts: Sequence[Fact]) -> Iterator[tuple[str, Any]]:
    languages: dict[str, dict[str, dict[str, int]]] = {}
    rules: dict[str, dict[str, dict[str, int]]] = {}
    totals = _zeros(_SIDES)
    for (kind, name, side), (documents, size) in facts:
        amount = {"documents": documents, "bytes": size}
        if kind == "rule":
            rules.setdefault(name, _zeros(_RULE_SIDES))[side] = amount
        else:
            languages.setdefault(name, _zeros(_SIDES))[side] = amount
            totals[side]["documents"] += documents
            totals[side]["bytes"] += size
    yield "totals", totals
    yield "languages", languages
    yield "rules", rules


def _zeros(sides: Sequence[str]) -> dict[str, dict[str, int]]:
    return {side: {"documents": 0, "bytes": 0} for side in sides}


def _changed(verdicts: Verdicts) -> Iterator[tuple[str, Verdicts]]:
    if verdicts.change:
        yield verdicts.change, verdicts


def _sample_order(verdicts: Verdicts) -> tuple[float, str]:
    return hash_fraction("sample", verdicts.judged.id), verdicts.judged.id


def _described(samples: Mapping[str, Sequence[Verdicts]]) -> tuple[str, Any]:
    return "samples", {
        change: [
            {
                "id": v.judged.id,
                "repo": v.judged.repo,
                "path": v.judged.path,
                "language": v.judged.language,
                "rules": list(v.before if change == NEWLY_KEPT else v.after),
            }
            for v in samples.get(change, ())
        ]
        for change in (NEWLY_KEPT, NEWLY_DROPPED)
    }
