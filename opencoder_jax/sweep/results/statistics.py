"""How sure a difference between two arms is: pure functions of numbers.

An arm's values are one a seed. Two arms with the same seeds are compared seed by seed: a seed is
a block that has the initial parameters, and where the data are the same their order, in common,
so the mean of the differences has a standard error of its own. That is right whatever the two
have in common, Welch's test only where it is nothing; so it is not chosen by how the numbers
look. docs/sweeps.md, "Report", has the formulas. Next: `comparison` applies them to a sweep.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from opencoder_jax.evaluation.scores import bootstrap_interval

# Of intervals and verdicts.
LEVEL = 0.05
_FLIPS = 20_000
# So many problems with a difference are gone through in all their signs: a million sums.
_EXACT_FLIPS = 14

Verdict = Literal["better", "worse", "cannot tell"]
Pairing = Literal["paired", "unpaired", "problems", "none"]


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of one value a seed.

    Attributes:
      n: seeds.
      mean: of their values.
      deviation: standard deviation between seeds (n - 1); None with one seed.
      error: standard error of the mean; None with one seed.
      low, high: 95 % interval of the mean by Student's t; None with one seed.
    """

    n: int
    mean: float
    deviation: float | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """An arm less the baseline.

    Attributes:
      pairing: `paired` by seed, `unpaired` (Welch), over the `problems` of one seed, or `none`:
        one seed says nothing of others.
      n: pairs of seeds, the smaller number of seeds, or problems.
      mean: of the difference.
      error: its standard error.
      low, high: 95 % interval.
      p: probability of a mean as far from 0 as this or farther, were there no difference.
    """

    pairing: Pairing
    n: int
    mean: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half the interval: the smallest difference that a single comparison would tell."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """Raises: ValueError: no values."""
    n = len(values)
    if not n:
        raise ValueError("no values to estimate a mean from")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(1, mean)
    deviation = float(np.std(values, ddof=1))
    error = deviation / math.sqrt(n)
    half = _quantile(n - 1) * error
    return Estimate(n, mean, deviation, error, mean - half, mean + half)


def seed_difference(arm: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Of values by seed: paired by the seeds that both have, where they are two or more.

    Raises:
      ValueError: one of them is empty.
    """
    common = [seed for seed in baseline if seed in arm]
    if len(common) >= 2:
        return paired_difference([arm[seed] - baseline[seed] for seed in common])
    if len(arm) >= 2 and len(baseline) >= 2:
        return welch_difference(list(arm.values()), list(baseline.values()))
    if common:
        return Difference("none", 1, arm[common[0]] - baseline[common[0]])
    mean = math.fsum(arm.values()) / len(arm) - math.fsum(baseline.values()) / len(baseline)
    return Difference("none", 1, mean)


def paired_difference(differences: Sequence[float]) -> Difference:
    """Student's t of the differences, one a seed; two at least."""
    found = estimate(differences)
    assert found.error is not None
    p = _two_sided(found.mean, found.error, found.n - 1)
    return Difference("paired", found.n, found.mean, found.error, found.low, found.high, p)


def welch_difference(arm: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Welch's t test of two independent samples (Welch 1947), two values each at least."""
    one, other = estimate(arm), estimate(baseline)
    assert one.error is not None
    assert other.error is not None
    mean = one.mean - other.mean
    parts = (one.error**2, other.error**2)
    n = min(one.n, other.n)
    error = math.sqrt(sum(parts))
    if not error:
        return Difference("unpaired", n, mean, 0.0, mean, mean, _two_sided(mean, 0.0, 1))
    # Welch and Satterthwaite's degrees of freedom.
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / (one.n - 1) + parts[1] ** 2 / (other.n - 1))
    half = _quantile(degrees) * error
    p = _two_sided(mean, error, degrees)
    return Difference("unpaired", n, mean, error, mean - half, mean + half, p)


def pooled_ps(arms: Sequence[Mapping[int, float]], baseline: Mapping[int, float]) -> list[float]:
    """p of each arm's mean difference, were all of them and the baseline equally noisy.

    The noise is then what arm and seed leave unexplained of all values (randomized blocks, Fisher
    1935), with (arms - 1)(seeds - 1) degrees of freedom, the baseline counted as an arm: many
    more than a pair of arms has. Where one arm is noisier than others it is too sure of that one.

    Returns:
      One for each arm; none where they do not all have the same seeds, two or more.
    """
    seeds = list(baseline)
    if not arms or len(seeds) < 2 or any(set(arm) != set(seeds) for arm in arms):
        return []
    values = np.array([[arm[seed] for seed in seeds] for arm in (baseline, *arms)])
    of_arms = values.mean(axis=1, keepdims=True)
    left = values - of_arms - values.mean(axis=0, keepdims=True) + values.mean()
    degrees = (values.shape[0] - 1) * (values.shape[1] - 1)
    error = math.sqrt(float((left**2).sum()) / degrees * 2 / len(seeds))
    return [_two_sided(float(mean - of_arms[0, 0]), error, degrees) for mean in of_arms[1:, 0]]


def problem_difference(arm: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Of rates of the same problems: its error and interval are over problems, not seeds.

    Args:
      arm, baseline: a rate for each problem, in the same order.
    """
    differences = np.asarray(arm, np.float64) - np.asarray(baseline, np.float64)
    n = differences.size
    mean = math.fsum(differences) / n
    error = float(np.std(differences, ddof=1)) / math.sqrt(n) if n > 1 else None
    low, high = bootstrap_interval(differences.tolist())
    return Difference("problems", n, mean, error, low, high, sign_flip_p(differences))


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Probability of a sum as far from 0, had each difference either sign alike (Fisher 1935).

    Differences of one size are counted by the binomial distribution, which makes problems that
    are each right or wrong McNemar's exact test; few of several sizes are gone through whole,
    many are drawn, with a fixed seed.
    """
    values = np.asarray(differences, np.float64)
    values = values[values != 0]
    if not values.size:
        return 1.0
    sizes = np.abs(values)
    if np.ptp(sizes) <= 1e-12 * sizes[0]:
        return mcnemar_p(int((values > 0).sum()), int((values < 0).sum()))
    seen = abs(values.sum()) * (1 - 1e-12)
    if values.size <= _EXACT_FLIPS:
        bits = np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1
        return float((np.abs((2 * bits - 1) @ sizes) >= seen).mean())
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(_FLIPS // 1000):
        signs = generator.integers(0, 2, (1000, values.size)) * 2 - 1
        hits += int((np.abs(signs @ sizes) >= seen).sum())
    # The arrangement that was seen is one of those that could be (Phipson & Smyth 2010).
    return (hits + 1) / (_FLIPS + 1)


def mcnemar_p(only_arm: int, only_baseline: int) -> float:
    """Exact two-sided test of McNemar (1947).

    Args:
      only_arm: problems that the arm alone passed.
      only_baseline: that the baseline alone passed.
    """
    discordant = only_arm + only_baseline
    return float(stats.binomtest(only_arm, discordant).pvalue) if discordant else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values: those below 0.05 are wrong together in 5 % at most (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def verdict(
    difference: Difference, adjusted_p: float | None, better: Literal["lower", "higher"]
) -> Verdict:
    """In a word.

    Args:
      difference: of the arm to the baseline.
      adjusted_p: Holm's; None: nothing can be said.
      better: which end of the metric is good.
    """
    if adjusted_p is None or adjusted_p >= LEVEL or not difference.mean:
        return "cannot tell"
    return "better" if (difference.mean < 0) == (better == "lower") else "worse"


def _quantile(degrees: float) -> float:
    return float(stats.t.ppf(1 - LEVEL / 2, degrees))


def _two_sided(mean: float, error: float, degrees: float) -> float:
    if not error:
        # Every pair differs by the same.
        return 0.0 if mean else 1.0
    return float(2 * stats.t.sf(abs(mean) / error, degrees))
