"""Sampling comes near its budget, leaves other languages whole, and never depends on order."""

import random

import pytest

from beam_pipelines.transforms.sample import Budget, SampleByLanguage, keep_rate
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, document_id
from tests.beam_pipelines.dedup.running import run


def corpus(documents: int) -> list[Document]:
    rng = random.Random(0)
    return [
        Document(
            id=document_id("test", "repo", f"{i}"),
            text="é" * rng.randrange(1, 200),
            repo="repo",
            path=f"{i}",
            language=("java", "html", "c")[i % 3],
        )
        for i in range(documents)
    ]


def size(documents: list[Document], language: str) -> int:
    return sum(len(d.text.encode()) for d in documents if d.language == language)


def test_a_budget_of_bytes_is_met_nearly_and_other_languages_stay_whole() -> None:
    documents = corpus(3000)
    half = size(documents, "java") / 2
    outputs = run(documents, SampleByLanguage({"java": Budget(bytes=half)}))
    kept = outputs["kept"]
    # 1,000 documents: one standard deviation of the sample is 3.6 % of it.
    assert size(kept, "java") == pytest.approx(half, rel=0.1)
    assert size(kept, "html") == size(documents, "html")
    assert sorted(d.id for d in [*kept, *outputs["dropped"]]) == sorted(d.id for d in documents)
    for drop in outputs["dropped"]:
        assert (drop.language, drop.reason) == ("java", "sampled_out")
        assert drop.value is not None
        assert drop.value >= float(drop.threshold.removeprefix("< ")) - 1e-6


def test_a_fraction_needs_no_volume_and_the_order_changes_nothing() -> None:
    documents = corpus(600)
    budgets = {"java": Budget(fraction=0.25), "html": Budget(fraction=0.0)}
    first = run(documents, SampleByLanguage(budgets))["kept"]
    second = run(documents[::-1], SampleByLanguage(budgets))["kept"]
    assert {d.id for d in first} == {d.id for d in second}
    assert {d.language for d in first} == {"java", "c"}
    assert 30 <= sum(d.language == "java" for d in first) <= 70


def test_a_larger_sample_holds_the_smaller_one() -> None:
    documents = corpus(300)
    small, large = (
        {d.id for d in run(documents, SampleByLanguage({"java": Budget(fraction=f)}))["kept"]}
        for f in (0.2, 0.6)
    )
    assert small < large


def test_a_budget_above_the_volume_and_no_budgets_keep_everything() -> None:
    documents = corpus(30)
    for budgets in ({"java": Budget(bytes=1e12)}, {"lua": Budget(bytes=0)}, None):
        outputs = run(documents, SampleByLanguage(budgets))
        assert (len(outputs["kept"]), outputs["dropped"]) == (30, [])


def test_rates() -> None:
    assert keep_rate(Budget(bytes=200e9), 449_000_000_000) == pytest.approx(0.4454, abs=1e-4)
    assert keep_rate(Budget(bytes=5), 0) == 1.0
    assert keep_rate(Budget(fraction=0.135), 7) == 0.135


@pytest.mark.parametrize(
    "wrong", [{}, {"bytes": 1, "fraction": 1}, {"fraction": 1.5}, {"bytes": -1}]
)
def test_a_budget_that_is_none_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Budget"):
        Budget(**wrong)
