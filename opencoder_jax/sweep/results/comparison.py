"""Arms side by side: the mean of each over its seeds, its difference to the baseline, a verdict.

Seeds that share the stage a figure comes from gave it once, and count once. Verdicts of one
metric are corrected over the arms (Holm). A rate over problems is as unsure as the less sure of
seeds and problems has it; with one seed problems alone are asked, where there are any.
Next: `report` writes what stands here.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import TRAIN
from opencoder_jax.sweep.results import statistics
from opencoder_jax.sweep.results.measurements import Measured, RunFigures
from opencoder_jax.sweep.results.statistics import Difference, Estimate

BASELINE = "baseline"
SAME = "the same"
NO_RESULT = "no result"


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """One arm by one metric.

    Attributes:
      arm: its name.
      metric: by which.
      by_seed: a value for each seed that has its own.
      estimate: their mean; None without a value.
      interval: 95 % over problems, of an only seed.
      difference: to the baseline; None where one of them has no value.
      adjusted_p: Holm's, over the arms.
      pooled_p: Holm's too, were all arms equally noisy; a hint that decides nothing.
      verdict: `better`, `worse`, `cannot tell`, or `baseline`, `the same` (nothing differs from
        the baseline), `no result`.
      reason: why it cannot be told, and what the verdict leaves out; may be empty.
      like: the arm that does the very same under another name.
      order_shared: whether its batches are the baseline's, seed by seed; None: unknown.
    """

    arm: str
    metric: Metric
    by_seed: Mapping[int, float]
    estimate: Estimate | None
    interval: tuple[float, float] | None = None
    difference: Difference | None = None
    adjusted_p: float | None = None
    pooled_p: float | None = None
    verdict: str = NO_RESULT
    reason: str = ""
    like: str | None = None
    order_shared: bool | None = None

    @property
    def words(self) -> str:
        return f"{self.verdict} ({self.reason})" if self.reason else self.verdict


def compare(measured: Measured, metric: Metric) -> list[ArmResult]:
    """Every arm in the plan's order."""
    plan = measured.plan
    base_runs = _own(measured.of_arm(plan.baseline), metric)
    found = {arm: _arm(measured, arm, base_runs, metric) for arm in plan.arms}
    asked = [
        arm
        for arm, result in found.items()
        if result.difference is not None and result.difference.p is not None and not result.like
    ]
    ps = [p for arm in asked if (d := found[arm].difference) and (p := d.p) is not None]
    pooled: list[float] = []
    # Of rates over problems the noise is not of seeds alone.
    if not metric.of_problems:
        by_seed = [found[arm].by_seed for arm in asked]
        pooled = statistics.holm(statistics.pooled_ps(by_seed, found[plan.baseline].by_seed))
    for number, (arm, adjusted) in enumerate(zip(asked, statistics.holm(ps), strict=True)):
        pooled_p = pooled[number] if pooled else None
        found[arm] = _judged(found[arm], adjusted, pooled_p, len(asked))
    for arm, result in found.items():
        if result.like and result.like in found and result.verdict not in (BASELINE, SAME):
            other = found[result.like]
            found[arm] = dataclasses.replace(
                other, arm=arm, like=result.like, by_seed=result.by_seed
            )
    return list(found.values())


def figure_by_seed(runs: Sequence[RunFigures], stage: str, figure: str) -> dict[int, float]:
    """Of one arm's runs: seed to a finite figure of a stage, once for each of its folders."""
    values = {run.run.seed: run.stages[stage].values.get(figure) for run in _distinct(runs, stage)}
    return {seed: v for seed, v in values.items() if v is not None and math.isfinite(v)}


def _distinct(runs: Sequence[RunFigures], stage: str) -> list[RunFigures]:
    by_key: dict[str, RunFigures] = {}
    for run in runs:
        if stage in run.stages:
            by_key.setdefault(run.stages[stage].key, run)
    return list(by_key.values())


def _own(runs: Sequence[RunFigures], metric: Metric) -> dict[int, RunFigures]:
    """Seed to run, of those that have a value of their own."""
    distinct = _distinct(runs, metric.stage)
    return {run.run.seed: run for run in distinct if run.value(metric) is not None}


def _arm(
    measured: Measured, arm: str, base_runs: Mapping[int, RunFigures], metric: Metric
) -> ArmResult:
    plan = measured.plan
    all_runs = measured.of_arm(arm)
    runs = _own(all_runs, metric)
    by_seed = {seed: _value(run, metric) for seed, run in runs.items()}
    result = ArmResult(
        arm,
        metric,
        by_seed,
        statistics.estimate(_values(by_seed, metric)) if by_seed else None,
        interval=_interval(runs, metric),
        like=_like(all_runs),
    )
    if arm == plan.baseline:
        return dataclasses.replace(result, verdict=BASELINE, like=None)
    baseline = measured.of_arm(plan.baseline)
    if _same_stage(all_runs, baseline, metric.stage):
        reason = "" if result.like else f"does not change what {metric.stage} measures"
        return dataclasses.replace(result, verdict=SAME, reason=reason)
    result = dataclasses.replace(result, order_shared=_order_shared(all_runs, baseline))
    if not by_seed or not base_runs:
        reason = "" if base_runs else "no result of the baseline"
        if any(run.state == "failed" for run in all_runs):
            reason = "failed"
        return dataclasses.replace(result, reason=reason)
    base_by_seed = {seed: _value(run, metric) for seed, run in base_runs.items()}
    difference = statistics.seed_difference(by_seed, base_by_seed)
    both = {arm: by_seed, plan.baseline: base_by_seed}
    reasons = []
    over_problems = _over_problems(runs, base_runs, metric)
    if over_problems is not None and difference.pairing == "none":
        difference = over_problems
        reasons.append("one seed: over its problems alone")
    elif over_problems is not None:
        difference = _surer_of_neither(difference, over_problems)
    elif difference.pairing == "none":
        reasons.append("one seed")
    elif alike := [name for name, v in both.items() if _one_value(v)]:
        difference = Difference("none", 1, difference.mean)
        reasons.append(f"all seeds of {' and '.join(alike)} gave one value: one seed")
    reasons += _left_out(all_runs, baseline, metric)
    return dataclasses.replace(
        result, difference=difference, verdict="cannot tell", reason="; ".join(reasons)
    )


def _judged(result: ArmResult, adjusted: float, pooled: float | None, arms: int) -> ArmResult:
    difference = result.difference
    assert difference is not None
    verdict = statistics.verdict(difference, adjusted, result.metric.better)
    reasons = [result.reason] if result.reason else []
    if verdict == "cannot tell" and difference.mean:
        if difference.p is not None and difference.p < statistics.LEVEL:
            reasons.append(f"p {difference.p:.2g} alone, {adjusted:.2g} among {arms} arms")
        if pooled is not None and pooled < statistics.LEVEL:
            reasons.append(f"p {pooled:.2g} if all arms are equally noisy")
    return dataclasses.replace(
        result,
        adjusted_p=adjusted,
        pooled_p=pooled,
        verdict=verdict,
        reason="; ".join(reasons),
    )


def _over_problems(
    runs: Mapping[int, RunFigures], base_runs: Mapping[int, RunFigures], metric: Metric
) -> Difference | None:
    """Of the problems' rates, each the mean over seeds; None: the metric has no problems."""
    common = [seed for seed in base_runs if seed in runs]
    one = _problem_means([runs[s] for s in common] or list(runs.values()), metric)
    other = _problem_means([base_runs[s] for s in common] or list(base_runs.values()), metric)
    names = [name for name in other if name in one]
    if not names:
        return None
    return statistics.problem_difference([one[n] for n in names], [other[n] for n in names])


def _surer_of_neither(seeds: Difference, problems: Difference) -> Difference:
    """The difference over seeds, as unsure as the less sure of both: few problems of few seeds
    may well differ by the same in each."""
    assert problems.low is not None
    assert problems.high is not None
    assert seeds.low is not None
    assert seeds.high is not None
    return dataclasses.replace(
        seeds,
        error=max(seeds.error or 0.0, problems.error or 0.0),
        low=min(seeds.low, problems.low),
        high=max(seeds.high, problems.high),
        p=max(seeds.p or 0.0, problems.p or 0.0),
    )


def _problem_means(runs: Sequence[RunFigures], metric: Metric) -> dict[str, float]:
    found = []
    for run in runs:
        figure = run.figure(metric)
        found.append(run.stages[metric.stage].problems.get(figure or "", {}))
    names = [name for name in found[0] if all(name in rates for rates in found)] if found else []
    return {name: math.fsum(rates[name] for rates in found) / len(found) for name in names}


def _values(by_seed: Mapping[int, float], metric: Metric) -> list[float]:
    """One a seed; a single one where seeds change nothing. Rates may be equal by chance."""
    values = list(by_seed.values())
    return values[:1] if _one_value(by_seed) and not metric.of_problems else values


def _one_value(by_seed: Mapping[int, float]) -> bool:
    """Whether several seeds gave the very same: what they are bound to changes nothing, so they
    say no more of chance than one does."""
    return len(by_seed) > 1 and len(set(by_seed.values())) == 1


def _left_out(
    runs: Sequence[RunFigures], baseline: Sequence[RunFigures], metric: Metric
) -> list[str]:
    """Seeds that an arm or the baseline has no value of: those which are there may be the lucky
    ones, e.g. where a seed diverged."""
    told = {"failed": "failed", "unfinished": "not finished", "finished": "without a finite value"}
    states: dict[str, set[int]] = {state: set() for state in told}
    for run in (*runs, *baseline):
        if run.value(metric) is None:
            states[run.state].add(run.run.seed)
    number = len({run.run.seed for run in baseline})
    return [f"{len(seeds)} of {number} seeds {told[s]}" for s, seeds in states.items() if seeds]


def _interval(runs: Mapping[int, RunFigures], metric: Metric) -> tuple[float, float] | None:
    if len(runs) != 1:
        return None
    run = next(iter(runs.values()))
    return run.stages[metric.stage].intervals.get(run.figure(metric) or "")


def _value(run: RunFigures, metric: Metric) -> float:
    value = run.value(metric)
    assert value is not None
    return value


def _like(runs: Sequence[RunFigures]) -> str | None:
    names = {run.run.same_as for run in runs}
    return next(iter(names)) if len(names) == 1 else None


def _same_stage(runs: Sequence[RunFigures], baseline: Sequence[RunFigures], stage: str) -> bool:
    """Whether a stage is the baseline's with every seed."""
    keys = {(run.run.seed, run.run.stages.get(stage)) for run in baseline if stage in run.stages}
    return all((run.run.seed, run.run.stages.get(stage)) in keys for run in runs)


def _order_shared(runs: Sequence[RunFigures], baseline: Sequence[RunFigures]) -> bool | None:
    """Whether all training of an arm has the baseline's batches in their order."""
    by_seed = {run.run.seed: run for run in baseline}
    same: list[bool] = []
    for run in runs:
        base = by_seed.get(run.run.seed)
        if base is None:
            continue
        mine, others = ([s.data for s in r.stages.values() if s.data] for r in (run, base))
        if mine and others:
            same.append(mine == others)
    return all(same) if same else None


def trains(measured: Measured) -> list[str]:
    """Names of the stages that train, in order of need."""
    stages = measured.plan.stages.values()
    return list(dict.fromkeys(stage.stage for stage in stages if stage.command == TRAIN))
