"""Workers that are real processes: each stage once, whoever is killed, stopped or told to leave."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from opencoder_jax.sweep.plan_file import PlannedStage
from tests.opencoder_jax.sweep.small_sweep import (
    branching,
    journal,
    planned,
    record,
    stage,
    start_worker,
    wait_until,
    work,
)  # fmt: skip


def finished(plan):
    return {key for key in plan.stages if Path(plan.records_folder(key), "done.json").exists()}


def names(plan, key):
    folder = Path(plan.records_folder(key))
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def kill(worker):
    worker.kill()
    worker.wait()
    worker.stderr.close()


def test_two_workers_run_each_stage_once(tmp_path):
    plan = branching(tmp_path, branches=5)
    workers = [start_worker(plan, "--workers=2") for _ in range(2)]
    assert [worker.communicate()[0] or worker.returncode for worker in workers] == [0, 0]

    assert finished(plan) == set(plan.stages)
    assert {key: journal(plan, key) for key in plan.stages} == {
        key: ["start 0", "end"] for key in plan.stages
    }
    done = record(plan, "evaluate-3", "done.json")
    assert done["attempt"] == 1
    assert done["wall_seconds"] > 0
    log = Path(plan.records_folder("pretrain-0"), "log-000001.txt").read_text()
    assert log == "pretrain-0 begins with step 0\n"


def test_what_is_finished_is_not_started_again(tmp_path):
    plan = branching(tmp_path, branches=1)
    assert work(plan)[0] == 0
    status, told = work(plan)

    assert status == 0
    assert told == "4 of 4 stages are done\n"
    assert journal(plan, "corpus-0") == ["start 0", "end"]


def test_workers_killed_again_and_again_lose_nothing(tmp_path):
    plan = branching(tmp_path, branches=4, steps=40)
    noise = random.Random(7)
    workers = [start_worker(plan), start_worker(plan)]
    kept: dict[str, list[str]] = {}
    kills = 0
    while len(finished(plan)) < len(plan.stages) and kills < 12:
        before = len(finished(plan))
        target = sum(len(names(plan, key)) for key in plan.stages) + noise.randrange(3)
        wait_until(
            lambda target=target, before=before: (
                sum(len(names(plan, key)) for key in plan.stages) >= target
                or len(finished(plan)) > before
            )
        )
        victim = noise.randrange(2)
        kill(workers[victim])
        kills += 1
        kept |= {key: journal(plan, key) for key in finished(plan)}
        workers[victim] = start_worker(plan)
    assert work(plan)[0] == 0
    for worker in workers:
        worker.communicate()

    assert kills > 5
    assert finished(plan) == set(plan.stages)
    journals = {key: journal(plan, key) for key in plan.stages}
    assert not [key for key, lines in journals.items() if "overlap" in lines]
    assert {key: journals[key] for key in kept} == kept
    # An attempt goes on where the last one was.
    steps = {key: Path(plan.stage_folder(key), "steps").read_text() for key in plan.stages}
    assert set(steps.values()) == {"40"}


def test_a_killed_workers_stage_is_gone_and_its_next_attempt_needs_no_wait(tmp_path):
    plan = planned(tmp_path, stage("pretrain-0", steps=10, behaviour="waits"))
    worker = start_worker(plan, "--lease_seconds=600")
    steps = Path(plan.stage_folder("pretrain-0"), "steps")
    wait_until(lambda: steps.exists() and steps.read_text() == "10")
    kill(worker)
    second = start_worker(plan, "--lease_seconds=600")
    wait_until(lambda: "start 10" in journal(plan, "pretrain-0"))
    Path(plan.stage_folder("pretrain-0"), "go").touch()
    second.communicate()

    assert second.returncode == 0
    assert journal(plan, "pretrain-0") == ["start 0", "start 10", "end"]
    assert record(plan, "pretrain-0", "done.json")["attempt"] == 2


def test_a_worker_that_stands_still_loses_its_stage_and_does_not_finish_it(tmp_path):
    plan = planned(tmp_path, stage("pretrain-0", behaviour="waits"))
    first = start_worker(plan)
    wait_until(lambda: journal(plan, "pretrain-0"))
    first.send_signal(signal.SIGSTOP)
    second = start_worker(plan)
    # Its keeper, which goes on, has ended the stage before the other may begin.
    wait_until(lambda: len(journal(plan, "pretrain-0")) == 2)
    Path(plan.stage_folder("pretrain-0"), "go").touch()
    second.communicate()
    first.send_signal(signal.SIGCONT)
    _, told = first.communicate()

    assert (first.returncode, second.returncode) == (0, 0)
    assert journal(plan, "pretrain-0") == ["start 0", "start 5", "end"]
    assert record(plan, "pretrain-0", "done.json")["attempt"] == 2
    assert "pretrain-0: given up, the lease was lost" in told


def test_a_worker_that_stood_still_while_its_stage_ended_leaves_it_to_who_began_it_anew(tmp_path):
    plan = planned(tmp_path, stage("pretrain-0", behaviour="waits"))
    first = start_worker(plan)
    wait_until(lambda: journal(plan, "pretrain-0"))
    first.send_signal(signal.SIGSTOP)
    folder = Path(plan.stage_folder("pretrain-0"))
    (folder / "go").touch()
    wait_until(lambda: journal(plan, "pretrain-0")[-1] == "end")
    (folder / "go").unlink()
    second = start_worker(plan)
    wait_until(lambda: len(journal(plan, "pretrain-0")) == 3)
    first.send_signal(signal.SIGCONT)
    wait_until(lambda: "ended-000001-lost.json" in names(plan, "pretrain-0"))
    assert finished(plan) == set()
    (folder / "go").touch()

    assert "pretrain-0: given up, the lease was lost" in first.communicate()[1]
    second.communicate()
    assert record(plan, "pretrain-0", "done.json")["attempt"] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_lets_its_stage_save_and_the_next_goes_on(tmp_path, number):
    plan = planned(tmp_path, stage("pretrain-0", behaviour="waits"))
    worker = start_worker(plan)
    wait_until(lambda: journal(plan, "pretrain-0"))
    worker.send_signal(number)
    _, told = worker.communicate()

    assert worker.returncode == 143
    assert "stopping: stages have 5 s to save" in told
    assert "interrupted with status 143, will be tried again" in told
    assert journal(plan, "pretrain-0")[-1].startswith("saved")
    assert "ended-000001-interrupted.json" in names(plan, "pretrain-0")
    Path(plan.stage_folder("pretrain-0"), "go").touch()
    assert work(plan, "--attempts=1")[0] == 0


def test_a_worker_whose_records_are_away_waits_says_so_once_and_stops_when_told(tmp_path):
    plan = planned(tmp_path, stage("pretrain-0"))
    Path(plan.records_folder("").rstrip("/")).write_text("no folder")
    worker = start_worker(plan)
    line = worker.stderr.readline()
    worker.terminate()
    _, told = worker.communicate(timeout=60)

    assert "trying again, the records cannot be reached: " in line
    assert "trying again" not in told
    assert worker.returncode == 143


def test_a_stage_that_does_not_leave_in_time_is_killed(tmp_path):
    plan = planned(tmp_path, stage("pretrain-0", behaviour="deaf"))
    worker = start_worker(plan, "--grace_seconds=0.5")
    wait_until(lambda: journal(plan, "pretrain-0"))
    worker.terminate()
    worker.communicate()

    assert worker.returncode == 143
    assert "ended-000001-interrupted.json" in names(plan, "pretrain-0")
    lock = Path(plan.stage_folder("pretrain-0"), "lock")
    # Nobody holds what the stage held.
    assert subprocess.run(["flock", "--nonblock", str(lock), "true"]).returncode == 0


def test_bad_input_fails_at_once_and_blocks_only_what_needs_it(tmp_path):
    plan = planned(
        tmp_path,
        stage("corpus-0"),
        stage("pretrain-0", "corpus-0", behaviour="bad_input"),
        stage("evaluate-0", "pretrain-0"),
        stage("pretrain-1", "corpus-0"),
        stage("evaluate-1", "pretrain-1"),
    )
    status, told = work(plan)

    assert status == 1
    assert finished(plan) == {"corpus-0", "pretrain-1", "evaluate-1"}
    assert len(journal(plan, "pretrain-0")) == 1
    failed = record(plan, "pretrain-0", "failed.json")
    assert (failed["exit_status"], failed["attempt"]) == (2, 1)
    assert failed["log"].endswith("error: nothing fits")
    assert "pretrain-0 failed: bad input, exit status 2; needed by evaluate-0\n" in told
    assert "    error: nothing fits\n" in told
    assert "3 of 5 stages are done, 1 failed, 1 cannot be run for that" in told


@pytest.mark.parametrize(("behaviour", "exit_status"), [("fails", 1), ("dies", 137)])
def test_a_failing_stage_is_tried_as_often_as_said_and_again_when_asked(
    tmp_path, behaviour, exit_status
):
    plan = planned(tmp_path, stage("pretrain-0", behaviour=behaviour))
    status, told = work(plan, "--attempts=2")

    assert status == 1
    assert len(journal(plan, "pretrain-0")) == 2
    assert record(plan, "pretrain-0", "failed.json")["exit_status"] == exit_status
    assert "2 attempts failed" in told
    assert work(plan, "--attempts=2")[0] == 1
    assert len(journal(plan, "pretrain-0")) == 2
    assert work(plan, "--attempts=2", "--retry_failed")[0] == 1
    assert len(journal(plan, "pretrain-0")) == 4


def test_a_passing_failure_is_no_failure(tmp_path):
    plan = planned(tmp_path, stage("pretrain-0", behaviour="fails_once"))
    status, _ = work(plan)

    assert status == 0
    assert record(plan, "pretrain-0", "done.json")["attempt"] == 2


def test_a_worker_of_one_pool_waits_for_what_the_other_makes(tmp_path):
    plan = branching(tmp_path, branches=1)
    trainer = start_worker(plan, "--pools=default")
    told = ""
    while "waiting for corpus-0, of pool data" not in told:
        told += trainer.stderr.readline()
    assert work(plan, "--pools=data")[0] == 0
    trainer.communicate()

    assert trainer.returncode == 0
    assert finished(plan) == set(plan.stages)


def test_a_worker_tells_of_another_pools_stage_that_its_inputs_wait_for(tmp_path):
    plan = planned(
        tmp_path,
        stage("corpus-0", pool="data"),
        stage("packed-0", "corpus-0", pool="data"),
        stage("pretrain-0", "packed-0"),
    )
    trainer = start_worker(plan, "--pools=default")
    line = trainer.stderr.readline()
    trainer.terminate()
    trainer.communicate()

    assert "waiting for corpus-0, of pool data" in line


@pytest.mark.parametrize(
    ("name", "content"), [("lease-000001", ""), ("failed.json", "[]"), ("retry.json", '{"a')]
)
def test_a_damaged_record_is_an_error_that_names_it(tmp_path, name, content):
    plan = planned(tmp_path, stage("corpus-0"))
    folder = Path(plan.records_folder("corpus-0"))
    folder.mkdir(parents=True)
    (folder / name).write_text(content)
    status, told = work(plan)

    assert status == 2
    assert f"error: corpus-0/{name}, in the folder of records, is damaged" in told
    (folder / name).unlink()
    assert work(plan)[0] == 0


def test_some_arms_are_run_with_what_they_need_and_no_more(tmp_path):
    plan = branching(tmp_path, branches=3)
    assert work(plan, "--arms=evaluate-1")[0] == 0

    assert finished(plan) == {"corpus-0", "pretrain-0", "anneal-1", "evaluate-1"}
    status, told = work(plan, "--arms=evaluate-9")
    assert (status, told) == (
        2,
        "error: no arm evaluate-9; there are: evaluate-0, evaluate-1, evaluate-2\n",
    )


def test_an_input_whose_folder_is_gone_stops_the_worker(tmp_path):
    plan = branching(tmp_path, branches=1)
    assert work(plan, "--pools=data")[0] == 0
    os.rename(plan.stage_folder("corpus-0"), tmp_path / "elsewhere")
    status, told = work(plan)

    assert status == 2
    assert "corpus-0 is finished by its records, but" in told


def test_stages_get_words_of_their_pool_and_cpus_of_their_own(tmp_path):
    program = "import os, sys; print(sys.argv[1:], sorted(os.sched_getaffinity(0)))"
    (tmp_path / "shown.py").write_text(program)
    shown = PlannedStage(
        "shown-0", "shown", "shown", words=("{output}", "{'targets': 1}", "{other}"), pool="data"
    )
    plan = planned(tmp_path, shown)
    cpus = sorted(os.sched_getaffinity(0))
    flags = ("--pool_flags=data:--runner=X '--y=a b'", "--cpus_per_worker=1")
    status, told = work(plan, *flags, cwd=tmp_path)

    assert status == 0, told
    words = [plan.stage_folder("shown-0"), "{'targets': 1}", "{other}", "--runner=X", "--y=a b"]
    log = Path(plan.records_folder("shown-0"), "log-000001.txt").read_text()
    assert log == f"{words} {cpus[:1]}\n"
