"""What a plan allows and its author probably did not mean."""

import pytest

from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, PlannedStage
from opencoder_jax.sweep.planning.oddities import odd


def lines(metric: Metric, **stages: PlannedStage) -> list[str]:
    plan = Plan(
        folder="x",
        name="x",
        title="?",
        baseline="a",
        seeds=(0, 1),
        metrics=(metric,),
        runs=tuple(
            PlannedRun(arm, seed, {stage.stage: f"{stage.key}-{seed}"})
            for arm, stage in stages.items()
            for seed in (0, 1)
        ),
        stages={f"{stage.key}-{s}": stage for stage in stages.values() for s in (0, 1)},
    )
    return odd(plan)


def evaluation(**bindings: str) -> PlannedStage:
    return PlannedStage("e", "evaluate", "opencoder_jax.evaluate", bindings=bindings)


def training(**bindings: str) -> PlannedStage:
    return PlannedStage("t", "train", "opencoder_jax.train", bindings=bindings)


SETS = {"evaluate.tasks[0].sets": "['heldout', 'refinecode']"}


@pytest.mark.parametrize(
    ("metric", "stage", "why"),
    [
        (Metric("evaluate", "bits_per_byte", "heldout/python"), evaluation(**SETS), ""),
        (
            Metric("evaluate", "bits_per_byte", "held_out"),
            evaluation(**SETS),
            "the packed sets that it measures are heldout, refinecode",
        ),
        (Metric("evaluate", "bits_per_byte", "a"), evaluation(), "measures are none"),
        (Metric("evaluate", "pass@1", "x"), evaluation(**{"evaluate.run.k": "[1]"}), ""),
        (Metric("evaluate", "pass@10", "x"), evaluation(**{"evaluate.run.k": "'1, 10'"}), ""),
        (
            Metric("evaluate", "pass@10", "x"),
            evaluation(**{"evaluate.run.k": "[1]"}),
            "evaluate.run.k is [1]",
        ),
        (Metric("train", "heldout_loss"), training(**{"train.eval_steps": "3"}), ""),
        (Metric("train", "loss"), training(**{"train.eval_steps": "0"}), ""),
        (
            Metric("train", "heldout_loss"),
            training(**{"train.eval_steps": "0"}),
            "train.eval_steps is 0",
        ),
        (Metric("other", "loss"), training(), "does not run that stage"),
        (
            Metric("evaluate", "bits_per_bite", "heldout"),
            evaluation(**SETS),
            "opencoder_jax.evaluate has no measure 'bits_per_bite'",
        ),
        (Metric("evaluate", "loss"), evaluation(**SETS), "has no measure 'loss'"),
        (Metric("train", "held_out_loss"), training(), "has no measure 'held_out_loss'"),
        (Metric("train", "heldout_bits_per_byte/c"), training(**{"train.eval_steps": "3"}), ""),
    ],
)
def test_metrics_that_will_have_no_figure(metric, stage, why):
    found = lines(metric, one=stage, two=stage)
    if why:
        [line] = found
        assert line.startswith("arms one, two will have no figure for the metric ")
        assert why in line
    else:
        assert found == []
