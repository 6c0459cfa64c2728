"""Deduplication at the levels of the paper (§7): files, repositories, chunks, in any order.

The arms of Tables 9 and 13 are `("file",)`, `("repository",)`, `("chunk",)`,
`("file", "chunk")` and `("repository", "chunk")`; `gin_configs/refinecode/dedup/` has one
configuration of each. Each level takes what the one before keeps. Chunks come last:
they change texts, and the others compare texts as they were read. Of documents with the
same id one is chosen first, as `duplicate_id` drops the others.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.accounting import Drop, Split
from beam_pipelines.dedup.chunk import ChunkDedup
from beam_pipelines.dedup.exact import ExactDedup, SplitDuplicates
from beam_pipelines.dedup.join import JoinById
from beam_pipelines.dedup.light_records import PARTS
from beam_pipelines.dedup.near import NearDedup
from beam_pipelines.dedup.repository import RepositoryDedup
from beam_pipelines.dedup.settings import NearSettings
from opencoder_jax.errors import InputError

STAGES = {
    "file": ("exact_dedup", "near_dedup"),
    "repository": ("repository_dedup",),
    "chunk": ("chunk_dedup",),
}


class Deduplicated(NamedTuple):
    """What `Deduplicate` returns.

    Attributes:
      kept: PCollection[Document], each with `duplicate_cluster`: that of the last level
        that found it company, its own id where none did.
      dropped: PCollection[Drop], of all levels.
      clusters: PCollection[Cluster], of all levels.
      stages: name to PCollection[Document] after it, in order (`stage_names`).
      trimmed: PCollection[Trimmed]: kept documents that lost chunks; None without chunks.
    """

    kept: beam.PCollection
    dropped: beam.PCollection
    clusters: beam.PCollection
    stages: dict[str, beam.PCollection]
    trimmed: beam.PCollection | None


class Deduplicate(beam.PTransform):
    """PCollection[Document] to `Deduplicated`.

    Raises:
      InputError: levels that are unknown, repeated, none, or go on after chunks; settings
        that do not fit; in the job: as the levels' transforms.
    """

    def __init__(
        self,
        levels: Sequence[str] = ("file",),
        ngram: int = 5,
        permutations: int = 2048,
        bands: int = 16,
        rows: int = 128,
        min_jaccard: float | None = None,
        chunk_tokens: int = 4096,
        tokenizer: str = "",
        component_rounds: int = 16,
        cluster_members: int = 20,
        parts: int = PARTS,
    ) -> None:
        """Args:
        levels: of `file`, `repository`, `chunk`, in the order of application.
        ngram, permutations, bands, rows, min_jaccard: of near deduplication, at every level
          (`NearSettings`).
        chunk_tokens, tokenizer: of a chunk (`ChunkDedup`).
        component_rounds, cluster_members: as in `NearSettings`.
        parts: that light records are divided into at the level of files; a worker holds one.
        """
        super().__init__()
        stage_names(levels)
        settings = NearSettings(
            ngram, permutations, bands, rows, min_jaccard, component_rounds, cluster_members
        )
        self._levels = tuple(levels)
        self._settings = settings
        self._parts = parts
        self._chunk_dedup = ChunkDedup(settings, chunk_tokens, tokenizer)

    @no_annotations
    def expand(self, documents: beam.PCollection) -> Deduplicated:
        settings = self._settings
        kept, dropped, clusters, trimmed = documents, [], [], None
        stages = {}
        if self._levels[0] != "file":  # `ExactDedup` does it in the join that it needs anyway
            unique = kept | "UniqueIds" >> _UniqueIds()
            kept = unique.kept
            dropped.append(unique.dropped)
        for level in self._levels:
            if level == "file":
                exact = kept | "ExactDedup" >> ExactDedup(self._parts)
                stages["exact_dedup"] = exact.kept
                near = exact.kept | "NearDedup" >> NearDedup(
                    **dataclasses.asdict(settings), parts=self._parts
                )
                dropped.append(exact.dropped)
            elif level == "repository":
                near = kept | "RepositoryDedup" >> RepositoryDedup(settings)
            else:
                near = kept | "ChunkDedup" >> self._chunk_dedup
                trimmed = near.trimmed
            kept = stages[STAGES[level][-1]] = near.kept
            dropped.append(near.dropped)
            clusters.append(near.clusters)
        return Deduplicated(
            kept,
            dropped | "Dropped" >> beam.Flatten().with_output_types(Drop),
            clusters | "Clusters" >> beam.Flatten(),
            stages,
            trimmed,
        )


class _UniqueIds(beam.PTransform):
    """PCollection[Document] to a `Split`: documents with an id that another has are dropped."""

    @no_annotations
    def expand(self, documents: beam.PCollection) -> Split:
        nothing = documents.pipeline | "Nothing" >> beam.Create([]).with_output_types(
            tuple[str, str]
        )
        split = (
            (documents, nothing)
            | "Join" >> JoinById(several=True)
            | "Split" >> beam.ParDo(SplitDuplicates()).with_outputs("dropped", main="kept")
        )
        return Split(kept=split.kept, dropped=split.dropped)


def stage_names(levels: Sequence[str]) -> tuple[str, ...]:
    """Names of the stages of these levels, in order.

    Raises:
      InputError: as `Deduplicate`.
    """
    unknown = [level for level in levels if level not in STAGES]
    if unknown or not levels or len(set(levels)) < len(levels) or "chunk" in levels[:-1]:
        raise InputError(
            f"deduplication levels are {list(levels)}, expected one or more of {list(STAGES)}, "
            "each once, and `chunk` last"
        )
    return tuple(stage for level in levels for stage in STAGES[level])
