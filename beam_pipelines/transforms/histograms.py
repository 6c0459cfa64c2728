"""How the signals are distributed under each table of rules, and what each rule took.

One combiner a table adds up, in bounded memory, a histogram of every signal (documents
that stay and documents that go apart) and of every rule its hits, how often it was the
recorded reason, and what it alone dropped: the evidence of the paper's tuning steps
2 and 3 (App. A.1). Bins are fixed, so results of parts add up and two corpora compare:
shares have 50 on [0, 1], amounts ten a decade, truth values two; the last is open.
Next: `statistics` puts this into `statistics.json`, the report draws it.
"""

import bisect
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from beam_pipelines.signals.rules import RuleTable
from opencoder_jax.formats.judged import Judged

# Kind of signal to the inner edges of its bins: bin i holds edges[i-1] <= value < edges[i].
EDGES: Mapping[str, tuple[float, ...]] = {
    "truth": (0.5,),
    # A share of exactly 1 is no outlier: the open bin begins above it.
    "share": (*(i / 50 for i in range(1, 50)), math.nextafter(1.0, 2.0)),
    "amount": tuple(10 ** (i / 10) for i in range(-10, 81)),
}
_UNDEFINED = -1
_RULE_COUNTS = ("hits", "first", "sole", "hit_bytes", "sole_bytes")
_TABLE_COUNTS = ("documents", "kept", "bytes", "kept_bytes")

# (counts of the table, signal → {2 × (bin + 1) + kept: documents}, signal → counts of its rule)
TableCounts = tuple[list[int], dict[str, dict[int, int]], dict[str, list[int]]]


class TableStatistics(beam.PTransform):
    """PCollection[Judged] to the (str, JSON value) pairs `tables`, `rules` and `edges`.

    `tables`: name → {documents, kept, bytes, kept_bytes, rules, signals}, where `rules` has
    signal → {text, comparisons, share, hits, first, sole, hit_bytes, sole_bytes} and
    `signals` has signal → {kind, undefined: [kept, dropped], bins: [[bin, kept, dropped]]}.
    `rules`: signal → the counts of all tables together, where there are any.
    """

    def __init__(self, tables: Mapping[str, RuleTable]) -> None:
        super().__init__()
        self._tables = dict(tables)

    def expand(self, judged: beam.PCollection) -> beam.PCollection:
        return (
            judged
            | "ByTable" >> beam.FlatMap(_by_table).with_output_types(tuple[str, Judged])
            | "AddUp" >> beam.CombinePerKey(AddUpTable())
            | "AllTables" >> beam.combiners.ToDict()
            | "Describe" >> beam.FlatMap(described_tables, self._tables)
        )


class AddUpTable(beam.CombineFn):
    """Adds up the judged documents of one table; its size depends on the signals alone."""

    def create_accumulator(self) -> TableCounts:
        return [0] * len(_TABLE_COUNTS), {}, {}

    def add_input(self, total: TableCounts, judged: Judged) -> TableCounts:
        counts, histograms, rules = total
        kept = int(judged.kept)
        for i, amount in enumerate((1, kept, judged.size_bytes, kept * judged.size_bytes)):
            counts[i] += amount
        for signal, value in judged.values().items():
            index = _UNDEFINED if value is None else bin_of(signal, value)
            cells = histograms.setdefault(signal, {})
            cell = 2 * (index + 1) + kept
            cells[cell] = cells.get(cell, 0) + 1
        violated = judged.violated()
        for i, violation in enumerate(violated):
            sole = int(len(violated) == 1)
            size = judged.size_bytes
            added = (1, int(i == 0), sole, size, sole * size)
            rule = rules.setdefault(violation["signal"], [0] * len(_RULE_COUNTS))
            rule[:] = [count + more for count, more in zip(rule, added, strict=True)]
        return total

    def merge_accumulators(self, totals: Iterable[TableCounts]) -> TableCounts:
        merged = self.create_accumulator()
        for counts, histograms, rules in totals:
            merged[0][:] = [a + b for a, b in zip(merged[0], counts, strict=True)]
            for signal, cells in histograms.items():
                into = merged[1].setdefault(signal, {})
                for cell, count in cells.items():
                    into[cell] = into.get(cell, 0) + count
            for signal, more in rules.items():
                rule = merged[2].setdefault(signal, [0] * len(_RULE_COUNTS))
                rule[:] = [a + b for a, b in zip(rule, more, strict=True)]
        return merged

    def extract_output(self, total: TableCounts) -> TableCounts:
        return total


def kind_of(signal: str) -> str:
    """`truth`, `share` or `amount`: how the values of a signal are binned, by its name."""
    if "_cate_" in signal:
        return "truth"
    return "share" if "_frac_" in signal or "_score_" in signal else "amount"


def bin_of(signal: str, value: float) -> int:
    """The bin of a value, from 0; the last one is open."""
    return bisect.bisect_right(EDGES[kind_of(signal)], value)


def _by_table(judged: Judged) -> Iterator[tuple[str, Judged]]:
    # Without a table there are no rules: a signal failed, and the drop says which.
    if judged.table:
        yield judged.table, judged


def described_tables(
    totals: Mapping[str, TableCounts], tables: Mapping[str, RuleTable]
) -> Iterator[tuple[str, Any]]:
    """What `TableStatistics` yields, of the sums of each table by its name."""
    by_name = {table.name: table for table in tables.values()}
    overall: dict[str, list[int]] = {}
    for _, _, rules in totals.values():
        for signal, counts in rules.items():
            known = overall.setdefault(signal, [0] * len(_RULE_COUNTS))
            known[:] = [a + b for a, b in zip(known, counts, strict=True)]
    yield "edges", {kind: list(edges) for kind, edges in EDGES.items()}
    yield "rules", {name: _named(_RULE_COUNTS, counts) for name, counts in overall.items()}
    yield "tables", {name: _described_table(totals[name], by_name[name]) for name in totals}


def _described_table(total: TableCounts, table: RuleTable) -> dict[str, Any]:
    counts, histograms, rules = total
    none = [0] * len(_RULE_COUNTS)
    return {
        **_named(_TABLE_COUNTS, counts),
        "rules": {
            rule.signal: {
                "text": str(rule),
                "comparisons": [[c.operator, c.bound] for c in rule.comparisons],
                "share": rule.drop_fraction,
                **_named(_RULE_COUNTS, rules.get(rule.signal, none)),
            }
            for rule in table.rules
        },
        "signals": {signal: _histogram(signal, cells) for signal, cells in histograms.items()},
    }


def _histogram(signal: str, cells: Mapping[int, int]) -> dict[str, Any]:
    bins = sorted({cell // 2 - 1 for cell in cells} - {_UNDEFINED})
    return {
        "kind": kind_of(signal),
        "undefined": [cells.get(1, 0), cells.get(0, 0)],
        "bins": [[b, cells.get(2 * b + 3, 0), cells.get(2 * b + 2, 0)] for b in bins],
    }


def _named(names: Iterable[str], counts: Iterable[int]) -> dict[str, int]:
    return dict(zip(names, counts, strict=True))
