"""Which documents go: tables of thresholds on signals, applied to a document's values.

A table stands in `gin_configs/refinecode/rules` as `{signal: comparison}`; the
comparison is one of the few forms below, read by a parser of its own, so a threshold is
data and a typo an error before the job starts. Every violated rule is reported; the
first one is the reason a document is dropped. `docs/rules.md` lists all tables.

    '< 30'    '< 5 or > 100'    'is true'    'is false'    '> 0.5 for 80%'

`for 80%` drops that share of the documents it hits, decided by a hash of the document's
id and the signal, so a document's fate never depends on how the job is run.
"""

import dataclasses
import difflib
import functools
import operator
import re
from collections.abc import Callable, Mapping

from beam_pipelines.signals.compute import signal_names
from opencoder_jax.errors import InputError
from opencoder_jax.formats.split import hash_fraction

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_COMPARISON = re.compile(r"(<=|>=|==|<|>)\s*(-?\d[\d_]*(?:\.\d+)?)")
_TRUTH = {"is true": 1.0, "is false": 0.0}
_SHARE = re.compile(r"(.+?)\s+for\s+(\d+(?:\.\d+)?)\s*%")


class RuleError(InputError):
    """A table of rules that cannot be used; the message names the table and the signal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One side of a threshold: the rule is violated where `value operator bound` holds."""

    operator: str
    bound: float
    text: str

    def holds(self, value: float) -> bool:
        return _OPERATORS[self.operator](value, self.bound)

    @property
    def function(self) -> Callable[[float, float], bool]:
        """`function(value, bound)` is what `holds` gives."""
        return _OPERATORS[self.operator]


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """When a signal's value drops a document.

    Attributes:
      signal: name of a registered signal.
      comparisons: any of them violates the rule; an undefined value violates none.
      drop_fraction: share of the violating documents that are dropped.
    """

    signal: str
    comparisons: tuple[Comparison, ...]
    drop_fraction: float = 1.0

    def violated_by(self, value: float | None) -> Comparison | None:
        """The comparison that holds for `value`, if one does."""
        if value is None:
            return None
        return next((c for c in self.comparisons if c.holds(value)), None)

    def __str__(self) -> str:
        """As a table states it, e.g. `> 0.5 for 80%`."""
        text = " or ".join(comparison.text for comparison in self.comparisons)
        return text if self.drop_fraction >= 1 else f"{text} for {100 * self.drop_fraction:g}%"

    def applies_to(self, document_id: str) -> bool:
        """Whether the document is in the share that the rule drops."""
        if self.drop_fraction >= 1:
            return True
        return hash_fraction("rule", self.signal, document_id) < self.drop_fraction


@dataclasses.dataclass(frozen=True)
class RuleTable:
    """The rules of one kind of document.

    Attributes:
      name: what the table is called in reports, e.g. `python`.
      drop_if: signal name to comparison.
      general: rules that this table shares with others; an entry of `drop_if` replaces
        the one of the same name, and the value 'never' takes it away.
    """

    name: str
    drop_if: Mapping[str, str]
    general: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules  # noqa: B018 - a table that cannot be read is an error now, not in a worker

    @functools.cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The parsed rules, in the order in which signals are registered.

        Raises:
          RuleError: a signal is not registered, a comparison is malformed, or `never`
            takes away a rule that there is none of.
        """
        for signal, text in self.drop_if.items():
            if text == "never" and signal not in self.general:
                raise RuleError(
                    f"rule table {self.name!r}: {signal!r} is 'never' and the general rules "
                    "have none of it; remove the entry"
                )
        merged = {**self.general, **self.drop_if}
        rules = [
            parse_rule(signal, text, table=self.name)
            for signal, text in merged.items()
            if text != "never"
        ]
        # Not the table's order: a configuration that was written out and read again is sorted.
        return tuple(sorted(rules, key=lambda rule: signal_names().index(rule.signal)))

    @functools.cached_property
    def _tests(self) -> tuple[tuple[str, Callable[[float, float], bool], float, Rule], ...]:
        """(signal, function, bound, rule) of every comparison: what each document goes through."""
        return tuple(
            (rule.signal, comparison.function, comparison.bound, rule)
            for rule in self.rules
            for comparison in rule.comparisons
        )

    def violated_by(self, values: Mapping[str, float | None]) -> list[Rule]:
        """The rules that a document with these signals violates, in their order."""
        violated: list[Rule] = []
        for signal, holds, bound, rule in self._tests:
            value = values.get(signal)
            if value is not None and holds(value, bound) and rule not in violated:
                violated.append(rule)
        return violated


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A rule that drops a document.

    Attributes:
      threshold: the comparison that held, e.g. `< 30`.
    """

    signal: str
    value: float
    threshold: str


def decide(
    values: Mapping[str, float | None], table: RuleTable, document_id: str
) -> list[Violation]:
    """Every rule of `table` that drops the document, in a fixed order; none: it stays."""
    violations = []
    for rule in table.violated_by(values):
        value = values.get(rule.signal)
        comparison = rule.violated_by(value)
        if value is not None and comparison is not None and rule.applies_to(document_id):
            violations.append(Violation(rule.signal, value, comparison.text))
    return violations


def select_table(
    doc_type: str, language: str, human_language: str, tables: Mapping[str, RuleTable]
) -> RuleTable:
    """The table for a document, as the released filter chooses it.

    Texts take `text_zh` or `text_en` (every language but Chinese); code and data the table
    of their language, where there is one; other data `data`, other code `code`.

    Raises:
      RuleError: that table is missing, or documents of `doc_type` have none.
    """
    if doc_type == "text":
        name = "text_zh" if human_language == "zh" else "text_en"
    elif doc_type in ("code", "data"):
        name = language if language in tables else doc_type
    else:
        raise RuleError(f"documents of type {doc_type!r} have no rules: expected code, data, text")
    if name not in tables:
        raise RuleError(f"no rule table {name!r}; there are {', '.join(sorted(tables))}")
    return tables[name]


def parse_rule(signal: str, text: str, *, table: str) -> Rule:
    """The rule that `text` states for `signal`.

    Raises:
      RuleError: the signal is unknown or the text has none of the forms above.
    """
    where = f"rule table {table!r}, signal {signal!r}"
    if signal not in signal_names():
        raise RuleError(f"{where}: no such signal{_nearest(signal)}")
    if not isinstance(text, str):
        raise RuleError(f"{where}: expected a comparison such as '< 30', got {text!r}")
    share = _SHARE.fullmatch(text.strip())
    conditions, fraction = (share[1], float(share[2]) / 100) if share else (text.strip(), 1.0)
    if not 0 < fraction <= 1:
        raise RuleError(
            f"{where}: {text!r} drops {fraction:.0%}; expected more than 0, at most 100"
        )
    comparisons = tuple(
        _parse_comparison(part.strip(), where) for part in re.split(r"\bor\b", conditions)
    )
    return Rule(signal, comparisons, fraction)


def _parse_comparison(text: str, where: str) -> Comparison:
    if text in _TRUTH:
        return Comparison("==", _TRUTH[text], text)
    match = _COMPARISON.fullmatch(text)
    if not match:
        raise RuleError(
            f"{where}: cannot read {text!r}; expected one of < <= > >= == and a number, "
            "'is true' or 'is false', several joined by 'or', and perhaps 'for 80%' at the end"
        )
    return Comparison(match[1], float(match[2]), text)


def _nearest(signal: str) -> str:
    near = difflib.get_close_matches(signal, signal_names(), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
