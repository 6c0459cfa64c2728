import collections
import random

import pytest

from beam_pipelines.dedup.near import NearDedup
from beam_pipelines.dedup.shingles import jaccard, shingle_hashes
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from tests.beam_pipelines.dedup.running import document, run

THRESHOLD = (1 / 16) ** (1 / 128)
# 20 bands of 5 rows meet at about 0.55, so that chains of weaker pairs form.
LOOSE = {"permutations": 100, "bands": 20, "rows": 5, "ngram": 1}


def source(seed: int, words: int = 3000) -> list[str]:
    rng = random.Random(seed)
    return [f"name_{rng.randrange(10**9)}" for _ in range(words)]


def edited(words: list[str], positions: list[int]) -> str:
    changed = list(words)
    for position in positions:
        changed[position] = f"edit_{position}"
    return " ".join(changed)


def deduplicated(documents: list[Document], **settings: float) -> dict[str, list]:
    settings = {"component_rounds": 4, **settings}
    outputs = run(documents, NearDedup(**settings))  # type: ignore[arg-type]
    return {name: sorted(records, key=lambda r: r.id) for name, records in outputs.items()}


def numbers(records: list) -> list[int]:
    return [int(record.id, 16) for record in records]


def test_a_document_edited_in_one_place_goes_and_one_edited_in_many_stays() -> None:
    words = source(0)
    documents = [
        document(1, " ".join(words), stars=5),
        document(2, edited(words, [700])),
        document(3, edited(words, list(range(0, 3000, 50)))),
        document(4, " ".join(source(1))),
    ]
    outputs = deduplicated(documents)
    assert numbers(outputs["kept"]) == [1, 3, 4]
    (drop,) = outputs["dropped"]
    exact = jaccard(shingle_hashes(documents[0].text), shingle_hashes(documents[1].text))
    assert (drop.reason, drop.detail, drop.value) == ("near_duplicate", documents[0].id, exact)
    assert drop.threshold == f">= {THRESHOLD:.6f}"
    assert exact > 0.99


def test_stars_decide_then_commit_time_then_the_smaller_id() -> None:
    words = source(0)
    documents = [
        document(1, edited(words, [1]), stars=1, commit_time=9),
        document(2, edited(words, [2]), stars=2, commit_time=3),
        document(4, edited(words, [3]), stars=2, commit_time=5),
        document(3, edited(words, [4]), stars=2, commit_time=5),
    ]
    outputs = deduplicated(documents)
    assert numbers(outputs["kept"]) == [3]
    assert {drop.detail for drop in outputs["dropped"]} == {documents[3].id}


def test_the_cluster_is_named_by_its_smallest_id_even_if_that_document_is_dropped() -> None:
    words = source(0)
    documents = [
        document(5, edited(words, [1]), stars=9),
        document(2, edited(words, [2])),
        document(8, " ".join(source(1))),
    ]
    outputs = deduplicated(documents)
    clusters = {d.id: d.duplicate_cluster for d in outputs["kept"]}
    assert clusters == {documents[0].id: documents[1].id, documents[2].id: documents[2].id}
    (cluster,) = outputs["clusters"]
    assert (cluster.id, cluster.kept) == (documents[1].id, documents[0].id)
    assert (cluster.size, cluster.dropped) == (2, 1)
    assert {member.path for member in cluster.members} == {"src/5.py", "src/2.py"}


def chained_documents() -> list[Document]:
    words = source(3, 400)
    texts = [" ".join(words[20 * i : 20 * i + 100]) for i in range(15)]
    return [document(i, text, stars=i % 4) for i, text in enumerate(texts)]


def test_chains_of_weak_pairs_never_delete_below_the_threshold() -> None:
    """Neighbours have Jaccard 0.67: the bands chain all 15, verification keeps all."""
    documents = chained_documents()
    outputs = deduplicated(documents, min_jaccard=0.8, **LOOSE)
    assert max(cluster.size for cluster in outputs["clusters"]) > 5
    assert (len(outputs["kept"]), outputs["dropped"]) == (15, [])
    assert len({d.duplicate_cluster for d in outputs["kept"]}) < 15

    outputs = deduplicated(documents, min_jaccard=0.6, **LOOSE)
    assert len(outputs["kept"]) + len(outputs["dropped"]) == 15
    texts = {d.id: d.text for d in documents}
    assert outputs["dropped"]
    for drop in outputs["dropped"]:
        assert drop.detail in {d.id for d in outputs["kept"]}
        exact = jaccard(shingle_hashes(texts[drop.id], 1), shingle_hashes(texts[drop.detail], 1))
        assert drop.value == exact >= 0.6


def corpus(seed: int) -> list[Document]:
    """Twenty families of up to six edited copies each, and short and empty texts."""
    rng = random.Random(seed)
    documents = [document(1000 + i, text) for i, text in enumerate(["", "", "{}", "x", "X", "y"])]
    for family in range(20):
        words = source(family, 600)
        for _ in range(rng.randrange(1, 7)):
            positions = rng.sample(range(600), rng.randrange(4))
            documents.append(
                document(len(documents), edited(words, positions), stars=rng.randrange(3))
            )
    return documents


def test_the_order_of_the_input_changes_nothing() -> None:
    documents = corpus(0)
    expected = deduplicated(documents)
    assert expected["dropped"]
    for seed in range(2):
        random.Random(seed).shuffle(documents)
        assert deduplicated(documents) == expected


def test_every_document_is_kept_or_dropped_once() -> None:
    documents = corpus(1)
    outputs = deduplicated(documents)
    assert sorted(numbers(outputs["kept"] + outputs["dropped"])) == sorted(numbers(documents))
    sizes = collections.Counter(c.dropped for c in outputs["clusters"])
    assert sum(dropped * n for dropped, n in sizes.items()) == len(outputs["dropped"])


def test_texts_without_words_are_duplicates_of_nothing_and_short_ones_of_equal_ones() -> None:
    documents = corpus(2)[:6]  # "", "", "{}", "x", "X", "y"
    outputs = deduplicated(documents)
    assert numbers(outputs["kept"]) == [1000, 1001, 1002, 1003, 1005]
    assert [drop.value for drop in outputs["dropped"]] == [1.0]


def test_a_bucket_of_two_thousand_documents_leaves_the_best_one() -> None:
    """All share all sixteen buckets: edges stay linear in the documents, memory too."""
    documents = [document(i, f"print ( {'!' * (i % 7)} 'hello' )") for i in range(2_000)]
    documents[1_234] = documents[1_234].replace(stars=1)
    outputs = deduplicated(documents)
    assert numbers(outputs["kept"]) == [1_234]
    (cluster,) = outputs["clusters"]
    assert (cluster.size, cluster.dropped, len(cluster.members)) == (2_000, 1_999, 20)


def test_pairs_of_similarity_099_and_more_are_found() -> None:
    """P(share a band) is 0.997 for each of these 60 pairs, one edit in 1100 words."""
    documents = []
    for i in range(60):
        words = source(i, 1100)
        documents += [document(2 * i, " ".join(words)), document(2 * i + 1, edited(words, [500]))]
    outputs = deduplicated(documents)
    similarities = [drop.value for drop in outputs["dropped"]]
    assert min(similarities) > 0.989
    assert len(similarities) >= 57


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": 10}, "10 bands of 128 rows uses 1280 permutations"),
        ({"min_jaccard": 1.5}, "min_jaccard is 1.5"),
        ({"ngram": 0}, "ngram is 0"),
        ({"component_rounds": 0}, "component_rounds is 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run([], NearDedup(**settings))
