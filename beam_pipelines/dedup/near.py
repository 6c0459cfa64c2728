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
from beam_pipelines.dedup.minhash import Banding, band_keys
from beam_pipelines.dedup.shingles import shingle_hashes
from opencoder_jax.errors import InputError
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
        component_rounds: int = 10,
        cluster_members: int = 20,
    ) -> None:
        """Args:
        ngram: words a shingle.
        permutations: of the MinHash; has to be bands × rows.
        bands, rows: two documents are candidates if all rows of one band agree.
        min_jaccard: exact similarity from which a document is dropped; None takes what
          the bands imply, (1/bands)^(1/rows).
        component_rounds: rounds of `ConnectedComponents`.
        cluster_members: how many documents a cluster's record names.
        """
        super().__init__()
        if bands * rows != permutations:
            raise InputError(
                f"near deduplication with {bands} bands of {rows} rows uses {bands * rows} "
                f"permutations, but permutations is {permutations}: change one of the three"
            )
        if ngram < 1:
            raise InputError(f"ngram is {ngram}, expected at least 1")
        self._banding = Banding(bands, rows)
        if min_jaccard is None:
            min_jaccard = self._banding.threshold
        if not 0 < min_jaccard <= 1:
            raise InputError(f"min_jaccard is {min_jaccard}, expected more than 0 and at most 1")
        self._ngram = ngram
        self._min_jaccard = min_jaccard
        self._component_rounds = component_rounds
        self._cluster_members = cluster_members

    @no_annotations
    def expand(self, documents: beam.PCollection) -> NearSplit:
        clusters = (
            documents
            | "BandKeys"
            >> beam.ParDo(_BandKeys(self._ngram, self._banding)).with_output_types(
                tuple[bytes, str]
            )
            | "GroupByBand" >> beam.GroupByKey()
            | "LinkBucket" >> beam.FlatMap(_star_edges).with_output_types(tuple[str, str])
            | "DistinctEdges" >> beam.Distinct()
            | "Components" >> ConnectedComponents(self._component_rounds)
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
            >> beam.ParDo(
                _Verify(self._ngram, self._min_jaccard, self._cluster_members)
            ).with_outputs("dropped", "clusters", main="kept")
        )
        return NearSplit(
            kept=(joined.single, decided.kept) | "Kept" >> beam.Flatten(),
            dropped=decided.dropped,
            clusters=decided.clusters,
        )


class _BandKeys(beam.DoFn):
    def __init__(self, ngram: int, banding: Banding) -> None:
        self._ngram = ngram
        self._banding = banding

    def process(self, document: Document) -> Iterator[tuple[bytes, str]]:
        keys = band_keys(shingle_hashes(document.text, self._ngram), self._banding)
        for key in keys:
            yield key.tobytes(), document.id


def _star_edges(bucket: tuple[bytes, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Links every document of a bucket to its smallest id; reads the bucket twice."""
    _, members = bucket
    smallest = min(members)
    for member in members:
        if member != smallest:
            yield member, smallest


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
    def __init__(self, ngram: int, min_jaccard: float, cluster_members: int) -> None:
        self._ngram = ngram
        self._min_jaccard = min_jaccard
        self._cluster_members = cluster_members

    def process(
        self, cluster: tuple[str, Iterable[Document]]
    ) -> Iterator[Document | _Dropped | _Clusters]:
        cluster_id, documents = cluster
        verdicts = decide_cluster(documents, ngram=self._ngram, min_jaccard=self._min_jaccard)
        for document in documents:
            verdict: Verdict = verdicts[document.id]
            if verdict.kept_id == document.id:
                yield document
                continue
            drop = drop_document(
                document,
                REASON,
                value=verdict.jaccard,
                threshold=f">= {self._min_jaccard:.6f}",
                detail=verdict.kept_id,
            )
            yield _Dropped("dropped", drop)
        record = describe_cluster(cluster_id, documents, verdicts, self._cluster_members)
        yield _Clusters("clusters", record)
