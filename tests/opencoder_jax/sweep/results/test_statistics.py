"""How sure differences are: against scipy, by hand, and by simulation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from opencoder_jax.sweep.results import statistics

ARM = [1.31, 1.29, 1.36, 1.30]
BASELINE = [1.35, 1.30, 1.41, 1.38]


def by_seed(values: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_mean_has_students_interval() -> None:
    found = statistics.estimate(ARM)
    assert found.mean == pytest.approx(np.mean(ARM))
    assert found.deviation == pytest.approx(np.std(ARM, ddof=1))
    assert found.error == pytest.approx(stats.sem(ARM))
    low, high = stats.t.interval(0.95, 3, found.mean, stats.sem(ARM))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_one_value_has_no_error() -> None:
    found = statistics.estimate([1.5])
    assert (found.n, found.mean, found.error, found.low) == (1, 1.5, None, None)


def test_shared_seeds_are_compared_in_pairs() -> None:
    found = statistics.seed_difference(by_seed(ARM), by_seed(BASELINE))
    other = stats.ttest_rel(ARM, BASELINE)
    interval = other.confidence_interval()
    assert found.pairing == "paired"
    assert found.mean == pytest.approx(np.mean(ARM) - np.mean(BASELINE))
    assert found.p == pytest.approx(other.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_only_seeds_of_both_are_paired() -> None:
    found = statistics.seed_difference({0: 1.0, 1: 2.0, 9: 50.0}, {1: 1.5, 0: 0.9, 4: 7.0})
    assert (found.pairing, found.n) == ("paired", 2)
    assert found.mean == pytest.approx(0.3)


def test_other_seeds_are_compared_by_welchs_test() -> None:
    found = statistics.seed_difference(by_seed(ARM), {10 + k: v for k, v in enumerate(BASELINE)})
    other = stats.ttest_ind(ARM, BASELINE, equal_var=False)
    interval = other.confidence_interval()
    assert found.pairing == "unpaired"
    assert found.p == pytest.approx(other.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("baseline", [{0: 1.0}, {3: 1.0}, {0: 1.0, 1: 1.2}])
def test_one_seed_says_nothing_of_others(baseline: dict[int, float]) -> None:
    found = statistics.seed_difference({0: 1.5}, baseline)
    assert (found.pairing, found.p, found.low) == ("none", None, None)
    assert statistics.verdict(found, None, "lower") == "cannot tell"


def test_equal_pairs_are_no_difference_and_constant_ones_are() -> None:
    assert statistics.paired_difference([0.0, 0.0, 0.0]).p == 1.0
    assert statistics.paired_difference([0.5, 0.5, 0.5]).p == 0.0


def test_mcnemars_test_is_the_binomial_of_the_discordant() -> None:
    # 1 of 8 or less on either side: 2 * (1 + 8) / 2^8.
    assert statistics.mcnemar_p(7, 1) == pytest.approx(18 / 256)
    assert statistics.mcnemar_p(0, 0) == 1.0
    assert statistics.mcnemar_p(3, 3) == 1.0


def test_flipping_signs_of_right_and_wrong_is_mcnemars_test() -> None:
    differences = [1.0] * 7 + [-1.0] + [0.0] * 156
    assert statistics.sign_flip_p(differences) == pytest.approx(18 / 256)


@pytest.mark.parametrize("count", [7, 60])
def test_flipping_signs_agrees_with_scipys_permutations(count: int) -> None:
    values = np.random.default_rng(5).normal(0.3, 1.0, count)
    other = stats.permutation_test(
        (values,),
        np.sum,
        permutation_type="samples",
        n_resamples=50_000,
        rng=np.random.default_rng(6),
    )
    assert statistics.sign_flip_p(values) == pytest.approx(other.pvalue, abs=0.01)


def test_problems_are_compared_one_by_one() -> None:
    arm, baseline = [1.0, 1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]
    found = statistics.problem_difference(arm, baseline)
    assert (found.pairing, found.n, found.mean) == ("problems", 5, pytest.approx(0.4))
    assert found.p == pytest.approx(0.5)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 0.4 <= found.high


def test_holms_correction_by_hand() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 (not below the one before), 0.5 x 1.
    assert statistics.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert statistics.holm([]) == []
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_pooled_noise_is_the_residual_of_arms_and_seeds() -> None:
    generator = np.random.default_rng(8)
    values = generator.normal(0, 1, (4, 3)) + 5 * generator.normal(0, 1, 3)
    arms = [by_seed(row) for row in values[1:]]
    # Least squares: a mean, three arms, two seeds.
    rows = np.array([(a, s) for a in range(4) for s in range(3)])
    columns = [np.ones(12), *((rows[:, 0] == a) for a in (1, 2, 3))]
    design = np.array([*columns, *((rows[:, 1] == s) for s in (1, 2))], float).T
    fitted, residual, *_ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    error = np.sqrt(residual[0] / 6 * np.linalg.inv(design.T @ design)[1, 1])
    expected = [2 * stats.t.sf(abs(fitted[a]) / error, 6) for a in (1, 2, 3)]
    assert statistics.pooled_ps(arms, by_seed(values[0])) == pytest.approx(expected)


def test_noise_is_pooled_only_where_all_have_the_same_seeds() -> None:
    assert statistics.pooled_ps([{0: 1.0, 1: 2.0}, {0: 1.0}], {0: 1.0, 1: 1.5}) == []
    assert statistics.pooled_ps([{0: 1.0}], {0: 2.0}) == []
    assert statistics.pooled_ps([], {0: 2.0, 1: 3.0}) == []


@pytest.mark.parametrize(
    ("mean", "better", "word"),
    [(-0.1, "lower", "better"), (0.1, "lower", "worse"), (0.1, "higher", "better")],
)
def test_the_verdict_knows_which_end_is_good(mean, better, word) -> None:
    difference = statistics.paired_difference([mean, mean * 1.01, mean * 0.99])
    assert statistics.verdict(difference, 0.01, better) == word
    assert statistics.verdict(difference, 0.05, better) == "cannot tell"


@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.4])
def test_arms_that_are_alike_are_rarely_told_apart(correlation: float) -> None:
    """Five arms, three seeds: in 5 % of the sweeps at most one arm is told, however paired."""
    generator = np.random.default_rng(17)
    sweeps, arms, seeds = 1000, 5, 3
    told, covered, intervals = 0, 0, 0
    share = math.sqrt(abs(correlation))
    for _ in range(sweeps):
        common = generator.normal(0, share, seeds)
        sign = -1.0 if correlation < 0 else 1.0
        noise = generator.normal(0, math.sqrt(1 - abs(correlation)), (arms + 1, seeds))
        baseline = sign * common + noise[0]
        found = [
            statistics.seed_difference(by_seed(common + row), by_seed(baseline))
            for row in noise[1:]
        ]
        adjusted = statistics.holm([d.p for d in found if d.p is not None])
        words = [statistics.verdict(d, p, "lower") for d, p in zip(found, adjusted, strict=True)]
        told += any(word != "cannot tell" for word in words)
        first = found[0]
        assert first.low is not None
        assert first.high is not None
        covered += first.low <= 0 <= first.high
        intervals += 1
    # Three standard errors of a share of 5 % among a thousand.
    assert told / sweeps <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / sweeps)
    assert covered / intervals == pytest.approx(0.95, abs=0.021)


def test_an_effect_of_many_errors_is_told() -> None:
    generator = np.random.default_rng(3)
    told = 0
    for _ in range(200):
        noise = generator.normal(0, 0.01, 3)
        difference = statistics.paired_difference(list(0.2 + noise))
        adjusted = statistics.holm([difference.p or 0.0, 0.5, 0.6, 0.7])[0]
        told += statistics.verdict(difference, adjusted, "lower") == "worse"
    assert told >= 190
