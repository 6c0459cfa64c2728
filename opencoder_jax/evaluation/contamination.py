"""Whether a text holds a benchmark's problem: shared 10-grams, or the function asked for.

The rule is the paper's (§4.4): words are lower-cased `\\w+` runs, and ten of them in a row that a
problem has too are a hit. `beam_pipelines` drops documents by it, and by the names of functions
asked for (`BenchmarkIndex`). Needs no jax, so the data jobs use it too.
Next: `training_data` searches whole corpora and packed sets by it, problem by problem.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.formats.manifest import fingerprint

NGRAM_WORDS = 10  # paper §4.4
_WORD = re.compile(r"\w+")


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
