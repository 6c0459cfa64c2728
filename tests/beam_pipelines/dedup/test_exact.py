import itertools
import random

import pytest

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.exact import ExactDedup
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from tests.beam_pipelines.dedup.running import document, run


def deduplicated(documents: list[Document]) -> tuple[list[Document], list[Drop]]:
    outputs = run(documents, ExactDedup())
    return sorted(outputs["kept"], key=_id), sorted(outputs["dropped"], key=_id)


def _id(record: Document | Drop) -> str:
    return record.id


def test_stars_decide_then_commit_time_then_the_smaller_id() -> None:
    copies = [
        document(1, "x", stars=1, commit_time=9),
        document(2, "x", stars=2, commit_time=3),
        document(4, "x", stars=2, commit_time=5),
        document(3, "x", stars=2, commit_time=5),
    ]
    kept, dropped = deduplicated(copies)
    assert [d.id for d in kept] == [copies[3].id]
    assert {drop.id for drop in dropped} == {d.id for d in copies[:3]}
    assert {(drop.reason, drop.detail) for drop in dropped} == {("exact_duplicate", kept[0].id)}


def test_the_order_of_the_input_changes_nothing() -> None:
    copies = [document(i, "ab"[i % 2], stars=i % 3) for i in range(4)]
    orders = list(itertools.permutations(copies))[::4]
    results = {repr(deduplicated(list(order))) for order in orders}
    assert len(results) == 1


def test_every_document_is_kept_or_dropped_and_kept_texts_are_distinct() -> None:
    rng = random.Random(0)
    documents = [document(i, rng.choice("abcdefgh"), stars=rng.randrange(3)) for i in range(200)]
    kept, dropped = deduplicated(documents)
    assert sorted([*map(_id, kept), *map(_id, dropped)]) == sorted(map(_id, documents))
    assert sorted(d.text for d in kept) == sorted({d.text for d in documents})


def test_a_document_that_stays_is_unchanged() -> None:
    original = document(1, "unicode ü\n", stars=3).replace(language="python", licence="MIT")
    assert deduplicated([original]) == ([original], [])


def test_near_copies_are_not_exact_copies() -> None:
    kept, dropped = deduplicated([document(1, "x = 1"), document(2, "x = 1\n")])
    assert (len(kept), len(dropped)) == (2, 0)


def test_a_document_without_its_hash_is_an_error_and_no_duplicate_of_others() -> None:
    with pytest.raises(InputError, match="no content_sha256"):
        run([document(1, "x").replace(content_sha256="")], ExactDedup())


def test_of_documents_with_one_id_the_best_stays_and_the_others_are_accounted_for() -> None:
    same_id = [document(1, text, stars=stars) for text, stars in (("x", 1), ("y", 2), ("x", 0))]
    kept, dropped = deduplicated([*same_id, document(2, "x")])
    assert [(d.id, d.text) for d in kept] == [(same_id[1].id, "y"), (document(2, "x").id, "x")]
    assert [(d.id, d.reason) for d in dropped] == [(same_id[0].id, "duplicate_id")] * 2
