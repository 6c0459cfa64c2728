"""What every stage of the cleaning job did, added up: the content of `statistics.json`.

    stages            names, in order
    totals            stage → {documents, bytes}
    languages         language → stage → {documents, bytes}
    dropped           reason → documents
    rules             signal → {hits, first, sole, hit_bytes, sole_bytes}: documents that violate
                      the rule, that it is the recorded reason of, that violate no other rule
    tables, edges     of each table of rules: thresholds, the counts of each rule, and
                      histograms of all signals (`histograms.TableStatistics`)
    replaced          kind → {documents, replacements}
    clusters          the largest near-duplicate clusters, their members with paths
    samples           reason, `rule: signal` (its first violation), or `sole: signal` (its only
                      one) → a few drops with the text's beginning

Counts travel with the data (summed by bundle, then by key), not in Beam's metrics, which a retried
bundle may count twice. Samples are the drops with the smallest hashes, so everything here
is the same on every run.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.accounting import Drop
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.transforms.facts import (
    LISTED,
    Fact,
    Sums,
    add_fact,
    by_reason,
    cluster_order,
    describe_clusters,
    describe_samples,
    described_facts,
    document_fact,
    drop_fact,
    file_fact,
    replacement_fact,
    sample_order,
)
from beam_pipelines.transforms.histograms import TableStatistics


class Statistics(beam.PTransform):
    """Adds up the stages of a job.

    Takes `{"listed": ..., "dropped": ..., "replaced": ..., "clusters": ..., "judged": ...,
    stage: ...}`, each stage a PCollection[Document]; yields the one (str, JSON value) set for
    `WriteJson`.
    """

    def __init__(
        self,
        stages: Iterable[str],
        clusters: int,
        samples: int,
        rule_tables: Mapping[str, RuleTable],
    ) -> None:
        """Args:
        stages: names of the PCollections of documents, in the order of the job.
        clusters: how many of the largest clusters are described.
        samples: how many drops of each reason.
        rule_tables: that the documents were judged by.
        """
        super().__init__()
        self._rule_tables = dict(rule_tables)
        self._stages = tuple(stages)
        self._clusters = clusters
        self._samples = samples

    def expand(self, job: Mapping[str, beam.PCollection]) -> beam.PCollection:
        facts = [
            job[LISTED] | "FileFacts" >> AddUp(file_fact),
            job["dropped"] | "DropFacts" >> AddUp(drop_fact),
            job["replaced"] | "ReplacementFacts" >> AddUp(replacement_fact),
            *(
                job[stage] | f"Facts {stage}" >> AddUp(functools.partial(document_fact, stage))
                for stage in self._stages
            ),
        ]
        counted = (
            facts
            | "Facts" >> beam.Flatten()
            | "Add" >> beam.CombinePerKey(_SumPairs())
            | "AllFacts" >> beam.combiners.ToList()
            | "Tables" >> beam.FlatMap(described_facts, (LISTED, *self._stages))
        )
        samples = (
            job["dropped"]
            | "ByReason" >> beam.FlatMap(by_reason).with_output_types(tuple[str, Drop])
            | "FewOfEach" >> beam.combiners.Top.SmallestPerKey(self._samples, key=sample_order)
            | "AllSamples" >> beam.combiners.ToDict()
            | "Samples" >> beam.Map(describe_samples)
        )
        clusters = (
            job["clusters"]
            | "Largest" >> beam.combiners.Top.Of(self._clusters, key=cluster_order)
            | "Clusters" >> beam.Map(describe_clusters)
        )
        tables = job["judged"] | "TableStatistics" >> TableStatistics(self._rule_tables)
        return (counted, samples, clusters, tables) | "Together" >> beam.Flatten()


class AddUp(beam.PTransform):
    """Elements to the sums of their facts, one for each key and bundle.

    A runner sends every element to where several stages' facts come together, before it
    combines them; sums of a bundle are few.
    """

    def __init__(self, fact: Callable[[Any], Fact]) -> None:
        super().__init__()
        self._fact = fact

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        return elements | beam.ParDo(_AddUp(self._fact)).with_output_types(Fact)


class _AddUp(beam.DoFn):
    def __init__(self, fact: Callable[[Any], Fact]) -> None:
        self._fact = fact

    def start_bundle(self) -> None:
        self._sums: Sums = {}

    def process(self, element: Any) -> None:
        add_fact(self._sums, self._fact(element))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for fact in self._sums.items():
            yield GlobalWindows.windowed_value(fact)


class _SumPairs(beam.CombineFn):
    def create_accumulator(self) -> tuple[int, int]:
        return 0, 0

    def add_input(self, total: tuple[int, int], pair: tuple[int, int]) -> tuple[int, int]:
        return total[0] + pair[0], total[1] + pair[1]

    def merge_accumulators(self, totals: Iterable[tuple[int, int]]) -> tuple[int, int]:
        first, second = zip(*totals, strict=True)
        return sum(first), sum(second)

    def extract_output(self, total: tuple[int, int]) -> tuple[int, int]:
        return total
