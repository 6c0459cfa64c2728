import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest

from beam_pipelines.dedup.overlap import Candidate, decide
from beam_pipelines.dedup.repository import RepositoryDedup, repository_id
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.dedup.shingles import jaccard, shingle_hashes
from opencoder_jax.formats.document import Document
from tests.beam_pipelines.dedup.running import document, run

SETTINGS = NearSettings(component_rounds=4)


def source(seed: int, words: int = 600) -> str:
    rng = random.Random(seed)
    return " ".join(f"name_{rng.randrange(10**9)}" for _ in range(words))


def repository(number: int, texts: Sequence[str], *, stars: int = 0) -> list[Document]:
    """Its documents, file 0 first; ids follow the number."""
    return [
        document(1000 * number + i, text, stars=stars).replace(
            repo=f"owner/{number}", path=f"src/{i}.py"
        )
        for i, text in enumerate(texts)
    ]


def shingles(documents: Sequence[Document]) -> np.ndarray:
    return np.unique(np.concatenate([shingle_hashes(d.text) for d in documents]))


def corpus() -> dict[int, list[Document]]:
    """An original (1), a fork (2), one edited in a line (3), one in a file (4), another (5)."""
    texts = [source(i) for i in range(10)]
    return {
        1: repository(1, texts, stars=2),
        2: repository(2, texts, stars=9),
        3: repository(3, [*texts[:9], texts[9].replace("name_1", "name", 1)], stars=1),
        4: repository(4, [*texts[:9], source(77)], stars=1),
        5: repository(5, [source(100 + i) for i in range(3)]),
        6: repository(6, ["", "{}"]),
        7: repository(7, ["()", "{}"]),
    }


def deduplicated(documents: Sequence[Document], **settings: int) -> dict[str, list]:
    outputs = run(documents, RepositoryDedup(SETTINGS, **settings))
    return {name: sorted(records, key=lambda r: r.id) for name, records in outputs.items()}


def repositories(records: Sequence) -> set[str]:
    return {record.repo for record in records}


@pytest.fixture(scope="module")
def outputs() -> dict[str, list]:
    return deduplicated(list(itertools.chain(*corpus().values())))


def test_all_documents_of_a_repository_stay_or_go(outputs: dict[str, list]) -> None:
    assert repositories(outputs["kept"]) == {f"owner/{i}" for i in (2, 4, 5, 6, 7)}
    assert repositories(outputs["dropped"]) == {"owner/1", "owner/3"}
    everything = [d.id for group in corpus().values() for d in group]
    assert sorted(r.id for r in outputs["kept"] + outputs["dropped"]) == sorted(everything)


def test_a_drop_names_the_repository_that_stays_and_the_exact_similarity(
    outputs: dict[str, list],
) -> None:
    drops = {drop.repo: drop for drop in outputs["dropped"]}
    assert drops["owner/1"].reason == "exact_duplicate_repository"
    assert drops["owner/1"].detail == drops["owner/3"].detail == "owner/2"
    near = drops["owner/3"]
    exact = jaccard(shingles(corpus()[3]), shingles(corpus()[2]))
    assert (near.reason, near.value) == ("near_duplicate_repository", exact)
    assert near.threshold == f">= {SETTINGS.threshold:.6f}"
    assert exact > 0.99


def test_documents_that_stay_carry_their_repositorys_cluster(outputs: dict[str, list]) -> None:
    (cluster,) = outputs["clusters"]
    ids = {repository_id(corpus()[i][0]) for i in (2, 3)}
    assert (cluster.id, cluster.size, cluster.dropped) == (min(ids), 2, 1)
    assert cluster.level == "repository"
    assert [member.repo for member in cluster.members] == ["owner/2", "owner/3"]
    for kept in outputs["kept"]:
        expected = cluster.id if kept.repo == "owner/2" else kept.id
        assert kept.duplicate_cluster == expected


def test_slices_and_the_order_of_the_input_change_nothing(outputs: dict[str, list]) -> None:
    documents = list(itertools.chain(*corpus().values()))
    random.Random(0).shuffle(documents)
    assert deduplicated(documents, slice_characters=5_000) == outputs


def test_other_paths_are_no_exact_but_a_near_duplicate() -> None:
    texts = [source(i) for i in range(3)]
    moved = [d.replace(path=f"lib/{d.path}") for d in repository(2, texts)]
    outputs = deduplicated([*repository(1, texts, stars=1), *moved])
    assert {(drop.reason, drop.value) for drop in outputs["dropped"]} == {
        ("near_duplicate_repository", 1.0)
    }


def test_only_a_verified_partner_that_stays_itself_makes_a_repository_go() -> None:
    """1 is best; 2 is similar to it; 3 to 2 only; 4 shares a band with 1 and is not similar."""

    def candidate(number: int, *partners: int) -> Candidate:
        names = tuple(str(partner) for partner in partners)
        return Candidate((-9 + number, 0, str(number)), f"r{number}", "1", 0, names, 1)

    candidates = {
        c.id: c for c in (candidate(1), candidate(2, 1), candidate(3, 2), candidate(4, 1))
    }
    common = {("2", "1"): 99, ("3", "2"): 99, ("4", "1"): 60}
    verdicts = decide(candidates, dict.fromkeys(candidates, 100), common, 0.95)
    assert {key: kept for key, (kept, _) in verdicts.items()} == {
        "1": "1",
        "2": "1",
        "3": "3",
        "4": "4",
    }
    assert verdicts["2"][1] == 99 / 101
