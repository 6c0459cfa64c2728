"""The command: training's gin files, a topology, and an exit status that says whether it fits."""

import dataclasses
import inspect
import json

import pytest

from opencoder_jax import configuration, precompile
from opencoder_jax.train import train
from opencoder_jax.training import step

SMALL = ["--gin_file=pretrain/demo.gin", "--gin.sharding.MeshConfig.fsdp=4"]


def run(*arguments: str) -> int:
    return precompile.main([*SMALL, *arguments])


@pytest.mark.slow
def test_a_step_that_fits(tmp_path, capsys):
    pytest.importorskip("libtpu")
    file = tmp_path / "report.json"
    one_chip = ["--topology=v5litepod-1", "--gin.sharding.MeshConfig.fsdp=1"]
    assert run(*one_chip, "--gin.BATCH_SIZE=8", f"--json_file={file}") == 0
    text = capsys.readouterr().out
    assert text.startswith("topology    v5e:1x1 (1 chips)\n")
    assert text.endswith("FITS\n")
    (report,) = json.loads(file.read_text())
    assert (report["fits"], report["mesh"]["fsdp"], report["batch_size"]) == (True, 1, 8)


def test_a_step_that_does_not_fit_has_a_status_of_its_own(tmp_path, capsys):
    pytest.importorskip("libtpu")
    file = tmp_path / "report.json"
    with pytest.raises(SystemExit) as stop:
        run(
            "--topology=v5e:2x2",
            "--gin.BATCH_SIZE=262144",
            "--gin.config.TransformerConfig.attention='dense'",
            f"--json_file={file}",
        )
    assert stop.value.code == precompile.DOES_NOT_FIT
    assert "DOES NOT FIT" in capsys.readouterr().out
    (report,) = json.loads(file.read_text())
    assert not report["fits"]
    # What a program gets of 16 GiB.
    assert report["shortage"]["capacity"] == int(15.75 * 2**30)
    assert report["shortage"]["needed"] > report["shortage"]["capacity"]


@pytest.mark.slow
def test_the_1b5_fits_a_pod_of_v5e_with_room_and_gathers_its_layers_twice(tmp_path):
    pytest.importorskip("libtpu")
    file = tmp_path / "report.json"
    arguments = ["--topology=v5e-256", "--gin_file=pretrain/opencoder_1b5.gin"]
    assert precompile.main([*arguments, f"--json_file={file}"]) == 0
    (report,) = json.loads(file.read_text())
    assert report["memory"]["peak"] < 12 * 2**30
    # Parameters and two moments in float32, split 16 ways; rows of 140 numbers fill tiles of 128.
    exact = 3 * 4 * report["parameters"] / 16
    assert exact < report["memory"]["arguments"] < 1.2 * exact
    gathered = sum(c["sent_bytes"] for c in report["collectives"] if c["kind"] == "all-gather")
    layers = 2 * (report["parameters"] - 2 * 96640 * 2240) * 15 / 16
    assert 2 * layers < gathered
    assert any("splash" in name for name in report["kernels"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--topology=v9-256"], "chips are v4, v5e"),
        (["--topology=v5e:4x4"], "needs 4 devices; there are 16"),
        (["--topology=v5e:2x2", "--num_slices=2"], "is over 1 slice(s), the devices are of 2"),
        (["--topology=v5e:2x2", "--gin.BATCH_SIZE=6"], "does not divide its length 6"),
        (["--topology=v5e:2x2", "--gin.train.modle_dir=x"], "has no parameter modle_dir"),
        ([], "required and unset: train.topology"),
    ],
)
def test_bad_input_is_refused(arguments, says, capsys):
    pytest.importorskip("libtpu")
    assert run(*arguments) == 2
    assert says in capsys.readouterr().err


def test_without_libtpu_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run("--topology=v5e:2x2") == 2
    assert "libtpu, the TPU's compiler, is not installed" in capsys.readouterr().err


def test_whatever_makes_the_step_is_a_parameter_of_training():
    # So that a gin file which changes the step of `train` changes the one compiled here.
    fields = {field.name for field in dataclasses.fields(step.StepConfig)}
    # These follow from the checkpoint and from the data.
    derived = {"first_step", "sources"}
    assert fields - derived <= set(inspect.signature(train).parameters)


@pytest.mark.parametrize(
    "name", ["pretrain/opencoder_8b_8k.gin", "anneal/opencoder_1b5.gin", "sft/stage1_demo.gin"]
)
def test_data_tokenizer_and_checkpoint_need_not_be_given(name):
    configuration.configure(
        precompile.train,
        gin_files=[name],
        bindings=["train.topology = 'v5e-256'"],
        unread_macros=precompile.PLACES,
    )
