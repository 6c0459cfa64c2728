"""Several real processes are one run: the same numbers, one mind, one end."""

import re
import shutil
import signal
import subprocess
import sys

import pytest

from opencoder_jax.distributed import PEER_FAILED_EXIT_STATUS, DistributedConfig
from opencoder_jax.errors import InputError
from opencoder_jax.training import checkpoints, loop
from opencoder_jax.training.metrics import read_metrics
from tests.opencoder_jax import processes
from tests.opencoder_jax.processes import Processes, flags, manifest, run_alone

# A process whose run has lost another one: JAX ends it, or it notices first, in a collective.
LEFT_ALONE = {
    -signal.SIGABRT: "JAX distributed service detected fatal errors",
    PEER_FAILED_EXIT_STATUS: "error: another of the 2 processes is gone, so this one",
}
PERIOD_MINUTES = "--gin.checkpoints.SaveCheckpointConfig.period_minutes"


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """A finished run of two processes with four devices each; beside it what each said."""
    folder = tmp_path_factory.mktemp("by_two") / "run"
    for number, text in enumerate(_run_by_two(folder)):
        (folder.parent / f"process{number}.log").write_text(text)
    return folder


def _by_two(folder):
    # A period of time that never is over: the processes agree on that, again and again.
    everywhere = [*flags(folder, virtual_cpu_devices=4, data=2, fsdp=4), f"{PERIOD_MINUTES}=1e6"]
    return Processes(everywhere, 2, environment={"JAX_LOG_COMPILES": "1"})


def _run_by_two(folder):
    """To its end; what each process said."""
    with _by_two(folder) as running:
        ended = running.finished()
    for status, text in ended:
        assert status == 0, text
    return [text for _, text in ended]


def _assert_compiled_once(log):
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+)\)", log)
    assert compiled.count("train_step") == 1
    assert compiled.count("evaluate") == 1


def _assert_same_series(one, other):
    """The figures of two runs, up to the order of float additions."""
    for part in ("train", "heldout"):
        lines, others = read_metrics(one / part), read_metrics(other / part)
        assert [line["step"] for line in lines] == [line["step"] for line in others]
        for line, here in zip(lines, others, strict=True):
            timeless = {k: v for k, v in here.items() if not k.startswith("timing/")}
            assert {name: line[name] for name in timeless} == pytest.approx(timeless, rel=2e-5)


@pytest.mark.slow
def test_two_processes_train_as_one_does(by_two, tmp_path):
    assert run_alone(tmp_path / "alone", data=2, fsdp=4) == 0
    _assert_same_series(by_two, tmp_path / "alone")
    assert manifest(by_two)["counts"]["tokens_seen"] == processes.STEPS * 8 * 128
    assert manifest(by_two)["inputs"] == manifest(tmp_path / "alone")["inputs"]
    # Its parameters were brought together from both hosts.
    params, _ = checkpoints.restore_params(by_two)
    digest = manifest(by_two)["files"][f"checkpoint_{processes.STEPS}/params"]
    assert checkpoints.params_sha256(params) == digest


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_each_process_compiles_the_step_and_the_evaluation_once(by_two, number):
    # Evaluated twice, saved four times.
    _assert_compiled_once((by_two.parent / f"process{number}.log").read_text())


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_goes_on_in_one_and_in_four(by_two, tmp_path):
    for name in ("one", "four"):
        folder = shutil.copytree(by_two, tmp_path / name)
        shutil.rmtree(folder / f"checkpoint_{processes.STEPS}")
        (folder / "manifest.json").unlink()
    assert run_alone(tmp_path / "one", data=1, fsdp=8) == 0
    # Along `tensor` two processes hold, and read, the same rows.
    four = flags(tmp_path / "four", virtual_cpu_devices=1, data=2, fsdp=1, tensor=2)
    # All save after the same steps: after each, for no step is as short as this period.
    with Processes([*four, f"{PERIOD_MINUTES}=1e-9"], 4) as running:
        for status, text in running.finished():
            assert status == 0, text
    assert checkpoints.steps(tmp_path / "four")[-2:] == [processes.STEPS - 1, processes.STEPS]
    for name in ("one", "four"):
        _assert_same_series(by_two, tmp_path / name)


@pytest.mark.slow
def test_a_run_that_is_terminated_and_killed_ends_as_an_uninterrupted_one(by_two, tmp_path):
    folder = tmp_path / "run"
    log = folder / "train" / "metrics.jsonl"
    # SIGTERM to process 1, as early as it can come.
    with _by_two(folder) as running:
        running.wait_until(lambda: log.exists() and log.read_text())
        running.children[1].terminate()
        ended = running.finished()
    assert [status for status, _ in ended] == [loop.TERMINATED_EXIT_STATUS] * 2
    saved = max(checkpoints.steps(folder))
    assert all(f"saved checkpoint_{saved}" in text for _, text in ended)
    # SIGKILL to process 1, then to process 0, which the others depend on.
    for victim in (1, 0):
        before = log.read_text().count("\n")
        with _by_two(folder) as running:
            running.wait_until(lambda n=before: log.read_text().count("\n") > n)
            running.children[victim].kill()
            ended = running.finished()
        assert ended[victim][0] == -signal.SIGKILL
        status, text = ended[1 - victim]
        assert LEFT_ALONE[status] in text
        assert not (folder / "manifest.json").exists()
    for text in _run_by_two(folder):
        # What comes from a checkpoint looks to the programs like what they leave.
        _assert_compiled_once(text)
    assert manifest(folder) == manifest(by_two)


def test_a_process_that_fails_takes_the_others_with_it_and_says_why(tmp_path):
    everywhere = [*flags(tmp_path / "run", virtual_cpu_devices=1), "--gin.TOKENIZER_DIR=nowhere"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(processes.packed_example.tokenizer_dir(), elsewhere / "nowhere")
    # Relative to where it was started, process 0 has a tokenizer and process 1 has none.
    with Processes(everywhere, 2, folders={0: elsewhere, 1: tmp_path}) as running:
        (survivor, survivor_text), (failed, failed_text) = running.finished()
    assert failed == 2
    assert "error: nowhere has no tokenizer.model" in failed_text
    assert survivor == PEER_FAILED_EXIT_STATUS
    assert "process 1 of 2 failed, so this one (process 0) ends: nowhere has no" in survivor_text


def test_processes_with_different_settings_are_refused(tmp_path):
    everywhere = flags(tmp_path / "run", virtual_cpu_devices=1)
    with Processes(everywhere, 2, more={1: ["--gin.RANDOM_SEED=5"]}) as running:
        ended = running.finished()
    assert 2 in [status for status, _ in ended]
    assert any("random_seed: process 0 has 0, process 1 has 5" in text for _, text in ended)
    assert not (tmp_path / "run").exists()


def test_a_model_directory_that_hosts_do_not_share_is_refused(tmp_path):
    everywhere = [*flags(tmp_path, virtual_cpu_devices=1), "--gin.MODEL_DIR=run"]
    folders = {index: tmp_path / f"host{index}" for index in range(2)}
    for folder in folders.values():
        folder.mkdir()
    with Processes(everywhere, 2, folders=folders) as running:
        ended = running.finished()
    assert any("processes [1] do not see run/run.json" in text for _, text in ended)
    assert all(status in (2, PEER_FAILED_EXIT_STATUS) for status, _ in ended)


def test_a_model_directory_in_an_object_store_is_refused(capsys):
    assert run_alone("gs://bucket/run", data=1, fsdp=8) == 2
    assert "model_dir gs://bucket/run is in an object store" in capsys.readouterr().err


def test_a_process_that_waits_in_vain_says_for_whom(tmp_path):
    soon = "--gin.distributed.DistributedConfig.initialization_timeout_seconds=1"
    with Processes([*flags(tmp_path / "run"), soon], 2) as running:
        running.children[0].kill()
        running.children[0].wait()
        _, (status, text) = running.finished()
    assert status == 2
    assert "error: process 1 of 2 did not find all the others within 1 s (coordinator: 127" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"process_count": 2}, "give all three, or none"),
        ({"coordinator_address": "h:1", "process_count": 2, "process_index": 2}, "expected 0 to"),
        (
            {"coordinator_address": "h:1", "process_count": 2, "process_index": 0, "detect": True},
            "choose one of the two",
        ),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        DistributedConfig(**settings)


ALONE = """
from opencoder_jax import distributed
with distributed.joined(distributed.DistributedConfig(detect=True)):
    print(distributed.process_count(), distributed.is_primary(), distributed.gather("mine"))
"""


def test_a_process_of_no_cluster_runs_alone():
    # In one of its own, for it has to come before JAX's backend.
    found = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert found.stdout == "1 True ['mine']\n"
    assert "no cluster found: this process runs alone" in found.stderr


INTERRUPTED = """
import atexit, os
from opencoder_jax import distributed
atexit.register(os.abort)
print("said before", end="")
distributed.run(lambda: 130)
"""


def test_an_interrupted_process_ends_without_the_interpreters_way_out():
    # Which XLA's threads, at work in the middle of things, abort now and then.
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, "said before")
