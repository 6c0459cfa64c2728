"""Near deduplication: MinHash candidates, clusters of them, every deletion verified.

    documents → band keys → edges between documents that share one → connected components
              → clusters → exact Jaccard to the document that stays → kept, dropped

Settings of the paper (§2.1.1): 5-grams, 2048 permutations in 16 bands of 128 rows, so a
similarity of about 0.98; any other works too. Shuffled are the band keys (16 × 8 bytes a
document), the edges, the documents once by id, and those in clusters once by cluster.
Documents that stay carry their cluster in `duplicate_cluster`, so that a held-out split
can keep clusters together. Next: `cluster` for the verdicts, `components`, `minhash`.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.accounting import Drop, drop_document
from beam_pipelines.dedup.cluster import Cluster, Verdict, decide_cluster, describe_cluster
from beam_pipelines.dedup.components import ConnectedComponents
from beam_pipelines.dedup.join import JoinById
from beam_pipelines.dedup.light_records import PARTS
from beam_pipelines.dedup.links import StarEdges
from beam_pipelines.dedup.minhash import text_band_keys
from beam_pipelines.dedup.settings import NearSettings
from opencoder_jax.formats.document import Document

REASON = "near_duplicate"
# Outputs with their types, from which Beam takes the coders.
_Clustered = TaggedOutput[Literal["clustered"], tuple[str, Document]]
_Dropped = TaggedOutput[Literal["dropped"], Drop]
_Clusters = TaggedOutput[Literal["clusters"], Cluster]


class NearSplit(NamedTuple):
    """What near deduplication returns.

    Attributes:
      kept: PCollection[Document], each with `duplicate_cluster`.
      dropped: PCollection[Drop]; `value` is the exact Jaccard similarity to the document
        kept, whose id is in `detail`.
      clusters: PCollection[Cluster], those of two documents and more.
    """

    kept: beam.PCollection
    dropped: beam.PCollection
    clusters: beam.PCollection


class NearDedup(beam.PTransform):
    """PCollection[Document] to a `NearSplit`.

    Raises:
      InputError: settings that do not fit each other; in the job: two documents have the
        same id, or `component_rounds` are too few.
    """

    def __init__(
        self,
        ngram: int = 5,
        permutations: int = 2048,
        bands: int = 16,
        rows: int = 128,
        min_jaccard: float | None = None,
        component_rounds: int = 16,
        cluster_members: int = 20,
        parts: int = PARTS,
    ) -> None:
        """The arguments are those of `NearSettings`, and `parts` as of `StarEdges`."""
        super().__init__()
        self._settings = NearSettings(
            ngram, permutations, bands, rows, min_jaccard, component_rounds, cluster_members
        )
        self._parts = parts

    @no_annotations
    def expand(self, documents: beam.PCollection) -> NearSplit:
        clusters = (
            documents
            | "BandKeys"
            >> beam.ParDo(_BandKeys(self._settings)).with_output_types(tuple[str, bytes])
            | "Link" >> StarEdges(self._parts)
            | "Components" >> ConnectedComponents(self._settings.component_rounds)
        )
        joined = (
            (documents, clusters)
            | "JoinClusters" >> JoinById()
            | "Split" >> beam.ParDo(_SplitClustered()).with_outputs("clustered", main="single")
        )
        decided = (
            joined.clustered
            | "GroupByCluster" >> beam.GroupByKey()
            | "Verify"
            >> beam.ParDo(_Verify(self._settings)).with_outputs("dropped", "clusters", main="kept")
        )
        return NearSplit(
            kept=(joined.single, decided.kept) | "Kept" >> beam.Flatten(),
            dropped=decided.dropped,
            clusters=decided.clusters,
        )


def drop_near_duplicate(document: Document, verdict: Verdict, threshold: float) -> Drop:
    """The drop of a document of a cluster that another one stays for."""
    return drop_document(
        document,
        REASON,
        value=verdict.jaccard,
        threshold=f">= {threshold:.6f}",
        detail=verdict.kept_id,
    )


class _BandKeys(beam.DoFn):
    def __init__(self, settings: NearSettings) -> None:
        self._settings = settings

    def process(self, document: Document) -> Iterator[tuple[str, bytes]]:
        keys = text_band_keys(document.text, self._settings.ngram, self._settings.banding)
        yield document.id, keys.tobytes()


class _SplitClustered(beam.DoFn):
    """Documents without a near duplicate are done; the others go on with their cluster."""

    def process(self, joined: tuple[Document, str]) -> Iterator[Document | _Clustered]:
        document, cluster_id = joined
        marked = document.replace(duplicate_cluster=cluster_id or document.id)
        if cluster_id:
            yield _Clustered("clustered", (cluster_id, marked))
        else:
            yield marked


class _Verify(beam.DoFn):
    def __init__(self, settings: NearSettings) -> None:
        self._settings = settings

    def process(
        self, cluster: tuple[str, Iterable[Document]]
    ) -> Iterator[Document | _Dropped | _Clusters]:
        cluster_id, documents = cluster
        settings = self._settings
        verdicts = decide_cluster(documents, ngram=settings.ngram, min_jaccard=settings.threshold)
        for document in documents:
            verdict: Verdict = verdicts[document.id]
            if verdict.kept_id == document.id:
                yield document
                continue
            drop = drop_near_duplicate(document, verdict, settings.threshold)
            yield _Dropped("dropped", drop)
        record = describe_cluster(cluster_id, documents, verdicts, settings.cluster_members)
        yield _Clusters("clusters", record)
