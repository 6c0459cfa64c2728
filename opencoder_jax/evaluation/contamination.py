"""Whether a text holds a benchmark's problem: shared 10-grams, or the function asked for.

The rule is the paper's (§4.4): words are lower-cased `\\w+` runs, and ten of them in a row that a
problem has too are a hit, as is the name of a function that it asks for. Not everything that
stands in a problem is its own, though: `own_ngrams` and `telling_names` say what counts, with
what was measured on real code in docs/decontamination.md. Needs no jax, so the data jobs use it.
Next: `benchmark_texts` has the texts, `training_data` searches finished sets by the rule,
`beam_pipelines/transforms/benchmark_scan.py` is the same rule, compiled.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from opencoder_jax.formats.manifest import fingerprint

NGRAM_WORDS = 10  # paper §4.4
# Of its ten words so many are different and have two letters or more: fewer are counting
# (`0 1 2 3`), data (`a b a b`) and loops (`for i in range n for j in range n`).
TELLING_WORDS = 5
# What more different texts of a benchmark share is its form, not a problem.
MOST_TEXTS = 3
# What half of all web pages begin with, and a problem or two about web pages too.
COMMON_TEXTS = (
    '<!DOCTYPE html> <html lang="en"> <head> <meta charset="UTF-8"> <meta name="viewport" '
    'content="width=device-width, initial-scale=1.0">',
)
# Lines that import, one after another: every file of a kind has them.
_IMPORTS = re.compile(
    r"(?:^[ \t]*(?:from\s+\S+\s+import\b|import\s|#\s*include\b|using\s+\S+;|use\s+\S+;)"
    r"[^\n]*(?:\n\s*|\Z))+",
    re.MULTILINE,
)
_WORD = re.compile(r"\w+")
# A function's definition or bare call; neither an attribute nor a method.
CALL = re.compile(r"(?<![\w.])(\w+)\s*\((?!\s*(?:self|cls)\b)")
_HUMP = re.compile(r"[a-z0-9][A-Z]")


@dataclasses.dataclass(frozen=True)
class ProblemTexts:
    """What of a benchmark must not be in training data.

    Attributes:
      name: the evaluator's, e.g. `humaneval`.
      texts: id and text of each problem: prompt, solution and tests. What stands before the
        first `/` of an id keeps languages apart.
      entry_points: id and name of the function that each problem asks for.
    """

    name: str
    texts: tuple[tuple[str, str], ...]
    entry_points: tuple[tuple[str, str], ...] = ()


class Problem(NamedTuple):
    """Of which benchmark, and its id there."""

    benchmark: str
    id: str


class Hit(NamedTuple):
    """Why a text is contaminated.

    Attributes:
      reason: `benchmark_ngram` or `benchmark_entry_point`.
      problem: the first one that has it.
      matched: the words that both have, or the entry point.
    """

    reason: str
    problem: Problem
    matched: str

    @property
    def detail(self) -> str:
        """For a drop; begins with the benchmark's name."""
        return f"{self.problem.benchmark} {self.problem.id}: {self.matched}"


def kept_out_inputs(benchmarks: Iterable[ProblemTexts]) -> dict[str, str]:
    """What the manifest of a set says of the problems that it was kept clean of.

    Returns:
      `benchmark NAME` to a fingerprint of its texts and of the rule.
    """
    rule = [NGRAM_WORDS, TELLING_WORDS, MOST_TEXTS, COMMON_TEXTS, _IMPORTS.pattern]
    return {
        f"benchmark {benchmark.name}": fingerprint([dataclasses.asdict(benchmark), rule])
        for benchmark in benchmarks
    }


class BenchmarkIndex:
    """Finds what a text shares with benchmarks, as the rule reads: the reference."""

    def __init__(self, benchmarks: Sequence[ProblemTexts]) -> None:
        self._ngrams = own_ngrams(benchmarks)
        self._names = telling_names(benchmarks)

    def find(self, text: str) -> Hit | None:
        """The first shared 10-gram, else the first entry point, else None."""
        for ngram in ngrams(text):
            if ngram in self._ngrams:
                return Hit("benchmark_ngram", self._ngrams[ngram][0], ngram)
        for match in CALL.finditer(text):
            if match[1] in self._names:
                return Hit("benchmark_entry_point", self._names[match[1]], match[1])
        return None


def own_ngrams(benchmarks: Iterable[ProblemTexts]) -> dict[str, list[Problem]]:
    """The 10-grams that give a problem away, with the problems that have them, in order.

    Left out are those of fewer than `TELLING_WORDS`, those of more than `MOST_TEXTS` texts of a
    benchmark in a language, and those of `common_texts`.
    """
    benchmarks = list(benchmarks)
    common = {ngram for text in common_texts(benchmarks) for ngram in ngrams(text)}
    found: dict[str, list[Problem]] = {}
    for benchmark in benchmarks:
        for texts in by_language(benchmark).values():
            had: dict[str, list[Sequence[str]]] = collections.defaultdict(list)
            for text, ids in texts.items():
                for ngram in dict.fromkeys(ngrams(text)):
                    had[ngram].append(ids)
            for ngram, owners in had.items():
                if len(owners) <= MOST_TEXTS and ngram not in common and _is_telling(ngram):
                    problems = [Problem(benchmark.name, i) for ids in owners for i in ids]
                    found.setdefault(ngram, []).extend(problems)
    return found


def common_texts(benchmarks: Iterable[ProblemTexts]) -> list[str]:
    """What stands in problems and is nobody's own: `COMMON_TEXTS`, and all runs of imports."""
    imports = {
        match.group(): None
        for benchmark in benchmarks
        for _, text in benchmark.texts
        for match in _IMPORTS.finditer(text)
    }
    return [*COMMON_TEXTS, *imports]


def by_language(benchmark: ProblemTexts) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Language (or whatever its ids begin with) to its different texts with their ids."""
    texts: dict[str, dict[str, list[str]]] = {}
    for problem, text in benchmark.texts:
        language = problem.partition("/")[0] if "/" in problem else ""
        texts.setdefault(language, {}).setdefault(text, []).append(problem)
    return texts


def telling_names(benchmarks: Iterable[ProblemTexts]) -> dict[str, Problem]:
    """The entry points that give a problem away, with the first problem that asks for them.

    A name has to have two words, as `sort_matrix` or `sortMatrix`: `add`, `sum`, `strlen`,
    `convert` are called in every other file. And no more than `MOST_TEXTS` problems of a
    benchmark in a language may ask for it, as nearly all of BigCodeBench's ask for `task_func`.
    """
    found: dict[str, Problem] = {}
    for benchmark in benchmarks:
        asked = collections.Counter(
            (problem.partition("/")[0], name) for problem, name in set(benchmark.entry_points)
        )
        frequent = {name for (_, name), count in asked.items() if count > MOST_TEXTS}
        for problem, name in benchmark.entry_points:
            if name not in frequent and _has_two_words(name):
                found.setdefault(name, Problem(benchmark.name, problem))
    return found


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def ngrams(text: str) -> Iterator[str]:
    """All runs of `NGRAM_WORDS` words, in order; none of a shorter text."""
    found = words(text)
    for start in range(len(found) - NGRAM_WORDS + 1):
        yield " ".join(found[start : start + NGRAM_WORDS])


def _is_telling(ngram: str) -> bool:
    telling = {word for word in ngram.split(" ") if sum(map(str.isalpha, word)) > 1}
    return len(telling) >= TELLING_WORDS


def _has_two_words(name: str) -> bool:
    if not name.isidentifier():
        return False
    parts = [part for part in name.split("_") if part]
    return len(parts) > 1 or bool(_HUMP.search(name))
