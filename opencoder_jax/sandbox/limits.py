"""A program, what it may use, and what became of it.

The limits are per program and enforced by the kernel where it can count (CPU, address
space, processes, file sizes) and by the zygote where it cannot (wall time, resident
memory of all processes together, output). Verdicts are few, so that a caller can count
them; the reason beside one is for people.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from opencoder_jax.errors import InputError

Verdict = Literal[
    "passed",
    "failed",
    "timeout",
    "memory",
    "output_limit",
    "killed",
    "compile_error",
    "skipped",
]


class SandboxUnavailable(InputError):  # noqa: N818  (the state of a machine, like BlockingIOError)
    """This machine cannot isolate programs; the message says what is missing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A program and what it is given.

    Attributes:
      source: its text, in one file.
      language: one of `opencoder_jax.sandbox.LANGUAGES`: python, c, cpp, java, javascript,
        typescript, go, rust, php, csharp, bash.
      files: relative path to text of further files in its working folder.
      stdin: what it reads.
      arguments: of its command line.
      exit_passes: Python that leaves through `exit(0)` has passed too, as is right where
        its output is judged and not its assertions.
    """

    source: str
    language: str = "python"
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stdin: str = ""
    arguments: Sequence[str] = ()
    exit_passes: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
      wall_seconds: from start to end, after which all its processes are killed.
      cpu_seconds: of each process.
      memory_bytes: address space of each process, and resident memory of all together; for
        Python, beyond what the interpreter and preloaded packages have.
      processes: processes and threads at one time, its first included.
      file_bytes: size of one file.
      scratch_bytes: of all its files together; they live in memory.
      output_bytes: of stdout and of stderr, each.
      compile_seconds: from start to end of a compiler, which comes before `wall_seconds`.
      compile_memory_bytes: resident memory of all its processes together.
    """

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30
    processes: int = 16
    file_bytes: int = 16 << 20
    scratch_bytes: int = 32 << 20
    output_bytes: int = 64 << 10
    compile_seconds: float = 60.0
    compile_memory_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise InputError(f"sandbox limit {field.name} is {value}, expected more than 0")


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of a program.

    Attributes:
      verdict: `passed` if it ran to its end without an exception: Python that leaves early
        through `exit()` has `failed`, in other languages exit code 0 is the end. `timeout`,
        `memory` and `output_limit` name the limit that stopped it, or its compiler; `killed`
        if a signal did; `compile_error` if the compiler refused it; `skipped` if this
        machine cannot run the language.
      exit_code: as of a process; minus the signal's number, where one ended it.
      stdout: at most `output_bytes`, invalid UTF-8 replaced.
      stderr: likewise; ends with the traceback of an exception. What the compiler wrote,
        if it is a compile error.
      seconds: wall time after compiling, measured inside; the only field that differs
        between two runs.
      reason: one line for people; empty if it passed.
    """

    verdict: Verdict
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    reason: str
