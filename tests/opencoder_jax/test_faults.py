"""Each fault of docs/faults.md that needs a whole process: the real command, really hit.

The run in peace is made once; whatever a run has been through, it has to end as that one did,
to the last bit.
"""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.training_process import TrainingProcess
from opencoder_jax.errors import STORAGE_EXIT_STATUS
from opencoder_jax.training import checkpoints
from opencoder_jax.training.metrics import read_metrics
from tests.opencoder_jax import small_run

pytestmark = pytest.mark.timeout(1800)


SIZE = {"steps": 60, "save_period": 6}


def flags(*more: str) -> list[str]:
    return small_run.flags("--gin.checkpoints.SaveCheckpointConfig.keep=2", *more, **SIZE)


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "peace"
    faults.finish(folder, flags())
    return folder


@pytest.fixture(scope="module")
def peace(peaceful) -> dict:
    return faults.outcome(peaceful)


def assert_ends_as_in_peace(model_dir: Path, peace: dict) -> None:
    faults.finish(model_dir, flags())
    assert faults.differences(faults.outcome(model_dir), peace) == []


def wait_for(process: TrainingProcess, *stages: str) -> None:
    while process.running() and process.stage() not in stages:
        time.sleep(0.002)
    assert process.running(), process.output


@pytest.mark.slow
def test_a_run_killed_at_its_tender_moments_ends_as_one_in_peace(peace, tmp_path):
    model_dir = tmp_path / "run"
    stages = ("compile", "save", "delete")
    kills = [faults.kill(model_dir, flags(), faults.at(stage)) for stage in stages]
    assert [kill.stage for kill in kills if kill] == list(stages)
    assert_ends_as_in_peace(model_dir, peace)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["save", "finish"])
def test_a_run_killed_while_its_last_checkpoint_is_written_or_there_ends_as_one_in_peace(
    peaceful, peace, tmp_path, stage
):
    last = SIZE["steps"]
    for attempt in range(5):  # The moment may be over before it is seen.
        model_dir = tmp_path / f"run{attempt}"
        shutil.copytree(peaceful, model_dir)
        shutil.rmtree(model_dir / f"checkpoint_{last}")
        (model_dir / "manifest.json").unlink()
        killed = faults.kill(
            model_dir, flags(), lambda process: process.stage() == stage and process.step() == last
        )
        if killed and killed.saved == {"save": last - SIZE["save_period"], "finish": last}[stage]:
            break
    assert killed
    assert killed.stage == stage
    assert_ends_as_in_peace(model_dir, peace)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_as_one_in_peace(peace, tmp_path):
    model_dir = tmp_path / "run"
    kills = 0
    for number, moment in enumerate(faults.random_moments(20, horizon=8.0, seed=time.time_ns())):
        killed = faults.kill(model_dir, flags(), moment)
        if killed:
            print(number, killed)
            kills += 1
            continue
        assert_ends_as_in_peace(model_dir, peace)
        shutil.rmtree(model_dir)  # Each run that ends leaves its place to another.
    assert kills >= 10
    assert_ends_as_in_peace(model_dir, peace)


@pytest.mark.slow
def test_sigterm_while_it_compiles_and_again_while_it_saves_ends_with_143(peace, tmp_path):
    model_dir = tmp_path / "run"
    with TrainingProcess(model_dir, flags()) as process:
        while process.running() and not process.catches(signal.SIGTERM):
            time.sleep(0.002)
        assert process.stage() == "compile"
        process.signal(signal.SIGTERM)
        wait_for(process, "save", "train")
        process.signal(signal.SIGTERM)
        assert process.finish() == 143
    saved = checkpoints.steps(model_dir)
    assert f"saved checkpoint_{saved[-1]}" in process.output
    assert "Traceback" not in process.output
    assert_ends_as_in_peace(model_dir, peace)


@pytest.mark.slow
def test_sigterm_while_it_evaluates_saves_the_step_and_its_figures_are_whole(peace, tmp_path):
    model_dir = tmp_path / "run"
    evaluated = model_dir / "heldout"
    with TrainingProcess(model_dir, flags()) as process:
        while process.running() and process.step() < small_run.EVAL_PERIOD:
            time.sleep(0.002)
        # The line of the step is there and that of its evaluation, which it compiles, is not.
        assert (process.step(), read_metrics(evaluated)) == (small_run.EVAL_PERIOD, [])
        process.signal(signal.SIGTERM)
        assert process.finish() == 143
    assert [line["step"] for line in read_metrics(evaluated)] == [small_run.EVAL_PERIOD]
    assert checkpoints.steps(model_dir)[-1] == small_run.EVAL_PERIOD
    assert f"saved checkpoint_{small_run.EVAL_PERIOD}" in process.output
    assert_ends_as_in_peace(model_dir, peace)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["start", "restore", "finish"])
def test_sigterm_outside_of_training_ends_it_with_nothing_lost(peace, tmp_path, stage):
    model_dir = tmp_path / "run"
    with TrainingProcess(model_dir, flags()) as process:
        wait_for(process, stage)
        process.signal(signal.SIGTERM)
        # By the signal itself, of which a shell says 143; or it had come to training, or its end.
        assert process.finish() in (-signal.SIGTERM, 143, 0)
    assert_ends_as_in_peace(model_dir, peace)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["restore", "compile", "train", "save"])
def test_an_interrupt_ends_it_with_130_and_nothing_lost(peace, tmp_path, stage):
    model_dir = tmp_path / "run"
    with TrainingProcess(model_dir, flags()) as process:
        wait_for(process, stage)
        process.signal(signal.SIGINT)
        assert process.finish() == 130
    assert "Traceback" not in process.output
    assert_ends_as_in_peace(model_dir, peace)


def can_mount() -> bool:
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def bytes_on_disk(*folders: Path) -> int:
    """In whole pages, as a file system in memory counts."""
    sizes = [p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no user namespaces: nobody may mount a small disk")
def test_a_full_disk_ends_it_with_74_and_the_last_checkpoint_is_good(peaceful, peace, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    # Room for about half of the checkpoints, as all are kept.
    saved = list(peaceful.glob("checkpoint_*"))
    one = bytes_on_disk(*saved) // len(saved)
    size = bytes_on_disk(peaceful) + (SIZE["steps"] // SIZE["save_period"] // 2 - len(saved)) * one
    script = (
        f'mount -t tmpfs -o size={size} tmpfs "$0" || exit 99; out="$1"; shift\n'
        '"$@"; status=$?; cp -r "$0/run" "$out"; exit $status'
    )
    keep_all = "--gin.checkpoints.SaveCheckpointConfig.keep=None"
    train = [sys.executable, "-m", "opencoder_jax.train", *flags(keep_all)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, disk, kept, *train, f"--gin.MODEL_DIR={disk}/run"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == STORAGE_EXIT_STATUS, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoints.steps(kept)
    assert_ends_as_in_peace(kept, peace)
