"""Keeps benchmark problems out of training data: shared 10-grams and entry points.

Paper §4.4: anything that shares a 10-gram with a test set, or contains the name of a
function that a test set asks for, is removed. Words are lower-cased `\\w+` runs, so
layout and punctuation do not hide a copy. An entry point counts where it is a function's
name or called by its bare name: HumanEval has entry points such as `add`, `search` and
`encode`, which as methods (`found.add(...)`) are in every other file and give nothing away.
Every hit is dropped with the problem and the text that matched. The rule itself is
`opencoder_jax/evaluation/contamination.py`, which evaluation checks corpora by.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Drop, Split
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.contamination import BenchmarkIndex, ProblemTexts, humaneval

_DROPPED = "dropped"

BENCHMARKS: dict[str, Callable[[], ProblemTexts]] = {"humaneval": humaneval}


def load_benchmarks(names: Sequence[str]) -> list[ProblemTexts]:
    """Raises: InputError: a name is unknown."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        raise InputError(f"unknown benchmarks {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    return [BENCHMARKS[name]() for name in names]


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
