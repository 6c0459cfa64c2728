"""Keeps benchmark problems out of training data: shared 10-grams and entry points.

Paper §4.4: anything that shares a 10-gram with a test set, or contains the name of a
function that a test set asks for, is removed. Words are lower-cased `\\w+` runs, so
layout and punctuation do not hide a copy. An entry point counts where it is a function's
name or called by its bare name: HumanEval has entry points such as `add`, `search` and
`encode`, which as methods (`found.add(...)`) are in every other file and give nothing away.
Every hit is dropped with the problem and the text that matched.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Drop, Split
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.formats.manifest import fingerprint

NGRAM_WORDS = 10  # paper §4.4
_DROPPED = "dropped"
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What must not be in training data.

    Attributes:
      name: as in gin, e.g. `humaneval`.
      texts: id and text of each problem: prompt, solution and tests.
      entry_points: id and name of the function that each problem asks for.
    """

    name: str
    texts: tuple[tuple[str, str], ...]
    entry_points: tuple[tuple[str, str], ...]


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


def humaneval() -> Benchmark:
    problems = load_problems()
    return Benchmark(
        "humaneval",
        tuple((p.task_id, f"{p.prompt}{p.canonical_solution}\n{p.test}") for p in problems),
        tuple((p.task_id, p.entry_point) for p in problems),
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"humaneval": humaneval}


def load_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """Raises: InputError: a name is unknown."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        raise InputError(f"unknown benchmarks {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    return [BENCHMARKS[name]() for name in names]


def benchmarks_fingerprint(benchmarks: Sequence[Benchmark]) -> str:
    """For a manifest's inputs."""
    return fingerprint([dataclasses.asdict(benchmark) for benchmark in benchmarks])


class BenchmarkIndex:
    """Finds what a text shares with benchmarks; one pass over its words."""

    def __init__(self, benchmarks: Iterable[Benchmark]) -> None:
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


class Decontaminate(beam.PTransform):
    """PCollection of anything with a text to a `Split` of clean ones and drops."""

    def __init__(
        self,
        benchmarks: Sequence[str],
        text_of: Callable[[Any], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        """Args:
        benchmarks: names in `BENCHMARKS`.
        text_of: all the text of an element that a model would see.
        drop: makes the `Drop` of (element, reason, detail).
        """
        super().__init__()
        self._benchmarks = tuple(benchmarks)
        self._text_of = text_of
        self._drop = drop

    def expand(self, elements: beam.PCollection) -> Split:
        checked = elements | "FindBenchmarks" >> beam.ParDo(
            _FindBenchmarks(self._benchmarks, self._text_of, self._drop)
        ).with_outputs(_DROPPED, main="kept")
        return Split(checked.kept, checked[_DROPPED])


class _FindBenchmarks(beam.DoFn):
    def __init__(
        self,
        benchmarks: tuple[str, ...],
        text_of: Callable[[Any], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        super().__init__()
        self._benchmarks = benchmarks
        self._text_of = text_of
        self._drop = drop

    def setup(self) -> None:
        self._index = BenchmarkIndex(load_benchmarks(self._benchmarks))

    def process(self, element: Any) -> Iterator[Any]:
        hit = self._index.find(self._text_of(element))
        if hit is None:
            yield element
        else:
            detail = f"{hit.problem}: {hit.matched}"
            yield TaggedOutput(_DROPPED, self._drop(element, hit.reason, detail))


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def ngrams(text: str) -> Iterator[str]:
    """All runs of `NGRAM_WORDS` words, in order; none of a shorter text."""
    found = words(text)
    for start in range(len(found) - NGRAM_WORDS + 1):
        yield " ".join(found[start : start + NGRAM_WORDS])
