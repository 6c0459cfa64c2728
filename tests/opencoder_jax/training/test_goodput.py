"""Every second of every process is training or has a reason, and repeated work is not counted."""

import json
import time

import pytest

from opencoder_jax.training.goodput import FILE_NAME, Ledger, Stopwatch, read_account


def _start(resume_step):
    return {"started": 0.0, "resume_step": resume_step}


def _steps(step, training, **lost):
    return {"step": step, "training": training, "lost": lost}


def test_steps_past_the_checkpoint_that_a_process_resumes_from_are_lost():
    account = Ledger(
        [
            _start(0),
            _steps(100, 50.0, startup=5.0, compile=10.0),
            _steps(200, 50.0, checkpoint=2.0),
            _steps(250, 25.0),
            _start(200),
            _steps(300, 60.0, startup=4.0, restore=3.0),
        ]
    ).account()
    assert account.training == 50 + 50 + 60
    assert account.lost == {
        "startup": 9.0,
        "compile": 10.0,
        "checkpoint": 2.0,
        "restore": 3.0,
        "recomputed": 25.0,
    }
    assert account.alive == 160 + 49
    assert account.goodput == pytest.approx(160 / 209)
    assert account.processes == 2


def test_a_third_process_on_an_old_checkpoint_loses_the_work_of_both():
    lines = [_start(0), _steps(10, 1.0), _start(0), _steps(20, 2.0), _start(0), _steps(5, 1.0)]
    account = Ledger(lines).account()
    assert (account.training, account.lost["recomputed"], account.alive) == (1.0, 3.0, 4.0)


def test_a_stopwatch_accounts_for_all_of_its_time(tmp_path):
    before = time.monotonic()
    watch = Stopwatch(tmp_path, startup_seconds=0.0)
    with watch.lost("restore"):
        time.sleep(0.02)
    watch.begin(0)
    time.sleep(0.02)
    with watch.lost("checkpoint"):
        time.sleep(0.01)
    assert watch.record(1).lost["checkpoint"] >= 0.01
    time.sleep(0.01)
    account = watch.end(1)
    passed = time.monotonic() - before
    assert account.training >= 0.02
    assert account.lost["restore"] >= 0.02
    assert account.lost["finish"] >= 0.01
    assert 0.06 <= account.alive <= passed
    assert account.processes == 1
    # What another process, or a watcher, reads is the same.
    assert read_account(tmp_path) == account


def test_a_second_process_adds_to_the_first_that_was_killed_while_writing(tmp_path):
    for resume_step in (0, 0):
        watch = Stopwatch(tmp_path)
        watch.begin(resume_step)
        time.sleep(0.01)
        account = watch.record(3)
        with (tmp_path / FILE_NAME).open("a") as file:
            file.write('{"step": 2, "train')
    assert read_account(tmp_path) == account
    assert account.processes == 2
    assert account.lost["recomputed"] >= 0.01
    assert str(account).startswith("goodput ")
    assert "recomputed" in json.dumps(account.lost)


def test_only_the_first_host_writes(tmp_path):
    watch = Stopwatch(tmp_path, write=False)
    watch.begin(0)
    assert watch.record(1).processes == 1
    assert not (tmp_path / FILE_NAME).exists()


def test_a_directory_without_records_has_no_goodput(tmp_path):
    assert read_account(tmp_path).goodput is None
