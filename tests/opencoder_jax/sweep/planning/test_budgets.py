"""Budgets: each arm's steps follow from its own model and batches."""

import tempfile
from typing import Any

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import Arms, Budget, Metric, Stage, Sweep
from opencoder_jax.sweep.planning import budgets
from opencoder_jax.training.facts import training_facts
from tests.opencoder_jax.training_settings import settings_for

SMALL: list[str] = []
LARGE = ["config.TransformerConfig.emb_dim = 256", "config.TransformerConfig.num_layers = 8"]
WIDE_BATCH = ["BATCH_SIZE = 8"]
ARMS = {"small": SMALL, "large": LARGE, "wide": WIDE_BATCH}


def sweep(*budget: Budget) -> Sweep:
    return Sweep(
        name="sizes",
        title="Which size?",
        stages=[Stage("pretrain", "opencoder_jax.train"), Stage("other", "opencoder_jax.evaluate")],
        arms=Arms({name: {"pretrain": lines} for name, lines in ARMS.items()}),
        metrics=[Metric("pretrain", "loss")],
        budget=budget,
    )


# Leaves the steps open; the schedule ends with them, and stages may be bound.
GIN = """
from __gin__ import dynamic_registration
from opencoder_jax.data import batches
from opencoder_jax.training import schedules
include 'pretrain/base.gin'
include 'train/demo.gin'
SCHEDULE = @schedules.WarmupStableDecay()
schedules.WarmupStable.warmup_steps = 20
schedules.WarmupStableDecay:
  stable = @schedules.WarmupStable()
  final = 1e-5
  decay_steps = 20
  total_steps = %TRAIN_STEPS
train/batches.DatasetStage:
  steps = 10
  dataset = @train/batches.DatasetConfig()
"""


def facts_with(lines: list[str], steps: str) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".gin") as file:
        staged = any("DatasetStage" in line for line in lines)
        file.write(GIN if staged else GIN[: GIN.index("train/batches.DatasetStage")])
        file.flush()
        return training_facts(**settings_for(training_facts, [file.name], [*lines, steps]))


def probed(budget: Budget, **arms: list[str]) -> dict[tuple[str, int, str], Any]:
    # Their first steps are the probe's: a gin file need not say any.
    return {
        (arm, 0, "pretrain"): facts_with(lines, budgets.probe(budget))
        for arm, lines in arms.items()
    }


def test_tokens_are_the_same_whatever_the_batch():
    budget = Budget("pretrain", tokens=1_000_000)
    facts = probed(budget, **ARMS)
    bindings, notes = budgets.budget_bindings(sweep(budget), facts, {})
    assert bindings == {
        ("small", 0, "pretrain"): "TRAIN_STEPS=977",
        ("large", 0, "pretrain"): "TRAIN_STEPS=977",
        ("wide", 0, "pretrain"): "TRAIN_STEPS=244",
    }
    assert notes == [
        "pretrain: 1e+06 tokens are 976.56 steps of 1,024; 977 steps, +0.045% (small, large)",
        "pretrain: 1e+06 tokens are 244.14 steps of 4,096; 244 steps, -0.058% (wide)",
    ]


def test_flops_are_the_same_whatever_the_model():
    budget = Budget("pretrain", flops=1e13)
    bindings, _ = budgets.budget_bindings(sweep(budget), probed(budget, **ARMS), {})
    resolved = {arm: facts_with(lines, bindings[arm, 0, "pretrain"]) for arm, lines in ARMS.items()}
    for told in resolved.values():
        assert told["flops"] == pytest.approx(1e13, rel=0.005)
    assert resolved["large"]["parameters"] > 2 * resolved["small"]["parameters"]
    assert resolved["large"]["steps"] < resolved["small"]["steps"] / 2


def test_a_budget_of_few_steps_warns_of_its_rounding():
    budget = Budget("pretrain", tokens=1500)
    _, notes = budgets.budget_bindings(sweep(budget), probed(budget, small=SMALL), {})
    assert notes == [
        "WARNING: pretrain: 1500 tokens are 1.46 steps of 1,024; 1 steps, -31.733% (small)"
    ]


def test_what_a_budget_cannot_be_of_is_told_in_one_message():
    wrong = [
        Budget("pretrain", tokens=1e6),
        Budget("pretrain", flops=1e6),
        Budget("train", tokens=1e6),
        Budget("other", tokens=1e6),
    ]
    changes = {"short": {"pretrain": ["TRAIN_STEPS = 5"]}, "plain": {"pretrain": ["X=TRAIN_STEPS"]}}
    with pytest.raises(InputError) as raised:
        budgets.budget_bindings(sweep(*wrong), {("small", 0, "other"): {}}, changes)
    assert str(raised.value).splitlines() == [
        "budget of 'pretrain': the stage has several",
        "arm 'short' sets TRAIN_STEPS of 'pretrain', which the budget sets too: leave out one of "
        "them",
        "budget of 'train': stages are pretrain, other",
        "budget of 'other': it is no stage of opencoder_jax.train",
    ]


def test_stages_of_a_dataset_have_steps_of_their_own():
    budget = Budget("pretrain", tokens=1e6)
    stages = ["train.train_dataset_cfg = [@train/batches.DatasetStage()]"]
    with pytest.raises(InputError, match="a budget cannot set the steps of stages"):
        probed(budget, staged=stages)
