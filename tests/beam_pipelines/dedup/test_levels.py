import collections
import random

import pytest

from beam_pipelines.dedup.levels import Deduplicate, stage_names
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from tests.beam_pipelines.dedup.running import document, run


def lines(seed: int) -> str:
    rng = random.Random(seed)
    return "".join(f"name_{rng.randrange(10**9)} = value\n" for _ in range(60))


def corpus() -> list[Document]:
    """A repository and its fork, one that took two files of it, one that pasted half a file."""
    files = {
        "a": [lines(1) + lines(2), lines(3), lines(4)],
        "fork": [lines(1) + lines(2), lines(3), lines(4)],
        "took": [lines(3), lines(4), lines(5)],
        "pasted": [lines(2) + lines(6), lines(7), lines(8)],
    }
    return [
        document(10 * r + i, text, stars=9 - r).replace(repo=repo, path=f"{i}.py")
        for r, (repo, texts) in enumerate(files.items())
        for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("file",), {"exact_duplicate": 5}),
        (("repository",), {"exact_duplicate_repository": 3}),
        (("chunk",), {"all_chunks_duplicate": 5}),
        (("repository", "chunk"), {"exact_duplicate_repository": 3, "all_chunks_duplicate": 2}),
    ],
)
def test_each_level_drops_what_its_unit_repeats(
    levels: tuple[str, ...], expected: dict[str, int]
) -> None:
    outputs = run(corpus(), Deduplicate(levels, chunk_tokens=120, component_rounds=4))
    assert collections.Counter(drop.reason for drop in outputs["dropped"]) == expected
    ids = sorted(record.id for record in outputs["kept"] + outputs["dropped"])
    assert ids == sorted(d.id for d in corpus())
    texts = {d.id: d.text for d in outputs["kept"]}
    pasted = corpus()[9]
    assert texts[pasted.id] == (lines(6) if "chunk" in levels else pasted.text)
    assert all(d.duplicate_cluster for d in outputs["kept"])


@pytest.mark.parametrize("levels", [("file",), ("chunk",)])
def test_a_document_that_is_listed_twice_is_dropped_once_whatever_the_first_level(
    levels: tuple[str, ...],
) -> None:
    documents = [document(1, lines(1)), document(1, lines(1)), document(2, lines(2))]
    outputs = run(documents, Deduplicate(levels, chunk_tokens=40, component_rounds=3))
    assert [(drop.id, drop.reason) for drop in outputs["dropped"]] == [
        (documents[0].id, "duplicate_id")
    ]
    assert {d.text for d in outputs["kept"]} == {lines(1), lines(2)}


def test_stages_are_named_in_the_order_of_the_levels() -> None:
    assert stage_names(["file", "chunk"]) == ("exact_dedup", "near_dedup", "chunk_dedup")
    assert stage_names(["repository", "file"]) == (
        "repository_dedup",
        "exact_dedup",
        "near_dedup",
    )


@pytest.mark.parametrize("levels", [[], ["files"], ["file", "file"], ["chunk", "file"]])
def test_levels_that_make_no_job_are_refused(levels: list[str]) -> None:
    with pytest.raises(InputError, match="deduplication levels are"):
        Deduplicate(levels)
