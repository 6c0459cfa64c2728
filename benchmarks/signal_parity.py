"""Our signals and verdicts beside those that the released filter computed for the same files.

    python -m benchmarks.signal_parity --golden=FILE --corpus=DIR

FILE (JSON lines, perhaps `.zst`) holds per file `sha256, path, doc_type, language, kept,
hits, signals` of the released filter; DIR the texts (`code_a`, `code_b`, `web`), joined by
the SHA-256 of their UTF-8. We compute as it was run: the file name without its extension,
human language English, its language and type. A pair that differs is explained only where
the released definition of one of `released_definitions.DEVIATIONS`, or of several, put in
the place of ours gives the released value; what is left is printed pair by pair.
"""

import argparse
import collections
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from beam_pipelines.signals.compute import signals_for
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import Signal
from beam_pipelines.signals.rules import RuleTable, decide, select_table
from benchmarks.released_definitions import DEVIATIONS as GENERAL_DEVIATIONS
from benchmarks.released_definitions import Deviation
from benchmarks.released_languages import LANGUAGE_DEVIATIONS
from benchmarks.released_views import OF_COMMENTS, is_split
from opencoder_jax.configuration import configure
from opencoder_jax.errors import InputError
from opencoder_jax.progress import track

DEVIATIONS = GENERAL_DEVIATIONS + LANGUAGE_DEVIATIONS
TOLERANCE = 1e-6
_CORPUS_FILES = ("code_a", "code_b", "web")
_KEEP_EXTENSION = ("c", "cpp")  # A signal asks whether the file is a header.
_NOT_COMPUTED = "not computed"
_CHANCE = "chance"

Value = float | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """One signal of one file, where the two values differ.

    Attributes:
      released: its value, None where undefined, `not computed` where there is none.
      causes: names of the deviations that together explain it; empty: unexplained.
    """

    path: str
    signal: str
    ours: Value
    released: Value | str
    causes: tuple[str, ...]


@dataclasses.dataclass
class Parity:
    """What the comparison found; counts are of pairs (file, signal) or of files."""

    files: int = 0
    pairs: int = 0
    equal: int = 0
    unknown_signals: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    differing: list[Pair] = dataclasses.field(default_factory=list)
    same_verdict: int = 0
    fates: dict[str, tuple[bool, tuple[str, ...]]] = dataclasses.field(default_factory=dict)


def signal_parity(golden: Path, corpus: Path) -> Parity:
    """Compares and prints; see the module."""
    rows = [json.loads(line) for line in _lines(golden)]
    texts = _texts(corpus, {row["sha256"] for row in rows})
    tables = _tables()
    parity = Parity()
    absent = [row["path"] for row in rows if row["sha256"] not in texts]
    rows = [row for row in rows if row["sha256"] in texts]
    with track("files", len(rows), "files") as advance:
        for row in rows:
            _compare(row, texts[row["sha256"]], tables, parity)
            advance()
    _print(parity, absent)
    return parity


def _compare(
    row: Mapping[str, Any], text: str, tables: Mapping[str, RuleTable], parity: Parity
) -> None:
    parity.files += 1
    if row["doc_type"] not in ("code", "data", "text"):
        parity.same_verdict += not row["kept"]
        return
    size = row["signals"].get("qsc_code_size_file_byte", len(text.encode()))
    path = row["path"]
    if row["language"] not in _KEEP_EXTENSION:
        path = os.path.splitext(path)[0]
    document = ParsedDocument(text, row["language"], row["doc_type"], path, int(size), "en")
    signals = signals_for(row["doc_type"], row["language"])
    unknown = row["signals"].keys() - {signal.name for signal in signals}
    parity.unknown_signals.update(unknown)
    parity.pairs += len(unknown) + len(signals)
    values: dict[str, Value] = {}
    differing: dict[str, Pair] = {}
    views = _Views(document)
    for signal in signals:
        value = values[signal.name] = _rounded(signal.function(document))
        released = row["signals"].get(signal.name, _NOT_COMPUTED)
        if _equal(value, released):
            parity.equal += 1
            continue
        causes = views.explain(signal, released)
        differing[signal.name] = Pair(row["path"], signal.name, value, released, causes)
    parity.differing += differing.values()
    table = select_table(row["doc_type"], row["language"], "en", tables)
    hits = {violation.signal for violation in decide(values, table, row["sha256"])}
    if (not hits) == row["kept"]:
        parity.same_verdict += 1
        return
    changed = hits ^ set(row["hits"])
    causes = tuple(
        sorted(
            {c for s in changed for c in (differing[s].causes if s in differing else (_CHANCE,))}
        )
    )
    parity.fates[row["path"]] = (not hits, causes)


class _Views:
    """One document under the released definitions, each view made once."""

    def __init__(self, document: ParsedDocument) -> None:
        self._document = document
        self._made: dict[str, ParsedDocument | None] = {}

    def explain(self, signal: Signal, released: Value | str) -> tuple[str, ...]:
        """The fewest deviations under which our signal has the released value."""
        if isinstance(released, str):
            return ()
        functions: list[tuple[tuple[str, ...], Any]] = [((), signal.function)]
        functions += [
            (d.causes, d.functions[signal.name]) for d in DEVIATIONS if signal.name in d.functions
        ]
        views: list[tuple[tuple[str, ...], Deviation | None]] = [((), None)]
        views += [(d.causes, d) for d in DEVIATIONS if d.view]
        candidates = sorted(
            itertools.product(functions, views), key=lambda pair: len(pair[0][0]) + len(pair[1][0])
        )
        for (function_names, function), (view_names, deviation) in candidates[1:]:
            document = self._view(deviation)
            if document is None:
                continue
            if not function_names and is_split(document):
                function = OF_COMMENTS.get(signal.name, function)
            if _equal(_rounded(function(document)), released):
                return function_names + view_names
        return ()

    def _view(self, deviation: Deviation | None) -> ParsedDocument | None:
        if deviation is None or deviation.view is None:
            return self._document
        if deviation.name not in self._made:
            self._made[deviation.name] = deviation.view(self._document)
        return self._made[deviation.name]


def _equal(ours: Value, released: Value | str) -> bool:
    if ours is None or released is None or isinstance(released, str):
        return ours is None and released is None
    return abs(ours - released) <= TOLERANCE


def _rounded(value: Value) -> Value:
    return None if value is None else round(float(value), 8)


def _print(parity: Parity, absent: list[str]) -> None:
    console = Console(width=150, highlight=False)
    if absent:
        console.print(f"{len(absent)} files of the golden values are not in the corpus:")
        console.print("\n".join(f"  {path}" for path in absent), markup=False)
    by_cause: dict[tuple[str, ...], list[Pair]] = collections.defaultdict(list)
    for pair in parity.differing:
        by_cause[pair.causes].append(pair)
    table = Table("deviation", "released filter", "here", "pairs", "files", "fate: kept", "dropped")
    for deviation in DEVIATIONS:
        if deviation.parts:
            continue
        pairs = [pair for pair in parity.differing if deviation.name in pair.causes]
        fates = [kept for kept, causes in parity.fates.values() if deviation.name in causes]
        table.add_row(
            deviation.name,
            deviation.released,
            deviation.here,
            str(len(pairs)),
            str(len({pair.path for pair in pairs})),
            str(sum(fates)),
            str(len(fates) - sum(fates)),
        )
    chance = [kept for kept, causes in parity.fates.values() if _CHANCE in causes]
    table.add_row(
        _CHANCE,
        '"for 80 %" by an unseeded random number',
        "by a hash of the document's id",
        "0",
        "0",
        str(sum(chance)),
        str(len(chance) - sum(chance)),
    )
    console.print(table, markup=False)
    for causes, pairs in sorted(by_cause.items(), key=lambda item: -len(item[1])):
        signals = collections.Counter(pair.signal for pair in pairs)
        listed = ", ".join(f"{name} {count}" for name, count in signals.most_common())
        console.print(
            f"{len(pairs)} pairs by {' + '.join(causes) or 'nothing'}: {listed}", markup=False
        )
    missing = [pair for pair in parity.differing if pair.released == _NOT_COMPUTED]
    unexplained = by_cause.pop((), [])
    for name, count in parity.unknown_signals.items():
        console.print(f"no such signal here: {name} ({count} files)")
    for pair in unexplained:
        console.print(
            f"unexplained: {pair.path} {pair.signal}: {pair.ours} here, {pair.released} released",
            markup=False,
            soft_wrap=True,
        )
    for path, (kept, causes) in parity.fates.items():
        fate = "kept" if kept else "dropped"
        console.print(f"{fate} here: {path} ({', '.join(causes) or 'unexplained'})", markup=False)
    outside = parity.equal + len(unexplained) + parity.unknown_signals.total()
    console.print(
        f"pairs {parity.pairs}, equal {parity.equal} ({parity.equal / parity.pairs:.2%}), "
        f"explained by deviations {len(parity.differing) - len(unexplained)}, "
        f"unexplained {len(unexplained)}, not computed by the released filter {len(missing)}, "
        f"by us {parity.unknown_signals.total()}"
    )
    console.print(
        f"signal_parity: {parity.equal / outside:.3%} of {outside} pairs outside deviations equal, "
        f"{parity.same_verdict / parity.files:.2%} of {parity.files} files have the same verdict"
    )


def _tables() -> Mapping[str, RuleTable]:
    def released_tables(rule_tables: dict[str, RuleTable]) -> dict[str, RuleTable]:
        return rule_tables

    return configure(
        released_tables,
        gin_files=["refinecode/rules/all.gin"],
        bindings=["released_tables.rule_tables = %RULE_TABLES"],
    )()


def _texts(corpus: Path, wanted: set[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name in _CORPUS_FILES:
        for line in _lines(_existing(corpus, name)):
            text = json.loads(line)["content"]
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            if digest in wanted:
                texts.setdefault(digest, text)
    return texts


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.zst"):
        if path.exists():
            return path
    raise InputError(f"{folder} has neither {name}.jsonl nor {name}.jsonl.zst")


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix != ".zst":
        with path.open("rb") as file:
            yield from file
        return
    if not shutil.which("zstd"):
        raise InputError(f"{path}: install the `zstd` command, or decompress it")
    with subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield from process.stdout
    if process.returncode:
        raise InputError(f"{path}: zstd stopped with status {process.returncode}")


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        signal_parity(options.golden, options.corpus)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
