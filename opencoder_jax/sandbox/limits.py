"""What a program may use, and what became of it.

The limits are per program and enforced by the kernel where it can count (CPU, address
space, processes, file sizes) and by the zygote where it cannot (wall time, resident
memory of all processes together, output). Verdicts are few, so that a caller can count
them; the reason beside one is for people.
"""

import dataclasses
from typing import Literal

from opencoder_jax.errors import InputError

Verdict = Literal["passed", "failed", "timeout", "memory", "output_limit", "killed"]


class SandboxUnavailable(InputError):  # noqa: N818  (the state of a machine, like BlockingIOError)
    """This machine cannot isolate programs; the message says what is missing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
      wall_seconds: from start to end, after which all its processes are killed.
      cpu_seconds: of each process.
      memory_bytes: address space of each process, and resident memory of all together.
      processes: processes and threads at one time, its first included.
      file_bytes: size of one file.
      scratch_bytes: of all its files together; they live in memory.
      output_bytes: of stdout and of stderr, each.
    """

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30
    processes: int = 16
    file_bytes: int = 16 << 20
    scratch_bytes: int = 32 << 20
    output_bytes: int = 64 << 10

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise InputError(f"sandbox limit {field.name} is {value}, expected more than 0")


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of a program.

    Attributes:
      verdict: `passed` if it ran to its end without an exception (leaving early through
        `exit()` is `failed`); `timeout`, `memory` and `output_limit` name the limit that
        stopped it; `killed` if a signal did.
      exit_code: as of a process; minus the signal's number, where one ended it.
      stdout: at most `output_bytes`, invalid UTF-8 replaced.
      stderr: likewise; ends with the traceback of an exception.
      seconds: wall time, measured inside; the only field that differs between two runs.
      reason: one line for people; empty if it passed.
    """

    verdict: Verdict
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    reason: str
