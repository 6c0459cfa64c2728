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

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.cluster import Cluster
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.sources.entry import RawFile, file_type_of
from beam_pipelines.transforms.histograms import TableStatistics
from beam_pipelines.transforms.quality import RULE, violated_rules
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.split import hash_fraction

LISTED = "listed"
SOLE = "sole"
# (kind, name, part) → (documents, bytes or replacements)
Fact = tuple[tuple[str, str, str], tuple[int, int]]
_FACT = tuple[tuple[str, str, str], tuple[int, int]]


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
            job[LISTED] | "FileFacts" >> AddUp(_file_fact),
            job["dropped"] | "DropFacts" >> AddUp(_drop_fact),
            job["replaced"] | "ReplacementFacts" >> AddUp(_replacement_fact),
            *(
                job[stage] | f"Facts {stage}" >> AddUp(functools.partial(_document_fact, stage))
                for stage in self._stages
            ),
        ]
        counted = (
            facts
            | "Facts" >> beam.Flatten()
            | "Add" >> beam.CombinePerKey(_SumPairs())
            | "AllFacts" >> beam.combiners.ToList()
            | "Tables" >> beam.FlatMap(_tables, (LISTED, *self._stages))
        )
        samples = (
            job["dropped"]
            | "ByReason" >> beam.FlatMap(_by_reason).with_output_types(tuple[str, Drop])
            | "FewOfEach" >> beam.combiners.Top.SmallestPerKey(self._samples, key=_sample_order)
            | "AllSamples" >> beam.combiners.ToDict()
            | "Samples" >> beam.Map(_describe_samples)
        )
        clusters = (
            job["clusters"]
            | "Largest" >> beam.combiners.Top.Of(self._clusters, key=_cluster_order)
            | "Clusters" >> beam.Map(_describe_clusters)
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
        return elements | beam.ParDo(_AddUp(self._fact)).with_output_types(_FACT)


class _AddUp(beam.DoFn):
    def __init__(self, fact: Callable[[Any], Fact]) -> None:
        self._fact = fact

    def start_bundle(self) -> None:
        self._sums: dict[tuple[str, str, str], tuple[int, int]] = {}

    def process(self, element: Any) -> None:
        key, (count, amount) = self._fact(element)
        counts, amounts = self._sums.get(key, (0, 0))
        self._sums[key] = counts + count, amounts + amount

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


def _file_fact(file: RawFile) -> Fact:
    return ("stage", LISTED, file_type_of(file.path, file.language).language), (1, file.size)


def _document_fact(stage: str, document: Document) -> Fact:
    return ("stage", stage, document.language), (1, document.text_bytes)


def _replacement_fact(replaced: tuple[str, int]) -> Fact:
    kind, count = replaced
    return ("replaced", kind, ""), (1, count)


def _drop_fact(drop: Drop) -> Fact:
    return ("dropped", drop.reason, ""), (1, 0)


def _tables(facts: list[Fact], stages: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    languages: dict[str, dict[str, dict[str, int]]] = {}
    totals = {stage: {"documents": 0, "bytes": 0} for stage in stages}
    dropped: dict[str, int] = {}
    replaced: dict[str, dict[str, int]] = {}
    for (kind, name, part), (count, amount) in facts:
        if kind == "stage":
            languages.setdefault(part, {})[name] = {"documents": count, "bytes": amount}
            totals[name]["documents"] += count
            totals[name]["bytes"] += amount
        elif kind == "dropped":
            dropped[name] = count
        else:
            replaced[name] = {"documents": count, "replacements": amount}
    yield "stages", list(stages)
    yield "totals", totals
    yield "languages", languages
    yield "dropped", dropped
    yield "replaced", replaced


def _by_reason(drop: Drop) -> Iterator[tuple[str, Drop]]:
    yield (f"{RULE}: {drop.signal}" if drop.reason == RULE else drop.reason), drop
    if violated_rules(drop) == [drop.signal]:
        yield f"{SOLE}: {drop.signal}", drop


def _sample_order(drop: Drop) -> tuple[float, str, str, str]:
    # An id may be there more than once: as a duplicate, or dropped twice for being unreadable.
    return hash_fraction("sample", drop.id), drop.id, drop.reason, drop.detail


def _describe_samples(samples: dict[str, list[Drop]]) -> tuple[str, Any]:
    return "samples", {
        reason: [dataclasses.asdict(drop) for drop in drops] for reason, drops in samples.items()
    }


def _cluster_order(cluster: Cluster) -> tuple[int, str]:
    return cluster.size, cluster.id


def _describe_clusters(clusters: list[Cluster]) -> tuple[str, Any]:
    return "clusters", [dataclasses.asdict(cluster) for cluster in clusters]
