"""What a plan allows and its author probably did not mean."""

import ast
import collections
import contextlib
import re
from collections.abc import Iterator
from typing import Any

from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import EVALUATE, TRAIN, Plan, PlannedStage
from opencoder_jax.sweep.planning.expansion import some

# Arms whose tokens differ by a larger share are told.
_SAME_TOKENS = 0.02
_HELDOUT = "train_eval_dataset_cfg"
# What reports know of a stage's figures (`results.measurements`).
_MEASURES = {
    TRAIN: r"(heldout_)?loss|heldout_bits_per_byte(/.*)?|tokens|tokens_per_second|mfu|steps"
    r"|skipped_steps|parameters|flops",
    EVALUATE: r"bits_per_byte|pass@[1-9][0-9]*",
}


def odd(plan: Plan) -> list[str]:
    """Lines for people, each about something that would cost chips and tell nothing."""
    found = list(_blind_metrics(plan))
    if len(plan.seeds) < 2:
        found.append("one seed: the report cannot tell a difference from chance; give three")
    for arm in plan.arms:
        runs = [run for run in plan.runs if run.arm == arm]
        if len(runs) > 1 and all(run.stages == runs[0].stages for run in runs):
            found.append(f"arm {arm}: no stage that it runs has a seed, so all seeds are one run")
    totals = {
        run.arm: sum(plan.stages[key].facts.get("tokens", 0) for key in set(run.stages.values()))
        for run in plan.runs
        if run.seed == plan.seeds[0]
    }
    if max(totals.values()) > (1 + _SAME_TOKENS) * min(totals.values()):
        arms_of: dict[str, list[str]] = collections.defaultdict(list)
        for arm, total in totals.items():
            arms_of[f"{total:.3g}"].append(arm)
        amounts = "; ".join(f"{some(arms)}: {total}" for total, arms in arms_of.items())
        found.append(f"arms train on different numbers of tokens ({amounts})")
    same: dict[str, list[str]] = collections.defaultdict(list)
    for run in plan.runs:
        if run.same_as and run.seed == plan.seeds[0]:
            same[run.same_as].append(run.arm)
    for other, arms in same.items():
        found.append(f"the same as arm {other}, and run once with it: {some(arms)}")
    return found


def _blind_metrics(plan: Plan) -> Iterator[str]:
    """Metrics that no arm, or not every arm, will have a figure of."""
    for metric in plan.metrics:
        arms_of: dict[str, list[str]] = collections.defaultdict(list)
        for run in plan.runs:
            key = run.stages.get(metric.stage)
            if run.seed != plan.seeds[0]:
                continue
            if key is None:
                arms_of["does not run that stage"].append(run.arm)
            elif why := _unmeasured(metric, plan.stages[key]):
                arms_of[why].append(run.arm)
        for why, arms in arms_of.items():
            yield f"{some(arms)} will have no figure for the metric {metric.title!r}: {why}"


def _unmeasured(metric: Metric, stage: PlannedStage) -> str:
    """Why a stage will not measure a metric; empty where it will, or where nobody can know."""
    known = _MEASURES.get(stage.command)
    if known and not re.fullmatch(known, metric.measure):
        return f"{stage.command} has no measure {metric.measure!r}"
    if stage.command == TRAIN and metric.measure.startswith("heldout_"):
        steps, data = (stage.bindings.get(f"train.{n}") for n in ("eval_steps", _HELDOUT))
        if steps == "0" or data == "None":
            return f"train.eval_steps is {steps}, train.{_HELDOUT} {data}"
    if stage.command == EVALUATE and metric.measure == "bits_per_byte":
        sets = [name for value in _literals(stage, ".sets") for name in value]
        if (metric.of or "").partition("/")[0] not in sets:
            return f"the packed sets that it measures are {', '.join(sets) or 'none'}"
    if stage.command == EVALUATE and metric.of_problems:
        for value in _literals(stage, ".run.k"):
            ks = value.split(",") if isinstance(value, str) else map(str, value)
            if metric.measure.removeprefix("pass@") not in [k.strip() for k in ks]:
                return f"evaluate.run.k is {value}"
    return ""


def _literals(stage: PlannedStage, end: str) -> Iterator[Any]:
    """Values of the settings whose names end so."""
    for name, text in stage.bindings.items():
        if name.endswith(end):
            with contextlib.suppress(ValueError, SyntaxError):  # A reference is none.
                yield ast.literal_eval(text)
