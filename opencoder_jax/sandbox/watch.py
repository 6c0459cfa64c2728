"""One running program as the zygote sees it: its pipes, its time, its memory, its verdict.

`until_end` is the zygote's whole attention while a program runs. What the program itself
can reach is believed only as far as it goes: output is output, but that it ran to its
end needs the secret of `program`, and how it ended is told by the kernel.
"""

import json
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opencoder_jax.sandbox.limits import Limits
from opencoder_jax.sandbox.program import MARK_ENDED, MARK_MEMORY, SECRET_BYTES
from opencoder_jax.sandbox.resources import all_held_bytes
from opencoder_jax.sandbox.room import Ended, Room

# `compiler` is what the compiler writes, `mark` the Python program's secret, `status` what its
# process said before it became the program.
PIPES = ("stdout", "stderr", "compiler", "mark", "status")
_WATCH_SECONDS = 0.02
_REASON_CHARS = 500
# Words of gcc, clang, rustc, javac and go, who exit as from any other error.
_COMPILER_MEMORY = re.compile(
    r"out of memory allocating \d+ bytes|virtual memory exhausted|std::bad_alloc|"
    r"memory allocation of \d+ bytes failed|OutOfMemoryError|(LLVM ERROR|runtime): out of memory"
)
# The program chooses the words, so each of these sees one line, and of that only a piece.
_FAILURE = re.compile(
    r"[\w.]*(Error|Exception)\b|panic: |thread '[^']*' .*panicked|fatal error: |"
    r"(PHP )?Fatal error: |Fail:|---- DEBUG ASSERTION"
)


class Watch:
    """From the start of a program to the verdict."""

    def __init__(self, room: Room, limits: Limits, request: Mapping[str, Any]) -> None:
        """Args:
        room: which the program is about to be given to.
        limits: of the program.
        request: a `Program` as the caller sends it, with its plan.
        """
        self._room = room
        self._pipes = room.pipes
        self._limits = limits
        self._request = request
        self._plan: Mapping[str, Any] = request["plan"] or {}
        self._compiling = bool(self._plan.get("compile"))
        self._received = {name: bytearray() for name in room.pipes}
        self._stopped: tuple[str, str] | None = None
        # Makes a Python program's mark count.
        self.secret = os.urandom(SECRET_BYTES)
        self._started = time.monotonic()
        self._next_look = self._started + _WATCH_SECONDS

    def until_end(
        self,
        connection: socket.socket,
        base_held: int,
        processes: Callable[[], Sequence[int]],
    ) -> None:
        """Returns when the program has ended; kills it at a limit, or when the caller has gone.

        Args:
          connection: to the caller.
          base_held: bytes that a forked process shares with the zygote.
          processes: those of the program.
        """
        names = {fd: name for name, fd in self._pipes.items()}
        poll = select.poll()
        for fd in names:
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        poll.register(connection, select.POLLIN)
        poll.register(self._room.ending, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll(_WATCH_SECONDS * 1000)]
            if connection.fileno() in ready:
                # The answer will reach nobody, but what the program has left must not stay.
                poll.unregister(connection)
                self._room.kill()
            if self._room.ending in ready:
                return
            for fd in ready:
                if fd in names and not self._read(names[fd]):
                    poll.unregister(fd)
            if self._compiling and self._received["status"]:
                # Which says that the compiler is done.
                self._compiling = False
                self._started = time.monotonic()
            if self._stopped is None:
                self._stopped = self._limit_reached(base_held, processes)
                if self._stopped:
                    self._room.kill()

    def drain(self) -> None:
        """Reads what is left in the pipes and closes them."""
        for name, fd in self._pipes.items():
            while self._read(name):
                pass
            os.close(fd)

    def result(self, ended: Ended) -> dict[str, Any]:
        """The fields of a `Result`; all of the program's processes have ended.

        Args:
          ended: how the room's process did.
        """
        seconds = time.monotonic() - self._started
        status: dict[str, Any] = {}
        for line in self._received["status"].splitlines():
            status |= json.loads(line)
        exit_code = status.get("exit_code", ended.exit_code)
        cpu_seconds = ended.cpu_seconds - status.get("compile_cpu_seconds", 0)
        verdict, reason = self._stopped or self._judge(status, exit_code, cpu_seconds)
        in_compiler = self._compiling or "exit_code" in status
        return {
            "verdict": verdict,
            "reason": _printable(reason),
            "exit_code": exit_code,
            "stdout": self._text("stdout"),
            "stderr": self._text("compiler" if in_compiler else "stderr"),
            "seconds": seconds,
        }

    def _judge(
        self, status: Mapping[str, Any], exit_code: int, cpu_seconds: float
    ) -> tuple[str, str]:
        limits = self._limits
        if "error" in status:
            return "killed", status["error"]
        if "exit_code" in status:
            if exit_code == -signal.SIGXCPU:
                return "timeout", "its compiler used too much CPU"
            if _COMPILER_MEMORY.search(self._text("compiler")):
                most = limits.compile_memory_bytes
                return "memory", f"its compiler needed more than {most} bytes"
            return "compile_error", _error_line(self._text("compiler")) or f"exit code {exit_code}"
        if self._output_limit_reached():
            return "output_limit", f"wrote more than {limits.output_bytes} bytes"
        mark = self._mark()
        stderr = self._text("stderr")
        out_of_memory = self._plan.get("memory_words")
        if mark == MARK_MEMORY or (
            exit_code != 0 and out_of_memory and re.search(out_of_memory, stderr)
        ):
            return "memory", f"needed more than {limits.memory_bytes} bytes"
        if exit_code < 0:
            if exit_code == -signal.SIGXCPU or cpu_seconds >= limits.cpu_seconds:
                return "timeout", f"used {limits.cpu_seconds} s of CPU"
            return "killed", f"ended by {_signal_name(-exit_code)}"
        if exit_code > 0:
            line = _failure_line(stderr) if self._plan else _last_line(stderr)
            return "failed", line or f"exit code {exit_code}"
        if self._plan:
            failure = self._plan["failure_words"]
            if failure and re.search(failure, stderr, re.M):
                return "failed", _failure_line(stderr)
        elif mark is None:
            return "failed", "wrote to the sandbox's own pipe"
        elif mark != MARK_ENDED and not self._request["exit_passes"]:
            return "failed", "left before its end"
        return "passed", ""

    def _mark(self) -> bytes | None:
        """What the Python program's runner said last; None where somebody else wrote."""
        received = bytes(self._received["mark"])
        if not received:
            return b""
        mark = received[:1]
        return mark if received in (MARK_ENDED + self.secret, MARK_MEMORY + self.secret) else None

    def _read(self, name: str) -> bool:
        """Takes what the pipe holds; False at its end (or, when not blocking, if empty)."""
        try:
            piece = os.read(self._pipes[name], 1 << 16)
        except BlockingIOError:
            return False
        if len(self._received[name]) <= self._limits.output_bytes:
            self._received[name] += piece
        return bool(piece)

    def _text(self, name: str) -> str:
        return self._received[name][: self._limits.output_bytes].decode("utf-8", "replace")

    def _output_limit_reached(self) -> bool:
        longest = max(len(self._received[name]) for name in ("stdout", "stderr"))
        return longest > self._limits.output_bytes

    def _limit_reached(
        self, base_held: int, processes: Callable[[], Sequence[int]]
    ) -> tuple[str, str] | None:
        limits = self._limits
        if self._compiling:
            who, seconds, memory = (
                "its compiler",
                limits.compile_seconds,
                limits.compile_memory_bytes,
            )
        else:
            who, seconds, memory = "it", limits.wall_seconds, limits.memory_bytes
        if self._output_limit_reached():
            return "output_limit", f"wrote more than {limits.output_bytes} bytes"
        now = time.monotonic()
        if now - self._started > seconds:
            return "timeout", f"{who} ran longer than {seconds} s"
        if now < self._next_look:
            return None
        self._next_look = now + _WATCH_SECONDS
        if all_held_bytes(processes(), base_held, memory) > memory:
            return "memory", f"{who} and its children held more than {memory} bytes"
        return None


def _printable(line: str) -> str:
    """For people's terminals: the program may have chosen the words."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[:_REASON_CHARS]
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _failure_line(text: str) -> str:
    """The line that names the failure; most languages write a stack below it."""
    lines = (line.strip() for line in text.splitlines())
    found = next((line for line in lines if _FAILURE.match(line[:_REASON_CHARS])), None)
    return _last_line(text) if found is None else found


def _signal_name(number: int) -> str:
    """Python knows names of the first and the last real-time signal only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error_line(text: str) -> str:
    """The first line of a compiler's output that speaks of an error."""
    lines = text.strip().splitlines()
    return next((line.strip() for line in lines if "error" in line.lower()), _last_line(text))
