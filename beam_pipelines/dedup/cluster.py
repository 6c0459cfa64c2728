"""Who stays of a cluster: nothing is dropped without its exact Jaccard similarity.

A cluster is a connected component of candidates, and components chain: at looser settings
most of their pairs are no duplicates at all. So a cluster is only where to look.
Its documents are gone through from the best to the worst (`keep_order`): one that is at
least `min_jaccard` similar to a document that already stays is dropped in favour of the
best such one, every other stays itself. The result is the same whatever the order of
arrival; of the documents that stay, no two are that similar.

Memory is bounded: shingles are held for one block of documents at a time, best first; the
rest stream past it. A cluster that fits one block, as practically all do, is read twice.
"""

import dataclasses
import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.keep_order import keep_order
from beam_pipelines.dedup.shingles import jaccard, shingle_hashes
from opencoder_jax.formats.document import Document

# Shingles take at most four bytes a character (8 bytes for two), so 128 MB.
BLOCK_CHARACTERS = 32 << 20


class Verdict(NamedTuple):
    """What becomes of a document: `kept_id` is its own id where it stays."""

    kept_id: str
    jaccard: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterMember:
    """A document of a cluster.

    Attributes:
      id, repo, path: of the document.
      kept_id: id of the document that stays in its place; its own where it stays.
      jaccard: exact similarity to that document.
    """

    id: str
    repo: str
    path: str
    kept_id: str
    jaccard: float


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """One near-duplicate cluster, for reports.

    Attributes:
      id: smallest document id of the cluster, as in `Document.duplicate_cluster`.
      kept: id of the best document.
      size: number of documents.
      dropped: how many of them were dropped.
      members: the first few in `keep_order`.
      level: of what it is a cluster: `file`, `repository` or `chunk`. Ids are those of
        documents, of repositories (members have no path), or of chunks.
    """

    id: str
    kept: str
    size: int
    dropped: int
    members: tuple[ClusterMember, ...]
    level: str = "file"


class _Held(NamedTuple):
    id: str
    shingles: NDArray[np.uint64]


def decide_cluster(
    documents: Iterable[Document],
    *,
    ngram: int,
    min_jaccard: float,
    block_characters: int = BLOCK_CHARACTERS,
) -> dict[str, Verdict]:
    """The verdict on each document of a cluster, by id.

    Args:
      documents: is iterated several times, and never held as a whole.
      ngram: words a shingle.
      min_jaccard: least similarity to the document kept at which a document is dropped.
      block_characters: how much text's shingles to hold; does not change the verdicts.
    """
    verdicts: dict[str, Verdict] = {}
    undecided = sorted((*keep_order(document), len(document.text)) for document in documents)
    while undecided:
        block = _next_block(undecided, block_characters)
        shingles = {
            document.id: shingle_hashes(document.text, ngram)
            for document in documents
            if document.id in block
        }
        kept: list[_Held] = []
        for document_id in block:
            candidate = _Held(document_id, shingles.pop(document_id))
            verdict = _find_kept(candidate, kept, min_jaccard)
            verdicts[document_id] = verdict or Verdict(document_id, 1.0)
            if not verdict:
                kept.append(candidate)
        undecided = undecided[len(block) :]
        if undecided:
            for document in documents:
                if document.id not in verdicts:
                    candidate = _Held(document.id, shingle_hashes(document.text, ngram))
                    verdict = _find_kept(candidate, kept, min_jaccard)
                    if verdict:
                        verdicts[document.id] = verdict
            undecided = [entry for entry in undecided if entry[2] not in verdicts]
    return verdicts


def describe_cluster(
    cluster_id: str,
    documents: Iterable[Document],
    verdicts: dict[str, Verdict],
    max_members: int,
) -> Cluster:
    """The cluster's record, with its `max_members` best documents."""
    first = heapq.nsmallest(max(max_members, 1), documents, key=keep_order)
    return Cluster(
        id=cluster_id,
        kept=first[0].id,
        size=len(verdicts),
        dropped=sum(verdict.kept_id != key for key, verdict in verdicts.items()),
        members=tuple(
            ClusterMember(d.id, d.repo, d.path, *verdicts[d.id]) for d in first[:max_members]
        ),
    )


def _next_block(
    undecided: Sequence[tuple[int, int, str, int]], block_characters: int
) -> dict[str, None]:
    """Ids of the best documents whose texts fit a block, in order; at least one."""
    block: dict[str, None] = {}
    characters = 0
    for _, _, document_id, length in undecided:
        characters += length
        if block and characters > block_characters:
            break
        block[document_id] = None
    return block


def _find_kept(candidate: _Held, kept: Sequence[_Held], min_jaccard: float) -> Verdict | None:
    """The best of the documents kept that is similar enough to the candidate."""
    size = candidate.shingles.size
    for other in kept:
        # |a ∩ b| / |a ∪ b| is at most the ratio of the sizes.
        if min(size, other.shingles.size) < min_jaccard * max(size, other.shingles.size):
            continue
        similarity = jaccard(candidate.shingles, other.shingles)
        if similarity >= min_jaccard:
            return Verdict(other.id, similarity)
    return None
