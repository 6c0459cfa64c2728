"""Runs a command and counts what it and its worker processes cost.

Beam's workers are children of the launcher, or of a pool beside it; some are killed at the end,
and then no `rusage` has them. So `/proc` is read while they run: CPU time of each as last seen,
the largest resident set of each.
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from beam_pipelines.child_processes import children

_PERIOD_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What a command cost.

    Attributes:
      wall_seconds: from start to end.
      cpu_seconds: user and system time of all its processes.
      launcher_bytes: largest resident set of the command itself.
      worker_bytes: largest resident set of any of its child processes; 0 where there were none.
    """

    wall_seconds: float
    cpu_seconds: float
    launcher_bytes: int
    worker_bytes: int


def measure(command: Sequence[str], env: Mapping[str, str] | None = None) -> Usage:
    """Runs `command`, its output shown only if it fails.

    Raises:
      subprocess.CalledProcessError: it failed; its last words are in the message.
    """
    seconds: dict[int, float] = {}
    peaks: dict[int, int] = {}
    started = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        while process.poll() is None:
            for pid in _tree(process.pid):
                _sample(pid, seconds, peaks)
            time.sleep(_PERIOD_SECONDS)
        wall = time.monotonic() - started
        output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        print(output[-4000:])
        raise subprocess.CalledProcessError(process.returncode, command)
    launcher = peaks.pop(process.pid, 0)
    return Usage(wall, sum(seconds.values()), launcher, max(peaks.values(), default=0))


def _tree(root: int) -> list[int]:
    """`root` and its descendants."""
    found = [root]
    for pid in found:
        found += children(pid)
    return found


def _sample(pid: int, seconds: dict[int, float], peaks: dict[int, int]) -> None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return
    seconds[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
    for line in status.splitlines():
        if line.startswith("VmHWM"):
            peaks[pid] = int(line.split()[1]) * 1024
