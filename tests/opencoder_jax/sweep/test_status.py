"""What `status` says of a sweep before, while and after workers run it, in a terminal and not."""

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from opencoder_jax.sweep import status
from opencoder_jax.sweep.running import leases
from opencoder_jax.sweep.running.board import Board
from opencoder_jax.sweep.running.records import open_records
from tests.opencoder_jax.sweep.small_sweep import (
    ROOT,
    branching,
    journal,
    planned,
    stage,
    start_worker,
    wait_until,
    work,
)


def shown(plan, capsys, *flags):
    assert status.main([plan.folder, *flags]) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_before_anything_runs_all_wait(tmp_path, capsys):
    lines = shown(branching(tmp_path, branches=1), capsys)

    assert lines[0] == "small  Does it work?"
    assert lines[2] == "4 stages: 1 ready, 3 waiting"
    assert lines[-2:] == [
        "arm         seed  corpus  pretrain  anneal   evaluate",
        "evaluate-0  0     ready   waiting   waiting  waiting",
    ]


def test_running_failed_blocked_and_done_are_told_apart(tmp_path, capsys):
    plan = planned(
        tmp_path,
        stage("corpus-0"),
        stage("pretrain-0", "corpus-0", behaviour="waits"),
        stage("evaluate-0", "pretrain-0"),
        stage("pretrain-1", "corpus-0", behaviour="bad_input"),
        stage("evaluate-1", "pretrain-1"),
    )
    worker = start_worker(plan, "--workers=2")
    failed = Path(plan.records_folder("pretrain-1"), "failed.json")
    wait_until(lambda: failed.exists() and journal(plan, "pretrain-0"))
    lines = shown(plan, capsys)
    worker.kill()
    worker.communicate()

    assert "5 stages: 1 done, 1 running, 1 waiting, 1 failed, 1 blocked" in lines
    running = next(line for line in lines if line.startswith("pretrain-0"))
    assert "pretrain-0 begins with step 0" in running
    assert f"{os.uname().nodename}-{worker.pid}-" in running
    place = lines.index("pretrain-1 failed (bad input), needed by evaluate-1")
    assert lines[place + 1] == "    error: nothing fits"
    assert lines[-2:] == [
        "evaluate-0  0     done    running   waiting",
        "evaluate-1  0     done    failed    blocked",
    ]
    # The worker is gone and was of this machine: nothing to wait for.
    assert "evaluate-0  0     done    ready (attempt 1)  waiting" not in shown(plan, capsys)
    assert "5 stages: 1 done, 1 ready, 1 waiting, 1 failed, 1 blocked" in shown(plan, capsys)


def test_a_training_stage_shows_its_step_and_loss_and_others_foretell_the_time(tmp_path, capsys):
    train = stage("pretrain-0")
    plan = planned(tmp_path, train, stage("pretrain-1"), stage("pretrain-2"))
    object.__setattr__(plan.stages["pretrain-1"], "command", "opencoder_jax.train")
    records = open_records(plan.records_folder("").rstrip("/"))
    first = leases.take(records, "pretrain-0", 1, "someone", 60)
    first._started -= 600
    first.finish("v1")
    leases.take(records, "pretrain-1", 1, "someone", 60)
    folder = Path(plan.stage_folder("pretrain-1"))
    (folder / "train").mkdir(parents=True)
    run = {"config": {"train_steps": 50, "first_step": 0}, "inputs": {"data.batch_size": 8}}
    (folder / "run.json").write_text(json.dumps(run))
    line = {"step": 20, "loss_per_nonpadding_target_token": 3.25}
    (folder / "train" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    view = status.View(Board(plan))
    states = view.look()

    assert view.how_far(states["pretrain-1"]) == "step 20 of 50, loss 3.250"
    left = view.seconds_left(states)
    assert 1190 < left <= 1200
    view.render(states)


def test_where_not_all_runs_fit_the_most_urgent_are_shown(tmp_path, capsys):
    stages = [stage(f"pretrain-{number}") for number in range(30)]
    plan = planned(tmp_path, *stages)
    records = open_records(plan.records_folder("").rstrip("/"))
    lease = leases.take(records, "pretrain-17", 1, "someone", 60)
    lease.fail(1, "", "it is bad")
    lease.end("failed", 1)
    view = status.View(Board(plan))
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as capture:
        console.print(view.render(view.look(), height=20))
    lines = capture.get().splitlines()

    assert len(lines) <= 20
    assert any(line.startswith("pretrain-17") and "failed" in line for line in lines[5:])
    assert "and 21 more runs" in lines


def test_watched_in_a_terminal_it_ends_with_the_sweep(tmp_path):
    plan = branching(tmp_path, branches=1)
    main_end, terminal = pty.openpty()
    command = [sys.executable, "-m", "opencoder_jax.sweep.status", plan.folder, "--watch"]
    watching = subprocess.Popen(
        [*command, "--refresh_seconds=0.1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    begun = False
    while select.select([main_end], [], [], 60)[0]:
        try:
            seen += os.read(main_end, 1 << 16)
        except OSError:
            break
        if b"waiting" in seen and not begun:
            begun = True
            assert work(plan)[0] == 0
    os.close(main_end)

    assert watching.wait(60) == 0
    assert b"4 done" in seen
