"""What a plan costs: shared stages once, certain misfits certain, and the real TPU compiler."""

import dataclasses
import json
import os
from typing import Any

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.precompilation.chips import chips
from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, PlannedStage
from opencoder_jax.sweep.planning.price_table import price_table
from opencoder_jax.sweep.planning.pricing import TRAIN, Wanted, price
from opencoder_jax.training.facts import training_facts
from tests.opencoder_jax.training_settings import settings_for

PEAK = chips()["v5e"].bf16_flops
CORPUS = "corpus-0123456789ab"
ONE_CHIP = ["sharding.MeshConfig.fsdp=1", "sharding.MeshConfig.virtual_cpu_devices=0"]
# The demo's model at its learning rates, one program.
RATE = ["TRAIN_STEPS=100", *ONE_CHIP, "BATCH_SIZE=8"]
RATES = {
    "low": [*RATE, "schedules.WarmupStable.peak=1e-3"],
    "high": [*RATE, "schedules.WarmupStable.peak=2e-3"],
}


def trained(name: str, bindings: list[str], gin_file: str = "pretrain/demo.gin") -> PlannedStage:
    facts = training_facts(**settings_for(training_facts, [gin_file], bindings))
    places = ("MODEL_DIR", "TOKENIZER_DIR", "PACKED_DIR")
    return PlannedStage(
        key=f"pretrain-{name}",
        stage="pretrain",
        command=TRAIN,
        words=[
            f"--gin_file={gin_file}",
            *(f"--gin.{binding}" for binding in bindings),
            *(f"--gin.{place}={{output}}" for place in places),
        ],
        inputs=[CORPUS],
        facts=json.loads(json.dumps(facts)),
    )


def planned(folder: Any, *stages: PlannedStage, arms: dict[str, str] | None = None) -> Plan:
    """A run for each stage, called as in its key; or `arms`, arm to a stage's key."""
    arms = arms or {stage.key.removeprefix("pretrain-"): stage.key for stage in stages}
    corpus = PlannedStage(CORPUS, "corpus", "beam_pipelines.refinecode")
    return Plan(
        folder=f"{folder}/sweep",
        name="rates",
        title="Which rate?",
        baseline=next(iter(arms)),
        seeds=(0,),
        metrics=(Metric("pretrain", "loss"),),
        runs=[PlannedRun(a, 0, {"corpus": CORPUS, "pretrain": key}) for a, key in arms.items()],
        stages={stage.key: stage for stage in (corpus, *stages)},
    )


@pytest.fixture(scope="module")
def rates() -> list[PlannedStage]:
    return [trained(name, bindings) for name, bindings in RATES.items()]


def test_chip_hours_are_operations_over_the_peak_at_the_mfu_asked_for(tmp_path, rates):
    priced = price(planned(tmp_path, *rates), Wanted(chip="v5e", mfu=0.25, price=2.0))
    stage = priced.stages["pretrain-low"]
    assert stage.chip_hours == pytest.approx(rates[0].facts["flops"] / PEAK / 0.25 / 3600)
    assert stage.least_chip_hours == pytest.approx(stage.chip_hours / 4)
    assert (stage.fits, stage.chips, stage.compiled) == ("may", 1, False)
    assert stage.hours == stage.chip_hours
    assert priced.misfits == []


def test_a_shared_stage_is_paid_once(tmp_path, rates):
    arms = {"plain": "pretrain-low", "changed later": "pretrain-low"}
    priced = price(planned(tmp_path, rates[0], arms=arms), Wanted(chip="v5e", price=3.0))
    lines = price_table(priced).splitlines()
    assert lines[2].split() == ["changed", "later", "pretrain", "as", "plain"]
    hours = priced.stages["pretrain-low"].chip_hours
    once, apart = lines[4:6]
    assert once.startswith("1 training stage(s) of 2 run(s), each once: ")
    assert once.endswith(f"{hours:.3g} chip-hours, cost {3 * hours:.3g}")
    assert apart.endswith(f"{2 * hours:.3g} chip-hours, cost {6 * hours:.3g}")
    assert lines[-1] == "without figures: corpus"


def test_on_cpus_hours_follow_from_a_measured_speed(tmp_path, rates):
    priced = price(planned(tmp_path, *rates), Wanted(tokens_per_second=4000))
    stage = priced.stages["pretrain-low"]
    assert stage.hours == pytest.approx(100 * 8 * 512 / 4000 / 3600)
    assert (stage.fits, stage.chip_hours) == ("unknown", None)
    table = price_table(priced)
    assert f"{2 * stage.hours:.3g} hours, one run at a time" in table
    assert "give --topology=v5e-256 or --chip=v5e" in table


def test_more_than_a_chip_has_for_the_state_alone_certainly_does_not_fit(tmp_path):
    mesh = [f"sharding.MeshConfig.{axis}={size}" for axis, size in (("data", 8), ("fsdp", 2))]
    large = trained("large", mesh, "pretrain/opencoder_1b5.gin")
    few = price(planned(tmp_path, large), Wanted(chip="v5e"))
    # Parameters and two moments in float32, gradients in bfloat16.
    needed = 14 * large.facts["parameters"] / 2 / 2**30
    assert few.misfits == []
    one_chip = [f"sharding.MeshConfig.{axis}=1" for axis in ("data", "fsdp")]
    one = trained("large", one_chip, "pretrain/opencoder_1b5.gin")
    alone = price(planned(tmp_path, one), Wanted(chip="v5e", price=1.0))
    (line,) = alone.misfits
    assert line.startswith("arm large, stage pretrain: does not fit v5e: parameters, optimizer ")
    assert f"are {2 * needed:.2f} GiB of a device's 15.75 GiB" in line
    assert f"{2 * needed - 15.75:.2f} GiB too much" in line
    assert " NO " in price_table(alone)


def test_a_mesh_that_takes_all_there_is_is_not_priced_by_its_chips(tmp_path):
    bindings = [*RATE, "sharding.MeshConfig.fsdp=-1"]
    priced = price(planned(tmp_path, trained("open", bindings)), Wanted(chip="v5e"))
    stage = priced.stages["pretrain-open"]
    assert (stage.chips, stage.hours) == (None, None)
    assert stage.chip_hours
    assert " any " in price_table(priced)


def test_what_a_sum_leaves_out_is_told(tmp_path, rates):
    facts = rates[1].facts | {"devices": None}
    opened = dataclasses.replace(rates[1], facts=facts)
    wanted = Wanted(chip="v5e", tokens_per_second=4000)
    mixed = price_table(price(planned(tmp_path, rates[0], opened), wanted))
    assert " chip-hours, 1 stage(s) without chip-hours not counted" in mixed
    alone = price_table(price(planned(tmp_path, opened), wanted))
    assert " hours, one run at a time\n" in alone


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"chip": "v9"}, "chip is 'v9', expected one of v4, v5e"),
        ({"chip": "v5e", "topology": "v5e-16"}, "both given"),
        ({"topology": "v5e-17"}, "the number counts chips"),
        ({"chip": "v5e", "num_slices": 2}, "num_slices is of a topology"),
        ({"mfu": 40}, "mfu is 40, expected a share"),
        ({"price": 0.0}, "price is 0.0, expected more than 0"),
    ],
)
def test_impossible_prices_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        Wanted(**changes)


def test_a_plan_without_facts_is_refused(tmp_path, rates):
    without = dataclasses.replace(rates[0], facts={})
    with pytest.raises(InputError, match="pretrain-low of the plan has no facts"):
        price(planned(tmp_path, without), Wanted(chip="v5e"))


@pytest.mark.slow
def test_each_program_is_compiled_once_and_only_what_fits_has_a_price(tmp_path, rates):
    pytest.importorskip("libtpu")
    huge = ["BATCH_SIZE=262144", "config.TransformerConfig.attention='dense'"]
    plan = planned(
        tmp_path,
        *rates,
        trained("huge", [*RATES["low"], *huge]),
        trained("two", [*RATES["low"], "sharding.MeshConfig.fsdp=2"]),
    )
    said: list[str] = []
    wanted = Wanted(topology="v5e:1x1", price=1.5)
    priced = price(plan, wanted, tmp_path / "programs", said.append)
    assert [line.partition(": ")[2] for line in said] == [
        *("pretrain of low", "pretrain of huge", "pretrain of two")
    ]
    low, high = (priced.stages[f"pretrain-{name}"] for name in ("low", "high"))
    assert low == high
    assert (low.fits, low.compiled, low.chips) == ("yes", True, 1)
    assert low.memory >= rates[0].facts["least_bytes"]
    assert 0 < low.least_chip_hours <= low.chip_hours
    # The bound of the compiled step is more than the model's operations at the peak.
    assert low.least_chip_hours > rates[0].facts["flops"] / PEAK / 3600
    too_large, other_mesh = priced.misfits
    assert too_large.startswith("arm huge, stage pretrain: does not fit v5e:1x1: its step needs ")
    assert "of a device's 15.75 GiB" in too_large
    assert other_mesh == (
        "arm two, stage pretrain: cannot run on v5e:1x1: mesh data=1, fsdp=2, tensor=1 needs 2 "
        "devices; there are 1"
    )
    assert priced.stages["pretrain-huge"].chip_hours is None
    table = price_table(priced)
    assert "2 stage(s) without chip-hours not counted" in table
    assert f"cost {3 * low.chip_hours:.3g}" in table

    # A second plan compiles nothing that the first one did; what could not run is tried again.
    said.clear()
    again = price(plan, wanted, tmp_path / "programs", said.append)
    assert again.stages == priced.stages
    assert len(said) == 1


def test_without_libtpu_it_is_no_misfit_of_an_arm(tmp_path, rates, monkeypatch):
    # In every process that starts from here, what is not to be found.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['libtpu'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(InputError, match="libtpu, the TPU's compiler, is not installed"):
        price(planned(tmp_path, *rates), Wanted(topology="v5e:1x1"))
