"""Samples languages that are far above the others down to a budget (paper §2.1.1, Sampling).

Java goes from 449 to 200 GB and HTML from 474 to 64 GB, since Java's volume is far above
all others' and HTML is mostly markup; every other language stays whole. It is the last
stage, because volumes are known only after the rules. A hash of the document's id decides,
so the sample does not depend on order, workers or the other documents' texts.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import AsDict, TaggedOutput

from beam_pipelines.accounting import Drop, Split, drop_document
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.split import hash_fraction

REASON = "sampled_out"
_Dropped = TaggedOutput[Literal["dropped"], Drop]


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much of a language stays: `bytes` of UTF-8, or a `fraction` of what is there.

    Raises:
      InputError: neither or both are given, or one is out of range.
    """

    bytes: float | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        if (self.bytes is None) == (self.fraction is None):
            raise InputError(f"{self}: give either bytes or a fraction")
        if self.bytes is not None and self.bytes < 0:
            raise InputError(f"{self}: bytes must be 0 or more")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise InputError(f"{self}: a fraction is from 0 to 1")


class SampleByLanguage(beam.PTransform):
    """PCollection[Document] to a `Split`; languages without a budget stay whole.

    A document stays if the hash of its id, a number in [0, 1), is below its language's rate:
    the fraction, or budget / volume where that is below 1. The sample's size is therefore
    the budget in expectation, not exactly: its standard deviation is at most
    √(budget × largest document), 0.6 % of 200 GB if all documents had 8 MB. A larger sample
    holds every document of a smaller one.

    Budgets in bytes need the volumes first (one sum a language, combined in the workers and
    handed round as a side input of a few numbers), so the documents wait for the sum.
    """

    def __init__(self, budgets: Mapping[str, Budget] | None) -> None:
        """Args:
        budgets: lower-case language to what stays of it; None or empty samples nothing.
        """
        super().__init__()
        self._budgets = dict(budgets or {})

    def expand(self, documents: beam.PCollection) -> Split:
        in_bytes = {name for name, budget in self._budgets.items() if budget.bytes is not None}
        if in_bytes:
            volumes = (
                documents
                | "Sizes"
                >> beam.FlatMap(_size_of, frozenset(in_bytes)).with_output_types(tuple[str, int])
                | "Volumes" >> beam.CombinePerKey(sum)
            )
            sampled = documents | "Sample" >> beam.ParDo(
                _Sample(self._budgets), AsDict(volumes)
            ).with_outputs("dropped", main="kept")
        else:
            sampled = documents | "Sample" >> beam.ParDo(_Sample(self._budgets), {}).with_outputs(
                "dropped", main="kept"
            )
        return Split(sampled.kept, sampled.dropped)


def keep_rate(budget: Budget, volume: int) -> float:
    """The share of a language that stays, given its volume in bytes."""
    if budget.fraction is not None:
        return budget.fraction
    assert budget.bytes is not None
    return min(1.0, budget.bytes / volume) if volume else 1.0


def sample_document(
    document: Document, budgets: Mapping[str, Budget], volumes: Mapping[str, int]
) -> Document | Drop:
    """The document itself where it stays.

    Args:
      document: one that may go.
      budgets: language to what of it stays.
      volumes: language to bytes; needed where the budget is in bytes.
    """
    budget = budgets.get(document.language)
    if budget is None:
        return document
    rate = keep_rate(budget, volumes.get(document.language, 0))
    value = hash_fraction("sample_language", document.id)
    if value < rate:
        return document
    return drop_document(document, REASON, value=value, threshold=f"< {rate:.6g}")


class _Sample(beam.DoFn):
    def __init__(self, budgets: Mapping[str, Budget]) -> None:
        self._budgets = budgets

    def process(
        self, document: Document, volumes: Mapping[str, int]
    ) -> Iterator[Document | _Dropped]:
        outcome = sample_document(document, self._budgets, volumes)
        yield _Dropped("dropped", outcome) if isinstance(outcome, Drop) else outcome


def _size_of(document: Document, languages: frozenset[str]) -> Iterator[tuple[str, int]]:
    if document.language in languages:
        yield document.language, document.text_bytes
