"""What every stage of the cleaning job did, added up: the content of `statistics.json`.

    stages            names, in order
    totals            stage → {documents, bytes}
    languages         language → stage → {documents, bytes}
    dropped           reason → documents
    rules             signal → {hits, first, sole}: documents that violate the rule, that it
                      is the recorded reason of, that violate no other rule
    replaced          kind → {documents, replacements}
    clusters          the largest near-duplicate clusters, their members with paths
    samples           reason, or `rule: signal` → a few drops with the text's beginning

Counts travel with the data (one `CombinePerKey`), not in Beam's metrics, which a retried
bundle may count twice. Samples are the drops with the smallest hashes, so everything here
is the same on every run.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.cluster import Cluster
from beam_pipelines.sources.entry import RawFile, file_type_of
from beam_pipelines.transforms.quality import RULE, violated_rules
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.split import hash_fraction

LISTED = "listed"
# (kind, name, part) → (documents, bytes or replacements)
Fact = tuple[tuple[str, str, str], tuple[int, int]]
_FACT = tuple[tuple[str, str, str], tuple[int, int]]


class Statistics(beam.PTransform):
    """Adds up the stages of a job.

    Takes `{"listed": ..., "dropped": ..., "replaced": ..., "clusters": ..., stage: ...}`,
    each stage a PCollection[Document]; yields the one (str, JSON value) set for `WriteJson`.
    """

    def __init__(self, stages: Iterable[str], clusters: int, samples: int) -> None:
        """Args:
        stages: names of the PCollections of documents, in the order of the job.
        clusters: how many of the largest clusters are described.
        samples: how many drops of each reason.
        """
        super().__init__()
        self._stages = tuple(stages)
        self._clusters = clusters
        self._samples = samples

    def expand(self, job: Mapping[str, beam.PCollection]) -> beam.PCollection:
        facts = [
            job[LISTED] | "FileFacts" >> beam.Map(_file_fact).with_output_types(_FACT),
            job["dropped"] | "DropFacts" >> beam.FlatMap(_drop_facts).with_output_types(_FACT),
            job["replaced"]
            | "ReplacementFacts" >> beam.Map(_replacement_fact).with_output_types(_FACT),
            *(
                job[stage]
                | f"Facts {stage}" >> beam.Map(_document_fact, stage).with_output_types(_FACT)
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
            | "ByReason" >> beam.Map(_by_reason).with_output_types(tuple[str, Drop])
            | "FewOfEach" >> beam.combiners.Top.SmallestPerKey(self._samples, key=_sample_order)
            | "AllSamples" >> beam.combiners.ToDict()
            | "Samples" >> beam.Map(_describe_samples)
        )
        clusters = (
            job["clusters"]
            | "Largest" >> beam.combiners.Top.Of(self._clusters, key=_cluster_order)
            | "Clusters" >> beam.Map(_describe_clusters)
        )
        return (counted, samples, clusters) | "Together" >> beam.Flatten()


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


def _document_fact(document: Document, stage: str) -> Fact:
    text = document.text
    size = len(text) if text.isascii() else len(text.encode("utf-8"))
    return ("stage", stage, document.language), (1, size)


def _replacement_fact(replaced: tuple[str, int]) -> Fact:
    kind, count = replaced
    return ("replaced", kind, ""), (1, count)


def _drop_facts(drop: Drop) -> Iterator[Fact]:
    yield ("dropped", drop.reason, ""), (1, 0)
    rules = violated_rules(drop)
    for rule in rules:
        yield ("rule", rule, "hits"), (1, 0)
    if rules:
        yield ("rule", drop.signal, "first"), (1, 0)
    if len(rules) == 1:
        yield ("rule", drop.signal, "sole"), (1, 0)


def _tables(facts: list[Fact], stages: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    languages: dict[str, dict[str, dict[str, int]]] = {}
    totals = {stage: {"documents": 0, "bytes": 0} for stage in stages}
    dropped: dict[str, int] = {}
    rules: dict[str, dict[str, int]] = {}
    replaced: dict[str, dict[str, int]] = {}
    for (kind, name, part), (count, amount) in facts:
        if kind == "stage":
            languages.setdefault(part, {})[name] = {"documents": count, "bytes": amount}
            totals[name]["documents"] += count
            totals[name]["bytes"] += amount
        elif kind == "dropped":
            dropped[name] = count
        elif kind == "rule":
            rules.setdefault(name, {"hits": 0, "first": 0, "sole": 0})[part] = count
        else:
            replaced[name] = {"documents": count, "replacements": amount}
    yield "stages", list(stages)
    yield "totals", totals
    yield "languages", languages
    yield "dropped", dropped
    yield "rules", rules
    yield "replaced", replaced


def _by_reason(drop: Drop) -> tuple[str, Drop]:
    return (f"{RULE}: {drop.signal}" if drop.reason == RULE else drop.reason), drop


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
