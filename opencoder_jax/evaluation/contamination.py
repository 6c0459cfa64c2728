"""Whether training data hold a benchmark's problems: shared 10-grams, and what manifests say.

The rule is the paper's (§4.4): words are lower-cased `\\w+` runs, and ten of them in a row that a
problem has too are a hit; `beam_pipelines` drops documents by it and by the names of functions
asked for (`BenchmarkIndex`). Here a corpus that is there is searched, problem by problem; of one
that is not, its manifest may say that it was made without a benchmark's problems. Anything else
is `not checked`. Needs no jax, so the data jobs use it too.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.formats import shards
from opencoder_jax.formats.conversation import decode_conversation
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import fingerprint, read_manifest
from opencoder_jax.progress import track

NGRAM_WORDS = 10  # paper §4.4
_WORD = re.compile(r"\w+")
CLEAN = "clean"
NOT_CHECKED = "not checked"


@dataclasses.dataclass(frozen=True)
class ProblemTexts:
    """What of a benchmark must not be in training data.

    Attributes:
      name: as in gin, e.g. `humaneval`.
      texts: id and text of each problem: prompt, solution and tests.
      entry_points: id and name of the function that each problem asks for.
    """

    name: str
    texts: tuple[tuple[str, str], ...]
    entry_points: tuple[tuple[str, str], ...] = ()


class Hit(NamedTuple):
    """Why a text is contaminated.

    Attributes:
      reason: `benchmark_ngram` or `benchmark_entry_point`.
      problem: id of the problem.
      matched: the words that both have, or the entry point.
    """

    reason: str
    problem: str
    matched: str


def humaneval() -> ProblemTexts:
    problems = load_problems()
    return ProblemTexts(
        "humaneval",
        tuple((p.task_id, f"{p.prompt}{p.canonical_solution}\n{p.test}") for p in problems),
        tuple((p.task_id, p.entry_point) for p in problems),
    )


def texts_fingerprint(benchmarks: Sequence[ProblemTexts]) -> str:
    """For a manifest's inputs."""
    return fingerprint([dataclasses.asdict(benchmark) for benchmark in benchmarks])


class BenchmarkIndex:
    """Finds what a text shares with benchmarks; one pass over its words."""

    def __init__(self, benchmarks: Iterable[ProblemTexts]) -> None:
        self._ngrams: dict[str, str] = {}
        self._entry_points: dict[str, str] = {}
        for benchmark in benchmarks:
            for problem, text in benchmark.texts:
                for ngram in ngrams(text):
                    self._ngrams.setdefault(ngram, problem)
            for problem, name in benchmark.entry_points:
                self._entry_points.setdefault(name, problem)
        # HumanEval/106 asks for `f`: a name that says nothing.
        self._entry_points = {n: p for n, p in self._entry_points.items() if len(n) > 1}
        names = "|".join(map(re.escape, sorted(self._entry_points)))
        # A function's definition or bare call; neither an attribute nor a method.
        self._call = re.compile(rf"(?<![\w.])({names})\s*\((?!\s*(?:self|cls)\b)")

    def find(self, text: str) -> Hit | None:
        """The first shared 10-gram, else the first entry point, else None."""
        for ngram in ngrams(text):
            if ngram in self._ngrams:
                return Hit("benchmark_ngram", self._ngrams[ngram], ngram)
        match = self._call.search(text) if self._entry_points else None
        if match:
            return Hit("benchmark_entry_point", self._entry_points[match[1]], match[1])
        return None


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def ngrams(text: str) -> Iterator[str]:
    """All runs of `NGRAM_WORDS` words, in order; none of a shorter text."""
    found = words(text)
    for start in range(len(found) - NGRAM_WORDS + 1):
        yield " ".join(found[start : start + NGRAM_WORDS])


def check_training_data(
    folders: Sequence[Path], tasks: Sequence[ProblemTexts], sources: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Looks for the problems of tasks in training data.

    Args:
      folders: finished folders: of documents or conversations, which are searched, or of
        packed sequences, whose manifest alone is read.
      tasks: what is looked for.
      sources: task to the name that the data jobs know its problems by.

    Returns:
      Task to `state` (`clean`, `not checked`, or `overlaps: N of M problems`), `why` (a line a
      folder), and `problems` (id to `documents`, `example`, `words`) of those found.

    Raises:
      InputError: a folder is missing, unfinished or damaged.
    """
    searched: dict[str, dict[str, dict[str, Any]]] = {task.name: {} for task in tasks}
    why: dict[str, list[str]] = {task.name: [] for task in tasks}
    unknown: set[str] = set()
    index = _problem_ngrams(tasks)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of training data")
        manifest = read_manifest(folder)
        name = _record_name(folder)
        if name:
            count = _search(folder, name, index, searched)
            line = f"{folder.name}: {count} {name} searched"
        for task in tasks:
            if name:
                why[task.name].append(line)
            elif _made_without(manifest, sources.get(task.name, "")):
                why[task.name].append(f"{folder.name}: made without these problems")
            else:
                unknown.add(task.name)
                why[task.name].append(f"{folder.name}: neither texts nor a word in its manifest")
    return {
        task.name: {
            "state": _state(task, searched[task.name], task.name in unknown),
            "why": why[task.name],
            "problems": searched[task.name],
        }
        for task in tasks
    }


def _state(task: ProblemTexts, found: Mapping[str, Any], unknown: bool) -> str:
    if found:
        return f"overlaps: {len(found)} of {len(task.texts)} problems"
    return NOT_CHECKED if unknown else CLEAN


def _problem_ngrams(tasks: Sequence[ProblemTexts]) -> dict[str, set[tuple[str, str]]]:
    index: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for task in tasks:
        for problem, text in task.texts:
            for ngram in ngrams(text):
                index[ngram].add((task.name, problem))
    return index


def _record_name(folder: Path) -> str:
    """What a folder holds that can be searched; empty: nothing."""
    return next((n for n in ("documents", "conversations") if any(folder.glob(f"{n}-*"))), "")


def _search(
    folder: Path,
    name: str,
    index: Mapping[str, set[tuple[str, str]]],
    searched: Mapping[str, dict[str, dict[str, Any]]],
) -> int:
    """Adds what a folder's texts share to `searched`; returns how many texts there are."""
    count = shards.count_records(folder, name)
    with track(f"searching {folder.name} for problems", count, name) as advance:
        for record in shards.read_records(folder, name):
            identity, text = _text_of(name, record)
            shared: dict[tuple[str, str], str] = {}
            for ngram in ngrams(text):
                for key in index.get(ngram, ()):
                    shared.setdefault(key, ngram)
            for (task, problem), ngram in shared.items():
                entry = searched[task].setdefault(
                    problem, {"documents": 0, "example": identity, "words": ngram}
                )
                entry["documents"] += 1
            advance()
    return count


def _text_of(name: str, record: bytes) -> tuple[str, str]:
    if name == "documents":
        document = decode_document(record)
        return f"{document.repo}/{document.path}", document.text
    conversation = decode_conversation(record)
    return conversation.id, "\n".join(content for _, content in conversation.messages)


def _made_without(manifest: Mapping[str, Any], source: str) -> bool:
    """Whether a manifest names the very problems as kept out."""
    named = manifest["config"].get("benchmarks") or []
    known = {"humaneval": humaneval}
    if not source or source not in named or any(name not in known for name in named):
        return False
    return manifest["inputs"].get("benchmarks") == texts_fingerprint([known[n]() for n in named])
