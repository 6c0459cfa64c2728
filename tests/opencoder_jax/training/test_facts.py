"""Facts of a configuration: they are what training then does, and they need nothing but it."""

import dataclasses
import json
import math
import subprocess
import sys

import jax
import pytest

from opencoder_jax import configuration, sharding
from opencoder_jax.configuration.command import ANSWERS_NAME, REQUESTS_NAME
from opencoder_jax.data.batches import DatasetConfig, DatasetStage
from opencoder_jax.errors import InputError
from opencoder_jax.model.loading import load_model
from opencoder_jax.train import train
from opencoder_jax.training import facts as facts_module
from opencoder_jax.training import flops, optimizers, schedules, step
from opencoder_jax.training.checkpoints import RestoreCheckpointConfig
from opencoder_jax.training.facts import training_facts
from opencoder_jax.training.metrics import read_metrics
from opencoder_jax.training.spikes import SpikeConfig
from tests.opencoder_jax import small_run
from tests.opencoder_jax.training import small
from tests.opencoder_jax.training_settings import settings_for


def dataset(batch_size: int = 8, length: int = 16) -> DatasetConfig:
    return DatasetConfig({"x": 1.0}, "nowhere", {"targets": length}, "train", batch_size, 0)


SETTINGS = {
    "model": small.MODEL,
    "mesh": sharding.MeshConfig(data=1, fsdp=2, tensor=1),
    "optimizer": optimizers.AdamW(),
    "schedule": schedules.WarmupStable(peak=1e-2, warmup_steps=2),
    "train_steps": 10,
    "z_loss": 0.0,
    "loss_chunk_length": 8,
    "train_dataset_cfg": dataset(),
}


def facts(**changes):
    return training_facts(**{**SETTINGS, **changes})


@pytest.fixture(autouse=True)
def nothing_lowered_yet(monkeypatch):
    monkeypatch.setattr(facts_module, "_lowered", {})


def test_facts_are_what_a_run_then_logs(tmp_path):
    mesh = "--gin.sharding.MeshConfig."
    flags = small_run.flags(
        f"--gin.MODEL_DIR={tmp_path}/run",
        *(f"{mesh}virtual_cpu_devices=8", f"{mesh}data=4", "--gin.BATCH_SIZE=8"),
        steps=3,
        save_period=3,
    )
    given = [flag.removeprefix("--gin.") for flag in flags if flag.startswith("--gin.")]
    bindings = [binding for binding in given if "_DIR" not in binding]
    told = training_facts(**settings_for(training_facts, ["pretrain/demo.gin"], bindings))
    assert configuration.main(train, flags) == 0
    last = read_metrics(tmp_path / "run" / "train")[-1]
    assert told["tokens"] == last["tokens_seen"]
    assert told["steps"] == last["step"]

    loaded = load_model(tmp_path / "run")
    numbers = sum(array.size for array in jax.tree.leaves(loaded.params))
    assert told["parameters"] == numbers
    assert told["devices"] == 8


def test_the_paper_s_pretraining():
    told = training_facts(**settings_for(training_facts, ["pretrain/opencoder_1b5.gin"]))
    assert told["tokens"] == pytest.approx(2e12, rel=1e-4)
    assert (told["devices"], told["lowered"]) == (256, True)


def test_state_bytes_are_those_of_the_arrays():
    told = facts()
    config = step.StepConfig(small.MODEL, SETTINGS["optimizer"], SETTINGS["schedule"])
    where = small.placement(fsdp=2)
    with where.activate():
        state = step.init_state(config, where, seed=0)
    first = jax.devices()[0]
    on_device = sum(
        shard.data.nbytes
        for array in jax.tree.leaves(state)
        for shard in array.addressable_shards
        if shard.device == first
    )
    assert told["state_bytes"] == on_device
    assert told["least_bytes"] > on_device


def test_flops_count_every_stage_with_its_own_length():
    stages = [DatasetStage(4, dataset(8, 16)), DatasetStage(6, dataset(4, 32))]
    told = facts(train_dataset_cfg=stages)
    assert told["batches"] == [[4, 8, 16], [6, 4, 32]]
    assert told["tokens"] == 4 * 8 * 16 + 6 * 4 * 32
    of_stages = [n * b * s * flops.token_flops(small.MODEL, s).total for n, b, s in told["batches"]]
    assert told["flops"] == pytest.approx(math.fsum(of_stages))


def test_a_phase_that_goes_on_in_the_stages_of_another_ends_where_they_end():
    stages = [DatasetStage(4, dataset(8, 16)), DatasetStage(6, dataset(4, 32))]
    more = {"train_dataset_cfg": stages, "train_steps": 7}
    assert facts(**more)["batches"] == [[4, 8, 16], [3, 4, 32]]
    restore = RestoreCheckpointConfig("x", restore_optimizer=True)
    assert facts(**more, restore_checkpoint_cfg=restore)["batches"] == [[1, 8, 16], [6, 4, 32]]


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": schedules.WarmupStable(peak=1e-3, warmup_steps=9)},
        {"optimizer": optimizers.AdamW(b2=0.9, weight_decay=0.3)},
        {"train_steps": 7},
        {"model": small.MODEL.replace(rope_theta=5e5)},
        {"train_dataset_cfg": dataclasses.replace(dataset(), seed=1, packed_dir="elsewhere")},
    ],
)
def test_numbers_alone_make_no_other_program(changes):
    assert facts(**changes)["program"] == facts()["program"]
    assert len(facts_module._lowered) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": schedules.WarmupCosine(peak=1e-2, warmup_steps=2, total_steps=10)},
        {"optimizer": optimizers.AdamW(weight_decay=0.0)},
        {"optimizer": optimizers.AdamW(moment_dtype="bfloat16")},
        {"optimizer": optimizers.Muon(optimizers.AdamW())},
        {"z_loss": 1e-4},
        {"spikes": SpikeConfig()},
        {"model": small.MODEL.replace(num_layers=3)},
        {"model": small.MODEL.replace(remat_policy="full")},
        {"num_microbatches": 2},
        {"loss_chunk_length": 16},
        {"mesh": sharding.MeshConfig(data=2, fsdp=1, tensor=1)},
        {"train_dataset_cfg": dataset(batch_size=16)},
    ],
)
def test_what_is_compiled_differently_is_another_program(changes):
    assert facts(**changes)["program"] != facts()["program"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mesh": sharding.MeshConfig(data=1, fsdp=3)}, "into 3 parts, which does not divide"),
        ({"train_dataset_cfg": dataset(batch_size=7)}, "does not divide its length 7"),
        ({"train_dataset_cfg": dataset(length=128)}, "the model's max_length is 64"),
        ({"num_microbatches": 3}, "num_microbatches 3 does not divide the batch size 8"),
        ({"loss_chunk_length": 0}, "loss_chunk_length is 0"),
        ({"train_steps": 0}, "train_steps is 0"),
        ({"train_dataset_cfg": dataset(batch_size=0)}, "batch_size is 0"),
        (
            {"train_dataset_cfg": dataclasses.replace(dataset(), task_feature_lengths={"x": 1})},
            "with the sequence length S",
        ),
        (
            {"train_dataset_cfg": [DatasetStage(9, dataset())]},
            "have 9 steps, train_steps is 10",
        ),
        (
            {"mesh": sharding.MeshConfig(data=1, fsdp=2, virtual_cpu_devices=4)},
            "needs 2 devices; there are 4",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(changes, says):
    with pytest.raises(InputError, match=says):
        facts(**changes)


def test_a_mesh_that_takes_all_devices_is_counted_on_one(monkeypatch):
    told = facts(mesh=sharding.MeshConfig(data=1, fsdp=-1, tensor=2))
    assert (told["devices"], told["mesh"]) == (None, {"data": 1, "fsdp": 1, "tensor": 2})


@pytest.mark.parametrize("attention", ["splash", "cudnn", "blocked", "auto"])
def test_a_kernel_is_checked_for_the_devices_that_have_it(attention):
    model = small.MODEL.replace(attention=attention, dtype="bfloat16")
    # To trace cuDNN's takes cuDNN: there the sizes are checked alone.
    assert facts(model=model)["lowered"] == (attention != "cudnn")


def test_a_kernel_that_the_cpu_lacks_is_told_where_the_run_is_for_the_cpu():
    mesh = sharding.MeshConfig(data=1, fsdp=2, virtual_cpu_devices=2)
    with pytest.raises(InputError, match="attention='splash' runs on TPUs, this program is for"):
        facts(model=small.MODEL.replace(attention="splash"), mesh=mesh)


def test_of_many_programs_the_sizes_are_checked_alone(monkeypatch):
    monkeypatch.setattr(facts_module, "MAX_LOWERED", 1)
    assert facts()["lowered"]
    other = small.MODEL.replace(num_layers=3)
    assert not facts(model=other)["lowered"]
    assert facts()["lowered"]
    with pytest.raises(InputError, match="does not divide its length 7"):
        facts(model=other, train_dataset_cfg=dataset(batch_size=7))


@pytest.mark.slow  # seqio: ten seconds.
def test_the_command_tells_them_of_arms_that_give_one_mixture_several_rates(tmp_path):
    rates = [{"refinecode": 9.0, "more": rate} for rate in (1.0, 2.0, -1.0, 3.0)]
    places = ("MODEL_DIR", "TOKENIZER_DIR", "PACKED_DIR", "INITIAL_CHECKPOINT_PATH")
    requests = [
        [
            "--gin_file=anneal/demo.gin",
            *(f"--gin.{place}=unset" for place in places),
            f"--gin.mixtures.register_mixture.rates={rate}",
        ]
        for rate in rates
    ]
    (tmp_path / REQUESTS_NAME).write_text(json.dumps(requests))
    command = [sys.executable, "-m", "opencoder_jax.train", f"--resolve={tmp_path}"]
    subprocess.run(command, check=True)
    one, two, wrong, three = json.loads((tmp_path / ANSWERS_NAME).read_text())
    assert one["facts"] == two["facts"] == three["facts"]
    assert (one["facts"]["steps"], one["facts"]["tokens"]) == (100, 100 * 2 * 512)
    assert "expected positive numbers" in wrong["error"]
