"""One attempt: its process watched, and what is known of it when it ends at a bad moment."""

import fcntl
import os
import threading
from pathlib import Path

from opencoder_jax.sweep.running import attempt
from opencoder_jax.sweep.running.records import open_records
from opencoder_jax.sweep.running.slices import Followed
from tests.opencoder_jax.sweep.small_sweep import wait_until


def attempted(records: Path, program: str, renew, lease_seconds: float = 6.0, stopping=None):
    (records / "train-1").mkdir(parents=True, exist_ok=True)
    return attempt.run(
        Followed("train-1", 1, {"lease_seconds": lease_seconds}, renew),
        open_records(str(records)),
        str(records),
        ["-c", program],
        stopping=stopping or threading.Event(),
        at_once=threading.Event(),
        grace_seconds=5,
    )


def test_a_stage_that_ends_while_its_lease_is_renewed_has_ended_well(tmp_path):
    go = tmp_path / "go"

    def renew():
        go.touch()
        # Until nobody reads the signs any more.
        with open(attempt._lock_path(f"{tmp_path}/records/train-1/0")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        return True

    program = f"import os\nwhile not os.path.exists({str(go)!r}): pass"
    assert attempted(tmp_path / "records", program, renew).verdict == "done"


def test_a_stage_is_asked_to_leave_while_the_records_do_not_answer(tmp_path):
    left, stopping = tmp_path / "left", threading.Event()
    program = (
        "import pathlib, signal, sys\n"
        "def leave(number, frame):\n"
        f"    pathlib.Path({str(left)!r}).touch()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "while True: signal.pause()"
    )

    def renew():
        stopping.set()
        wait_until(left.exists)
        return True

    ended = attempted(tmp_path / "records", program, renew, lease_seconds=12, stopping=stopping)
    assert (ended.verdict, ended.exit_status) == ("interrupted", 143)


def test_a_stage_waits_for_what_an_earlier_attempt_has_left_running_and_says_so(tmp_path):
    records = tmp_path / "records"
    log = records / "train-1" / "log-000001.txt"
    held = os.open(attempt._lock_path(f"{records}/train-1/0"), os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    freed = []

    def renew():
        if "waiting for an earlier attempt" in log.read_text() and not freed:
            freed.append(os.close(held))
        return True

    assert attempted(records, "print('begun')", renew).verdict == "done"
    assert log.read_text().endswith("begun\n")


def test_a_folder_of_records_has_one_lock_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "work")
    monkeypatch.chdir(tmp_path)
    own = {attempt._lock_path(f"{place}/train-1/0") for place in ("work", tmp_path / "work")}

    assert own == {attempt._lock_path("elsewhere/train-1/0")}
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert attempt._lock_path("work/train-1/0") not in own
