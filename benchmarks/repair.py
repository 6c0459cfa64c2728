"""Repair's precision and recall on labelled excerpts of real files, and its speed.

    python -m benchmarks.repair [--corpus=DIR] [--megabytes=40] [--errors]

The excerpts are in tests/beam_pipelines/transforms/data: lines of permissively licensed
packages, labelled by hand. All names, addresses, passwords and keys in them are invented;
where `source` is `value`, a real line had a placeholder or a variable that an invented
value took the place of. `dev` was looked at while the rules were written, `heldout`, other
packages, was labelled before and only measured. A span counts as found if kind, start and end
agree; spans whose kind begins with `?` count neither way. Of headers the lines are counted.

With --corpus (`code_a.jsonl(.zst)`, as benchmarks.near_dedup), it prints the speed of one core.
"""

import argparse
import collections
import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from beam_pipelines.languages.file_types import identify
from beam_pipelines.transforms.licence_header import remove_licence_header
from beam_pipelines.transforms.personal_data import personal_spans, replace_personal_data
from beam_pipelines.transforms.repair import repair
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document

DATA = Path(__file__).parents[1] / "tests/beam_pipelines/transforms/data"
HEADER = "header lines"
KINDS = (HEADER, "name", "email", "ip", "password", "key")
_WORD = re.compile(r"\w")


class Score(NamedTuple):
    """Counts of one kind in one half.

    Attributes:
      right: found and labelled.
      wrong: found only.
      missed: labelled only.
    """

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (2 * self.right + self.wrong + self.missed or 1)

    def plus(self, other: "Score") -> "Score":
        return Score(*map(sum, zip(self, other, strict=True)))


class Mistake(NamedTuple):
    """`what` is `wrong` or `missed`; `found` is the text of the span or line."""

    half: str
    kind: str
    what: str
    found: str
    text: str


def measure() -> tuple[dict[tuple[str, str], Score], list[Mistake]]:
    """(half, kind) to its score, and every mistake."""
    scores: dict[tuple[str, str], Score] = collections.defaultdict(Score)
    mistakes: list[Mistake] = []
    for row in _rows("personal_data"):
        _compare(row, *_spans(row), scores, mistakes)
    for row in _rows("licence_headers"):
        _compare(row, *_lines(row), scores, mistakes)
    return dict(scores), mistakes


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _spans(row: Mapping[str, Any]) -> tuple[set[Any], set[Any]]:
    """(found, labelled) as (kind, text) with a number that tells equal ones apart."""
    text = row["text"]
    either = [(s, e) for s, e, kind in row["spans"] if kind.startswith("?")]
    labelled = {(kind, s, text[s:e]) for s, e, kind in row["spans"] if not kind.startswith("?")}
    found = {
        (span.placeholder.strip("<>"), span.start, text[span.start : span.end])
        for span in personal_spans(text)
        if not any(s < span.end and span.start < e for s, e in either)
    }
    return found, labelled


def _lines(row: Mapping[str, Any]) -> tuple[set[Any], set[Any]]:
    """The same of the lines with words of a header."""
    lines = row["text"].splitlines()
    kept = collections.deque(remove_licence_header(row["text"], row["language"]).splitlines())
    found = set()
    # What is removed is removed in whole lines, so the rest is a subsequence.
    for number, line in enumerate(lines):
        if kept and kept[0] == line:
            kept.popleft()
        elif _WORD.search(line) and number not in row["either"]:
            found.add((HEADER, number, line))
        elif not _WORD.search(line):
            while kept and not _WORD.search(kept[0]) and kept[0] not in lines[number:]:
                kept.popleft()
    return found, {(HEADER, number, lines[number]) for number in row["notice"]}


def _compare(
    row: Mapping[str, Any],
    found: set[Any],
    labelled: set[Any],
    scores: dict[tuple[str, str], Score],
    mistakes: list[Mistake],
) -> None:
    half = row["half"]
    for what, items in (
        ("right", found & labelled),
        ("wrong", found - labelled),
        ("missed", labelled - found),
    ):
        for kind, _, text in sorted(items):
            scores[half, kind] = scores[half, kind].plus(Score(**{what: 1}))
            if what != "right":
                mistakes.append(Mistake(half, kind, what, text, row["text"]))


def print_scores(scores: Mapping[tuple[str, str], Score]) -> None:
    print(f"{'kind':14}{'half':9}{'right':>6}{'wrong':>6}{'missed':>7}{'P':>8}{'R':>8}{'F1':>8}")
    for kind in KINDS:
        for half in ("dev", "heldout"):
            score = scores.get((half, kind), Score())
            print(
                f"{kind:14}{half:9}{score.right:6}{score.wrong:6}{score.missed:7}"
                f"{score.precision:8.3f}{score.recall:8.3f}{score.f1:8.3f}"
            )


def measure_speed(corpus: Path, megabytes: float) -> None:
    """Prints MB of UTF-8 a CPU second of the stage and its two parts, on a sample of files."""
    documents = list(_documents(corpus))
    random.Random(0).shuffle(documents)
    sizes = itertools.accumulate(len(d.text.encode()) for d in documents)
    documents = [d for d, size in zip(documents, sizes, strict=True) if size <= megabytes * 1e6]
    total = sum(len(d.text.encode()) for d in documents) / 1e6
    replace_personal_data("")  # load the rules
    for name, call in (
        ("licence headers", lambda d: remove_licence_header(d.text, d.language)),
        ("personal data", lambda d: replace_personal_data(d.text)),
        ("repair", repair),
    ):
        slowest = 0.0
        started = time.process_time()
        for document in documents:
            before = time.process_time()
            call(document)
            slowest = max(slowest, time.process_time() - before)
        seconds = time.process_time() - started
        print(f"{name}: {total / seconds:.1f} MB/s a core, slowest file {slowest:.2f} s")
    print(f"{len(documents)} documents, {total:.1f} MB")


def _documents(corpus: Path) -> Iterator[Document]:
    plain, packed = corpus / "code_a.jsonl", corpus / "code_a.jsonl.zst"
    if not plain.exists() and not packed.exists():
        raise InputError(f"{corpus} has neither {plain.name} nor {packed.name}")
    command = ["cat", str(plain)] if plain.exists() else ["zstd", "-dcq", str(packed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        for row in map(json.loads, process.stdout):
            file_type = identify(row["path"])
            if file_type.doc_type in ("code", "data", "text") and row["content"].strip():
                yield Document(
                    id="",
                    text=row["content"],
                    repo=row["repo_name"],
                    path=row["path"],
                    language=file_type.language,
                    doc_type=file_type.doc_type,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--megabytes", type=float, default=40.0)
    parser.add_argument("--errors", action="store_true", help="print every mistake of the dev half")
    arguments = parser.parse_args()
    scores, mistakes = measure()
    print_scores(scores)
    if arguments.errors:
        for mistake in mistakes:
            if mistake.half == "dev":
                print(f"{mistake.kind} {mistake.what}: {mistake.found!r} in {mistake.text!r}")
    if arguments.corpus:
        measure_speed(arguments.corpus, arguments.megabytes)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
