"""Exact Jaccard similarities of pairs of shingle sets that fit no worker, and verdicts.

The space of shingle hashes is cut into slices, so many that the shingles of one slice of a
cluster fit a worker. In a slice sizes and intersections are counted, and |a ∩ b|, |a|
and |b| are their sums over the slices. Then a cluster's repositories are gone through
from the best to the worst, as numbers only: one that is `min_jaccard` similar to a
partner that stays is dropped in favour of the best such one.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations
from numpy.typing import NDArray

from beam_pipelines.dedup.cluster import Cluster, ClusterMember
from beam_pipelines.dedup.keep_order import KeepOrder
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.dedup.shingles import intersection_size, shingle_hashes
from opencoder_jax.formats.document import Document, document_id

_Clusters = TaggedOutput[Literal["clusters"], Cluster]
# (cluster, repository, partner or "" for the repository's own size)
CountKey = tuple[str, str, str]


class Candidate(NamedTuple):
    """A repository that shares a band with another.

    Attributes:
      order: its `keep_order`; the last element is its id.
      name: of the repository.
      cluster: smallest id of its connected component.
      characters: of its texts.
      partners: ids of the best repository of each of its buckets, without itself.
      slices: into how many slices its cluster's shingles are cut.
    """

    order: KeepOrder
    name: str
    cluster: str
    characters: int
    partners: tuple[str, ...]
    slices: int

    @property
    def id(self) -> str:
        return self.order[-1]


class Verified(NamedTuple):
    """What `VerifyPairs` returns.

    Attributes:
      verdicts: PCollection of (repository id, JSON): `kept` is the name of the repository
        that stays instead, empty where it stays itself; `jaccard` to it; `cluster`.
      clusters: PCollection[Cluster].
    """

    verdicts: beam.PCollection
    clusters: beam.PCollection


class VerifyPairs(beam.PTransform):
    """(PCollection[(Document, decision)], PCollection[Candidate]) to `Verified`.

    A decision is JSON with the `cluster`, `slices` and `partners` of the document's
    repository.
    """

    def __init__(self, settings: NearSettings) -> None:
        super().__init__()
        self._settings = settings

    @no_annotations
    def expand(self, pcollections: tuple[beam.PCollection, beam.PCollection]) -> Verified:
        documents, candidates = pcollections
        counts = (
            documents
            | "Slice"
            >> beam.ParDo(_Slice(self._settings.ngram)).with_output_types(
                tuple[tuple[str, int], Any]
            )
            | "GroupBySlice" >> beam.GroupByKey()
            | "Count" >> beam.FlatMap(_count).with_output_types(tuple[CountKey, int])
            | "Sum" >> beam.CombinePerKey(sum)
            | "ByCluster" >> beam.MapTuple(_by_cluster).with_output_types(tuple[str, Any])
        )
        members = candidates | "Members" >> beam.Map(
            lambda candidate: (candidate.cluster, candidate)
        ).with_output_types(tuple[str, Any])
        decided = (
            (counts, members)
            | beam.Flatten()
            | "GroupByCluster" >> beam.GroupByKey()
            | "Decide"
            >> beam.ParDo(_Decide(self._settings)).with_outputs("clusters", main="verdicts")
        )
        return Verified(decided.verdicts, decided.clusters)


class _Slice(beam.DoFn):
    """((cluster, slice), (repository, partners, shingles as bytes)) of a document."""

    def __init__(self, ngram: int) -> None:
        self._ngram = ngram

    def process(
        self, pair: tuple[Document, str]
    ) -> Iterator[tuple[tuple[str, int], tuple[str, list[str], bytes]]]:
        document, text = pair
        decision = json.loads(text)
        slices = decision["slices"]
        repository = document_id(document.provenance, document.repo, "")
        shingles = shingle_hashes(document.text, self._ngram)  # sorted, so slices are ranges
        number = (shingles >> np.uint64(32)) * np.uint64(slices) >> np.uint64(32)
        starts = np.flatnonzero(np.diff(number, prepend=np.uint64(slices)))
        for part, first in zip(np.split(shingles, starts[1:]), starts, strict=True):
            key = decision["cluster"], int(number[first])
            yield key, (repository, decision["partners"], part.tobytes())


def _count(
    group: tuple[tuple[str, int], Iterable[tuple[str, list[str], bytes]]],
) -> Iterator[tuple[CountKey, int]]:
    """Sizes and intersections within a slice; holds the slice's shingles."""
    (cluster, _), parts = group
    found: dict[str, list[bytes]] = defaultdict(list)
    partners: dict[str, list[str]] = {}
    for repository, repository_partners, shingles in parts:
        found[repository].append(shingles)
        partners[repository] = repository_partners
    sets: dict[str, NDArray[np.uint64]] = {}
    for repository in list(found):
        sets[repository] = np.unique(np.frombuffer(b"".join(found.pop(repository)), np.uint64))
    for repository, shingles_ in sets.items():
        yield (cluster, repository, ""), shingles_.size
        for partner in partners[repository]:
            if partner in sets:
                common = int(intersection_size(shingles_, sets[partner]))
                yield (cluster, repository, partner), common


def _by_cluster(key: CountKey, count: int) -> tuple[str, tuple[str, str, int]]:
    cluster, repository, partner = key
    return cluster, (repository, partner, count)


def decide(
    candidates: Mapping[str, Candidate],
    sizes: Mapping[str, int],
    common: Mapping[tuple[str, str], int],
    min_jaccard: float,
) -> dict[str, tuple[str, float]]:
    """(id of the repository that stays, similarity to it) of each; its own id if it stays."""
    verdicts: dict[str, tuple[str, float]] = {}
    for candidate in sorted(candidates.values()):
        verdicts[candidate.id] = candidate.id, 1.0
        better = [candidates[partner] for partner in candidate.partners]
        for partner in sorted(better):
            both = common.get((candidate.id, partner.id), 0)
            jaccard = both / (sizes[candidate.id] + sizes[partner.id] - both)
            if jaccard >= min_jaccard and verdicts[partner.id][0] == partner.id:
                verdicts[candidate.id] = partner.id, jaccard
                break
    return verdicts


class _Decide(beam.DoFn):
    """Holds a few hundred bytes a repository of the cluster."""

    def __init__(self, settings: NearSettings) -> None:
        self._settings = settings

    def process(self, group: tuple[str, Iterable[Any]]) -> Iterator[tuple[str, str] | _Clusters]:
        cluster, records = group
        candidates: dict[str, Candidate] = {}
        sizes: dict[str, int] = {}
        common: dict[tuple[str, str], int] = {}
        for record in records:
            if isinstance(record, Candidate):
                candidates[record.id] = record
                continue
            repository, partner, count = record
            if partner:
                common[repository, partner] = count
            else:
                sizes[repository] = count
        verdicts = decide(candidates, sizes, common, self._settings.threshold)
        for repository, (kept, jaccard) in verdicts.items():
            name = "" if kept == repository else candidates[kept].name
            verdict = {"kept": name, "jaccard": jaccard, "cluster": cluster}
            yield repository, json.dumps(verdict)
        first = heapq.nsmallest(max(self._settings.cluster_members, 1), candidates.values())
        members = tuple(
            ClusterMember(candidate.id, candidate.name, "", *verdicts[candidate.id])
            for candidate in first[: self._settings.cluster_members]
        )
        dropped = sum(kept != repository for repository, (kept, _) in verdicts.items())
        yield _Clusters(
            "clusters",
            Cluster(cluster, first[0].id, len(verdicts), dropped, members, level="repository"),
        )
