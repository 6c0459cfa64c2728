"""pass@k by counting draws, intervals by their textbook values, skipped ones apart."""

import itertools

import pytest

from opencoder_jax.evaluation.scores import (
    bootstrap_interval,
    pass_at_k,
    scores,
    wilson_interval,
)


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 0, 1), (5, 2, 1), (6, 2, 3), (4, 4, 2)])
def test_pass_at_k_is_the_share_of_draws_with_a_passing_sample(
    samples: int, passed: int, k: int
) -> None:
    draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_refuses_counts_that_cannot_be() -> None:
    for counts in ((3, 4, 1), (3, 1, 4), (3, -1, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(*counts)


def test_wilson_interval_has_its_textbook_values() -> None:
    assert wilson_interval(0.0, 164) == pytest.approx((0.0, 0.02289), abs=1e-4)
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    low, high = wilson_interval(1.0, 164)
    assert high == 1.0
    assert low == pytest.approx(1 - 0.02289, abs=1e-4)


def test_the_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = [0.0, 0.25, 0.5, 1.0] * 100
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    # Standard deviation of the values 0.3698, of their mean 0.0185.
    assert low == pytest.approx(0.4375 - 1.96 * 0.0185, abs=3e-3)
    assert high == pytest.approx(0.4375 + 1.96 * 0.0185, abs=3e-3)


def row(task_id: str, verdict: str, language: str = "python", subset: str = "") -> dict:
    return {"task_id": task_id, "verdict": verdict, "language": language, "subset": subset}


def test_skipped_answers_are_counted_and_never_failures() -> None:
    rows = [row("a", "passed"), row("b", "failed"), row("c", "skipped"), row("d", "skipped")]
    found = scores(rows, [1])
    assert found["pass_at_1"] == 0.5
    assert (found["problems"], found["skipped_problems"]) == (4, 2)
    assert found["verdicts"] == {"failed": 1, "passed": 1, "skipped": 2}
    assert "pass_at_1" not in scores([row("a", "skipped")], [1])


def test_languages_and_subsets_are_scored_apart() -> None:
    rows = [
        *(row(f"p{n}", "passed", "python", "easy") for n in range(3)),
        row("j1", "failed", "java", "hard"),
    ]
    found = scores(rows, [1])
    assert found["pass_at_1"] == 0.75
    assert found["languages"]["java"]["pass_at_1"] == 0.0
    assert found["mean_of_languages"]["pass_at_1"] == 0.5
    assert found["subsets"]["easy"]["pass_at_1"] == 1.0
    assert "languages" not in scores(rows[:3], [1])


def test_several_samples_give_pass_at_k_of_each_problem() -> None:
    rows = [row("a", v) for v in ("passed", "failed", "failed", "skipped")]
    rows += [row("b", v) for v in ("failed", "failed", "failed", "failed")]
    found = scores(rows, [1, 2, 4])
    assert found["pass_at_1"] == pytest.approx((1 / 3 + 0) / 2)
    assert found["pass_at_2"] == pytest.approx((2 / 3 + 0) / 2)
    # Only b has four judged answers.
    assert found["pass_at_4"] == 0.0
    assert found["interval"] == "bootstrap"
