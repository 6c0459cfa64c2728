"""pass@k and how sure it is.

The estimator of Chen et al. 2021 for each problem, their mean over the problems, and a 95 %
interval over the problems: Wilson's (1927) where each problem is right or wrong (one answer
each), else the percentiles of 10,000 resamplings of the problems, seeded, so that the same
verdicts give the same digits. Answers whose program could not be run (`skipped`) are not
counted as failures: a problem all of whose answers were skipped is left out and told.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

PASSED = "passed"
SKIPPED = "skipped"
# Two-sided 95 % of a normal distribution.
_Z = 1.959964
_RESAMPLES = 10_000


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Unbiased estimate that at least one of `k` samples passes (Chen et al. 2021, §2.1).

    Args:
      samples: how many answers of one problem were judged.
      passed: how many of them passed.

    Raises:
      ValueError: fewer samples than `k`, or counts that cannot be.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {passed} passed among {samples} samples")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def wilson_interval(rate: float, trials: int) -> tuple[float, float]:
    """95 % interval of a share of `trials` that are each right or wrong (Wilson 1927)."""
    spread = _Z**2 / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of one value a problem (Efron 1979)."""
    array = np.asarray(values, np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(_RESAMPLES)
    # A thousand at a time: 10,000 draws of 10,000 problems would be 800 MB.
    for start in range(0, _RESAMPLES, 1000):
        rows = generator.integers(0, array.size, (1000, array.size))
        means[start : start + 1000] = array[rows].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def summary(verdicts: Iterable[Mapping[str, Any]], ks: Sequence[int]) -> dict[str, Any]:
    """Rates of one group of samples.

    Args:
      verdicts: rows with `task_id` and `verdict`.
      ks: the k of pass@k.

    Returns:
      `problems`, `skipped_problems`, `samples`, `passed_samples`, `verdicts`, and for each k
      `pass_at_k` and `pass_at_k_interval` (absent where no problem has k judged answers),
      `interval` (its kind).
    """
    judged: collections.Counter[str] = collections.Counter()
    passed: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    for row in verdicts:
        kinds[row["verdict"]] += 1
        judged[row["task_id"]] += row["verdict"] != SKIPPED
        passed[row["task_id"]] += row["verdict"] == PASSED
    found: dict[str, Any] = {
        "problems": len(judged),
        "skipped_problems": sum(count == 0 for count in judged.values()),
        "samples": kinds.total(),
        "passed_samples": kinds[PASSED],
        "verdicts": dict(sorted(kinds.items())),
    }
    for k in ks:
        counts = [(n, passed[name]) for name, n in judged.items() if n >= k]
        if not counts:
            continue
        rates = [pass_at_k(n, right, k) for n, right in counts]
        rate = math.fsum(rates) / len(rates)
        single = k == 1 and all(n == 1 for n, _ in counts)
        interval = wilson_interval(rate, len(rates)) if single else bootstrap_interval(rates)
        found[f"pass_at_{k}"] = rate
        found[f"pass_at_{k}_interval"] = list(interval)
        found["interval"] = "Wilson" if single else "bootstrap"
    return found


def scores(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> dict[str, Any]:
    """All rates of one benchmark: in total, for each language, for each subset.

    Args:
      rows: samples with `task_id`, `verdict`, `language` and `subset`.

    Returns:
      `summary` of all, with `languages` and `subsets` (name to summary) where there are
      several, and `mean_of_languages` of pass@k then, as Table 8 of the paper has it.
    """
    found = summary(rows, ks)
    for title, key in (("languages", "language"), ("subsets", "subset")):
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row[key]:
                groups.setdefault(row[key], []).append(row)
        if len(groups) > 1:
            found[title] = {name: summary(group, ks) for name, group in sorted(groups.items())}
    if "languages" in found:
        means = {}
        for k in ks:
            rates = [s[f"pass_at_{k}"] for s in found["languages"].values() if f"pass_at_{k}" in s]
            if rates:
                means[f"pass_at_{k}"] = math.fsum(rates) / len(rates)
        found["mean_of_languages"] = means
    return found
