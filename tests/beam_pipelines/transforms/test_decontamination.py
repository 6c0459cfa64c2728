"""A copied benchmark problem is found however it is laid out; common code is not."""

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines import runner
from beam_pipelines.accounting import Drop
from beam_pipelines.transforms.decontamination import Decontaminate, load_benchmarks
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.contamination import BenchmarkIndex, ProblemTexts, ngrams
from opencoder_jax.evaluation.humaneval_problems import load_problems

INDEX = BenchmarkIndex(load_benchmarks(["humaneval"]))


def test_every_problem_is_found_in_prompt_and_tests() -> None:
    for problem in load_problems():
        for text in (problem.prompt, problem.test):
            if sum(1 for _ in ngrams(text)):
                assert INDEX.find(text) is not None


def test_layout_case_and_punctuation_hide_nothing() -> None:
    prompt = load_problems()[0].prompt
    hidden = "\n\t# ".join(prompt.upper().replace(",", " ;").split())
    hit = INDEX.find(f"x = 1\n{hidden}")
    assert hit is not None
    assert (hit.reason, hit.problem) == ("benchmark_ngram", "HumanEval/0")
    assert len(hit.matched.split()) == 10


def test_nine_shared_words_are_no_hit_and_ten_are() -> None:
    words = [f"w{i}" for i in range(10)]
    index = BenchmarkIndex([ProblemTexts("b", (("b/1", " ".join(words)),), ())])
    assert index.find(" ".join(words[:9])) is None
    assert index.find(" ".join(words)) == ("benchmark_ngram", "b/1", " ".join(words))


@pytest.mark.parametrize(
    ("text", "contaminated"),
    [
        ("def has_close_elements(a): pass", True),
        ("print(has_close_elements ([1]))", True),
        ("function add(a, b) {}", True),
        ("add(1, 2)", True),
        ("has_close_elements = 1", False),
        ("found.add(1)", False),
        ("    def add(self, x): pass", False),
        ("badd(1); add_(2)", False),
        ("f(x)", False),
    ],
)
def test_entry_points_count_as_functions_and_not_as_methods(text: str, contaminated: bool) -> None:
    hit = INDEX.find(text)
    assert (hit is not None) == contaminated
    assert hit is None or hit.reason == "benchmark_entry_point"


def test_hits_are_dropped_with_what_matched() -> None:
    def drop(text: str, reason: str, detail: str) -> Drop:
        return Drop(text, "", "", "", reason, detail=detail)

    with runner.pipeline() as pipeline:
        checked = (
            pipeline
            | beam.Create(["def solution(lst): pass", "def mine(lst): pass"])
            | Decontaminate(["humaneval"], str, drop)
        )
        assert_that(checked.kept, equal_to(["def mine(lst): pass"]), "kept")
        details = checked.dropped | beam.Map(lambda d: (d.reason, d.detail))
        hit = ("benchmark_entry_point", "HumanEval/121: solution")
        assert_that(details, equal_to([hit]), "dropped")


def test_an_unknown_benchmark_is_named() -> None:
    with pytest.raises(InputError, match="unknown benchmarks mbpq"):
        load_benchmarks(["mbpq"])
