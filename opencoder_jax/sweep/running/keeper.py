"""Starts a stage and ends it when its worker no longer holds it: a program of its own.

    python -I -S keeper.py SECONDS LOCK CPUS COMMAND...

It reads its standard input: every byte is a sign that the worker still holds the stage. When
none came for SECONDS, or the worker is gone (end of file), the stage and all that it started in
its process group are killed: nobody else may find it running. SIGTERM is passed on to the stage.
LOCK is held until the stage is gone, so that on one machine two never run at a time. Only the
standard library: it starts in milliseconds.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time

# `EX_PROTOCOL` of sysexits.h; no command of the project ends with it.
LAPSED_EXIT_STATUS = 76
_PR_SET_PDEATHSIG = 1
_LOCK_POLL_SECONDS = 0.1


def main(argv: list[str]) -> int:
    """Returns the stage's exit status (128 + N after signal N), or that of a lapsed lease."""
    seconds, lock_path, cpus, *command = argv
    signs = _Signs(float(seconds))
    terminated: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: terminated.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cpus:
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    waited = False
    while not _locked(lock):
        if not waited:
            waited = True
            print(
                "waiting for an earlier attempt at this stage: processes of it still run and hold "
                f"{lock_path}",
                flush=True,
            )
        if not signs.wait(_LOCK_POLL_SECONDS):
            return LAPSED_EXIT_STATUS
        if terminated:
            return 128 + signal.SIGTERM
    child = _start(command, lock)
    exited = os.pidfd_open(child.pid)
    signal.signal(signal.SIGTERM, lambda number, frame: _send(child, number))
    if terminated:
        _send(child, signal.SIGTERM)
    held = True
    while held and not select.select([exited], [], [], 0)[0]:
        held = signs.wait(None, exited)
    # The exited stage is not waited for yet: its number cannot be another group's.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    status = child.wait()
    if not held:
        return LAPSED_EXIT_STATUS
    return status if status >= 0 else 128 - status


class _Signs:
    """What comes through standard input."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = _now() + seconds

    def wait(self, at_most: float | None, *more: int) -> bool:
        """Waits for a sign, for `at_most` seconds or until one of `more` can be read.

        Returns:
          Whether the worker still holds the stage.
        """
        left = max(0.0, self._deadline - _now())
        patience = left if at_most is None else min(left, at_most)
        ready, _, _ = select.select([0, *more], [], [], patience)
        if 0 in ready:
            if not os.read(0, 4096):
                return False
            self._deadline = _now() + self._seconds
        return _now() < self._deadline


def _now() -> float:
    # Goes on while the machine is suspended.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start(command: list[str], lock: int) -> subprocess.Popen:
    libc = ctypes.CDLL(None)
    keeper = os.getpid()

    def die_with_keeper() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(LAPSED_EXIT_STATUS)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[lock],
        preexec_fn=die_with_keeper,
    )


def _send(child: subprocess.Popen, number: int) -> None:
    # Not waited for here: its number is its own until it is.
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
