"""One file judged under our definitions and under each released one in turn.

`deviations` counts what comes out. In the place of one of our definitions stands the
released one (`released_definitions`, `released_languages`), all else stays ours: the other
signals, the tables, the hash that decides where a rule drops a share. So an effect is that
of one deviation alone; `ALL` is all of them at once.
"""

import contextlib
import dataclasses
import signal
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from beam_pipelines.languages.file_types import identify
from beam_pipelines.signals import human_language
from beam_pipelines.signals.compute import signals_for
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import SignalFunction
from beam_pipelines.signals.rules import RuleTable, decide, select_table
from benchmarks.released_definitions import DEVIATIONS as GENERAL_DEVIATIONS
from benchmarks.released_definitions import Deviation, ours
from benchmarks.released_languages import LANGUAGE_DEVIATIONS
from benchmarks.released_views import OF_COMMENTS, is_split, seen_as_released
from opencoder_jax.formats.document import document_id

DEVIATIONS = GENERAL_DEVIATIONS + LANGUAGE_DEVIATIONS
ALL = "all of these"
FILE_TYPES = "file types"
AS_RUN = "the released filter as it ran"
TOLERANCE = 1e-6
_COMMENTS = "qsc_code_frac_chars_comments"
_JUDGED = ("code", "data", "text")
_SECONDS = 10  # Of CPU, for one definition on one file: what a signal may take there.

Value = float | None
Values = Mapping[str, Value]


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """What one deviation does to one file.

    Attributes:
      signals: names of those that have another value there.
      kept_there: whether the file stays with the released definition.
      kept_here: whether it stays with ours.
      failed: the released definition fails, or takes longer than a signal may; its effect is
        not known, and the fate counted as ours.
    """

    deviation: str
    signals: tuple[str, ...]
    kept_there: bool
    kept_here: bool
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Fate:
    """One file.

    Attributes:
      kept: whether our rules keep it.
      by_share_alone: all rules that it violates drop a share of what they hit, so that
        another draw might decide otherwise.
      effects: of the deviations that have one.
      compared: pairs (file, signal) of which the released filter's own value is known.
      equal: those that all deviations at once give.
    """

    repo: str
    path: str
    language: str
    doc_type: str
    kept: bool
    by_share_alone: bool
    effects: tuple[Effect, ...]
    compared: int
    equal: int


def _in_english(document: ParsedDocument) -> ParsedDocument | None:
    if document.human_language == "en":
        return None
    return dataclasses.replace(document, human_language="en")


# How the released filter is run, by its own notebook and for the golden values.
AS_GIVEN: tuple[Deviation, ...] = (
    Deviation(
        "file name",
        "without its extension, so that no name ends in `_test.go`",
        "the whole name",
        functions={"qsc_codego_cate_testfile": lambda document: 0.0},
    ),
    Deviation(
        "human language",
        "English for every file (its model was not released)",
        "lid.176",
        view=_in_english,
    ),
)
SINGLE: tuple[Deviation, ...] = tuple(d for d in (*DEVIATIONS, *AS_GIVEN) if not d.parts)


class Judge:
    """Judges files under given tables, in the main thread of a process (for its time limit)."""

    def __init__(self, tables: Mapping[str, RuleTable]) -> None:
        self._tables = tables
        # Where several deviations bear on a signal, the one that puts them together counts.
        self._all: dict[str, SignalFunction] = {}
        for deviation in sorted((*DEVIATIONS, *AS_GIVEN), key=lambda d: len(d.parts)):
            self._all.update(deviation.functions)

    def fate(self, row: Mapping[str, Any], released: Mapping[str, Any] | None) -> Fate:
        """What becomes of one file.

        Args:
          row: `repo_name, version, path, content`.
          released: `doc_type, language, kept, signals` of the released filter, if known.
        """
        text, path = row["content"], row["path"]
        repo = f"{row['repo_name']}-{row['version']}"
        key = document_id("cleaning", repo, path)
        kind = identify(path, text[:200].partition("\n")[0])
        document = _parsed(text, path, kind.language, kind.doc_type)
        theirs = (released["language"], released["doc_type"]) if released else None
        kept = by_share_alone = False
        effects: list[Effect] = []
        compared: list[bool] = []
        if document is not None:
            values = _values(document)
            kept, by_share_alone = self._verdict(document, values, key)
            for deviation in (*SINGLE, None):
                name = deviation.name if deviation else ALL
                try:
                    with _time_limit():
                        found = self._under(deviation, document, values)
                except Exception:  # Whatever it is: the released filter has no value then either.
                    effects.append(Effect(name, (), kept, kept, failed=True))
                    continue
                if found is None:
                    continue
                seen, there = found
                changed = tuple(n for n in values if not same(values[n], there[n]))
                # Another human language may be another table.
                if changed or seen.human_language != document.human_language:
                    stays = self._verdict(seen, there, key)[0]
                    effects.append(Effect(name, changed, stays, kept))
                if released and deviation is None and theirs == (kind.language, kind.doc_type):
                    said = released["signals"].items()
                    compared = [same(_rounded(there.get(n)), value) for n, value in said]
        if theirs is not None and theirs != (kind.language, kind.doc_type):
            other = _parsed(text, path, *theirs)
            stays = other is not None and self._verdict(other, _values(other), key)[0]
            effects.append(Effect(FILE_TYPES, (), stays, kept))
        if released and released["kept"] != kept:
            effects.append(Effect(AS_RUN, (), released["kept"], kept))
        return Fate(
            *(repo, path, kind.language, kind.doc_type, kept, by_share_alone, tuple(effects)),
            *(len(compared), sum(compared)),
        )

    def _under(
        self, deviation: Deviation | None, document: ParsedDocument, values: Values
    ) -> tuple[ParsedDocument, Values] | None:
        """The document as it is seen there and its values; None where all is as here."""
        if deviation is None:
            seen = seen_as_released(_in_english(document) or document)
            return seen, _seen(seen, document, self._all)
        if deviation.view is not None:
            view = deviation.view(document)
            return None if view is None else (view, _seen(view, document, {}))
        changed = {n: f(document) for n, f in deviation.functions.items() if n in values}
        return (document, {**values, **changed}) if changed else None

    def _verdict(self, document: ParsedDocument, values: Values, key: str) -> tuple[bool, bool]:
        """(stays, is hit by rules that drop a share alone)."""
        table = select_table(
            document.doc_type, document.language, document.human_language, self._tables
        )
        rounded = {name: _rounded(value) for name, value in values.items()}
        hit = [rule for rule in table.rules if rule.violated_by(rounded[rule.signal])]
        by_share_alone = bool(hit) and all(rule.drop_fraction < 1 for rule in hit)
        return not decide(rounded, table, key), by_share_alone


def same(one: Value, other: Value) -> bool:
    """Whether two values of a signal are equal, as far as floating point goes."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE


def _rounded(value: Value) -> Value:
    return None if value is None else round(float(value), 8)


def _parsed(text: str, path: str, language: str, doc_type: str) -> ParsedDocument | None:
    if doc_type not in _JUDGED:
        return None
    ascii_code = doc_type != "text" and text.isascii()
    natural = "en" if ascii_code else human_language.identify(text)
    size = len(text.encode("utf-8", "replace"))
    return ParsedDocument(text, language, doc_type, path, size, natural)


def _values(
    document: ParsedDocument, instead: Mapping[str, SignalFunction] = MappingProxyType({})
) -> dict[str, Value]:
    signals = signals_for(document.doc_type, document.language)
    return {s.name: instead.get(s.name, s.function)(document) for s in signals}


def _seen(
    view: ParsedDocument, document: ParsedDocument, released: Mapping[str, SignalFunction]
) -> dict[str, Value]:
    """Values of the view of a document, some by their released functions."""
    functions = {**(OF_COMMENTS if is_split(view) else {}), **released}
    if document.language == "python":
        # Found by Python's own tokens there too, whatever the lexer's split is.
        comments = released.get(_COMMENTS, ours(_COMMENTS))
        functions[_COMMENTS] = lambda _: comments(document)
    return _values(view, functions)


class _TooLongError(Exception):
    pass


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _TooLongError

    # User time: SIGPROF is taken by profilers, libtpu's among them.
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
