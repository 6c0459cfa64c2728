"""Real trainings as stages: killed workers change no number, several hosts run one together."""

import json
import random
import signal
import socket
from pathlib import Path

import pytest

from opencoder_jax.sweep.plan_file import PlannedStage
from tests.opencoder_jax import processes, small_run
from tests.opencoder_jax.sweep.running.test_worker import finished, kill
from tests.opencoder_jax.sweep.small_sweep import planned, start_worker, wait_until, work


def training(key, *words, inputs=()):
    return PlannedStage(
        key, "pretrain", "opencoder_jax.train", words=words, inputs=inputs, pool="train"
    )


def lines(plan, key):
    """Steps and losses that a training has logged."""
    path = Path(plan.stage_folder(key), "train", "metrics.jsonl")
    found = path.read_text().splitlines() if path.exists() else []
    return [
        (line["step"], line["loss_per_nonpadding_target_token"]) for line in map(json.loads, found)
    ]


@pytest.mark.slow
def test_trainings_whose_workers_are_killed_have_the_numbers_of_undisturbed_ones(tmp_path):
    def sweep(folder):
        # Rates in place of a task's name: seqio takes ten seconds to import.
        rates = "{'refinecode': 1.0}"
        words = small_run.flags(
            "--gin.train.stats_period=10",
            f"--gin.MIXTURE_OR_TASK_NAME={rates}",
            f"--gin.HELDOUT_TASK_NAME={rates}",
            steps=60,
            save_period=10,
        )
        seeds = [[*words, f"--gin.RANDOM_SEED={s}", "--gin.MODEL_DIR={output}"] for s in range(2)]
        return planned(folder, *[training(f"pretrain-{s}", *seeds[s]) for s in range(2)])

    calm = sweep(tmp_path / "calm")
    assert work(calm)[0] == 0
    plan = sweep(tmp_path / "killed")
    noise = random.Random(3)
    for _ in range(3):
        worker = start_worker(plan)
        logged = sum(len(lines(plan, key)) for key in plan.stages)
        target = logged + 1 + noise.randrange(3)
        wait_until(
            lambda target=target, worker=worker: (
                worker.poll() is not None
                or sum(len(lines(plan, key)) for key in plan.stages) >= target
            )
        )
        kill(worker)
    assert work(plan)[0] == 0

    assert finished(plan) == set(plan.stages)
    for key in plan.stages:
        assert lines(plan, key) == lines(calm, key)
        manifests = [
            json.loads(Path(p.stage_folder(key), "manifest.json").read_text()) for p in (plan, calm)
        ]
        assert manifests[0]["files"] == manifests[1]["files"]


class Hosts:
    """Workers that are the hosts of one slice; a context manager that leaves none behind."""

    def __init__(self, plan, count=2):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._plan = plan
        self._flags = [
            "--slice_name=one",
            f"--process_count={count}",
            f"--host_flags=--gin.COORDINATOR_ADDRESS={address} "
            "--gin.PROCESS_COUNT={count} --gin.PROCESS_INDEX={index}",
            "--lease_seconds=20",
        ]
        self.workers = [self._start(index) for index in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for worker in self.workers:
            kill(worker)

    def _start(self, index):
        return start_worker(self._plan, *self._flags, f"--process_index={index}")

    def wait_until(self, condition):
        """Returns when it holds; all workers have to be alive until then."""

        def holds():
            for worker in self.workers:
                assert worker.poll() is None, (worker.returncode, worker.communicate()[1])
            return condition()

        wait_until(holds)

    def again(self, index):
        kill(self.workers[index])
        self.workers[index] = self._start(index)

    def ended(self):
        told = [worker.communicate(timeout=300)[1] for worker in self.workers]
        return [worker.returncode for worker in self.workers], told


def two_trainings(folder, steps=processes.STEPS):
    words = processes.flags("{output}", virtual_cpu_devices=2, data=2, fsdp=2)
    words.append(f"--gin.TRAIN_STEPS={steps}")
    stages = [training(f"pretrain-{s}", *words, f"--gin.RANDOM_SEED={s}") for s in range(2)]
    return planned(folder, *stages)


@pytest.mark.slow
def test_the_hosts_of_a_slice_run_each_training_together(tmp_path):
    plan = two_trainings(tmp_path)
    with Hosts(plan) as hosts:
        statuses, told = hosts.ended()

    assert statuses == [0, 0], told
    assert finished(plan) == set(plan.stages)
    for key in plan.stages:
        # Its mesh has as many devices as two processes have.
        assert Path(plan.records_folder(key), "log-000001-host-1.txt").exists()
        assert not Path(plan.records_folder(key), "log-000002.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_host_that_is_killed_and_comes_back_carries_on(tmp_path, index):
    plan = two_trainings(tmp_path)
    with Hosts(plan) as hosts:
        hosts.wait_until(Path(plan.stage_folder("pretrain-0"), "checkpoint_15").exists)
        hosts.again(index)
        statuses, told = hosts.ended()

    assert statuses == [0, 0], told
    assert finished(plan) == set(plan.stages)
    log = Path(plan.records_folder("pretrain-0"), "log-000002.txt").read_text()
    assert "checkpoint" in log


@pytest.mark.slow
def test_one_host_that_is_told_to_stop_stops_the_training_on_all(tmp_path):
    plan = two_trainings(tmp_path, steps=5000)
    with Hosts(plan) as hosts:
        hosts.wait_until(Path(plan.stage_folder("pretrain-0"), "checkpoint_15").exists)
        for worker in hosts.workers:
            worker.send_signal(signal.SIGTERM)
        statuses, _ = hosts.ended()

    assert statuses == [143, 143]
    ended = Path(plan.records_folder("pretrain-0"), "ended-000001-interrupted.json")
    assert json.loads(ended.read_text())["exit_status"] == 143
