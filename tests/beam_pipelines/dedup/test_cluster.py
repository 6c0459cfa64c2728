import itertools
import random
from collections.abc import Iterator

import pytest

from beam_pipelines.dedup.cluster import Verdict, decide_cluster, describe_cluster
from beam_pipelines.dedup.shingles import jaccard, shingle_hashes
from opencoder_jax.formats.document import Document
from tests.beam_pipelines.dedup.running import document


def words(start: int, stop: int) -> str:
    return " ".join(f"w{i}" for i in range(start, stop))


def decide(
    documents: list[Document], min_jaccard: float = 0.8, block_characters: int = 1 << 20
) -> dict[int, int]:
    """Number of a document to the number of the one that stays for it."""
    verdicts = decide_cluster(
        documents, ngram=1, min_jaccard=min_jaccard, block_characters=block_characters
    )
    return {int(key, 16): int(verdict.kept_id, 16) for key, verdict in verdicts.items()}


def sliding_documents(count: int, seed: int = 0) -> list[Document]:
    """A chain: each shares 90 % with the next (Jaccard 0.82) and less with the others."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [document(i, words(10 * at, 10 * at + 100), stars=at % 3) for i, at in enumerate(order)]


def test_a_chain_loses_only_documents_that_are_similar_to_one_that_stays() -> None:
    """A ~ B ~ C, A and C unlike: if B is best, both go; if A is best, C stays."""
    a, b, c = (words(start, start + 100) for start in (0, 10, 20))
    assert decide([document(1, b), document(2, a), document(3, c)]) == {1: 1, 2: 1, 3: 1}
    assert decide([document(1, a), document(2, b), document(3, c)]) == {1: 1, 2: 1, 3: 3}


def test_what_fails_against_the_best_is_still_deduplicated_among_itself() -> None:
    documents = [document(1, words(0, 100)), *(document(i, words(500, 600)) for i in (2, 3, 4))]
    assert decide(documents) == {1: 1, 2: 2, 3: 2, 4: 2}


def test_every_deletion_is_verified_and_no_two_that_stay_are_similar() -> None:
    documents = sliding_documents(60)
    verdicts = decide_cluster(documents, ngram=1, min_jaccard=0.8)
    shingles = {d.id: shingle_hashes(d.text, 1) for d in documents}
    for document_id, verdict in verdicts.items():
        similarity = jaccard(shingles[document_id], shingles[verdict.kept_id])
        assert similarity == verdict.jaccard >= 0.8
        assert verdicts[verdict.kept_id].kept_id == verdict.kept_id
    staying = [key for key, verdict in verdicts.items() if verdict.kept_id == key]
    assert 1 < len(staying) < len(documents)
    assert all(
        jaccard(shingles[a], shingles[b]) < 0.8 for a, b in itertools.combinations(staying, 2)
    )


@pytest.mark.parametrize("block_characters", [1, 700, 3000])
def test_the_size_of_the_block_held_in_memory_changes_nothing(block_characters: int) -> None:
    documents = sliding_documents(60)
    assert decide(documents, block_characters=block_characters) == decide(documents)


def test_the_order_of_arrival_changes_nothing() -> None:
    documents = sliding_documents(40)
    expected = decide(documents, block_characters=2000)
    for seed in range(5):
        random.Random(seed).shuffle(documents)
        assert decide(documents, block_characters=2000) == expected


def test_a_cluster_that_fits_a_block_is_read_twice() -> None:
    documents = sliding_documents(30)

    class Group:
        passes = 0

        def __iter__(self) -> Iterator[Document]:
            self.passes += 1
            return iter(documents)

    group = Group()
    decide_cluster(group, ngram=1, min_jaccard=0.8)
    assert group.passes == 2


def test_a_cluster_record_names_its_best_members_and_counts_all() -> None:
    documents = [document(i, words(0, 100), stars=i) for i in range(50)]
    documents.append(document(99, words(500, 600)))
    verdicts = decide_cluster(documents, ngram=1, min_jaccard=0.8)
    cluster = describe_cluster("c", documents, verdicts, max_members=3)
    assert (cluster.id, cluster.size, cluster.dropped) == ("c", 51, 49)
    assert [int(m.id, 16) for m in cluster.members] == [49, 48, 47]
    assert {m.kept_id for m in cluster.members} == {cluster.kept} == {documents[49].id}
    assert cluster.members[1].path == "src/48.py"


def test_a_document_alone_stays() -> None:
    alone = document(7, "x")
    assert decide_cluster([alone], ngram=5, min_jaccard=0.9) == {alone.id: Verdict(alone.id, 1.0)}
