"""What a room's process does once it has its program: have it compiled, then become it.

It has already given up its privileges. A compiler is a child of it, and whatever that leaves
running is ended before the program starts. A Python program goes on in this warm interpreter
(`program`), others are executed; how it ended the zygote learns from the kernel.
"""

import fcntl
import json
import math
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from opencoder_jax.sandbox import privileges
from opencoder_jax.sandbox.limits import Limits
from opencoder_jax.sandbox.program import enter, run_program
from opencoder_jax.sandbox.resources import Rlimits, descendants, set_limits

# A compiler may start helpers; it is limited by time and memory.
_COMPILER_PROCESSES = 128
_COMPILER_FILE_BYTES = 256 << 20
_MARK = 3


class Stages:
    """The stages of one program."""

    def __init__(
        self,
        request: Mapping[str, Any],
        pipes: Mapping[str, int],
        limits: Limits,
        scratch: str,
        *,
        base_addresses: int,
        other_processes: int | None,
        isolated: bool,
    ) -> None:
        """Args:
        request: a `Program` as the caller sends it, with its plan and `Watch.secret`.
        pipes: the ends to write, by the names in `watch.PIPES`.
        limits: of the program.
        scratch: the folder to work in.
        base_addresses: bytes of address space that a forked interpreter begins with.
        other_processes: those that count towards the program's limit and are not its own;
          None where processes cannot be counted.
        isolated: whether this process has a pid namespace of its own.
        """
        self._request = request
        self._plan: Mapping[str, Any] | None = request["plan"]
        self._pipes = pipes
        self._limits = limits
        self._scratch = scratch
        self._base_addresses = base_addresses
        self._other_processes = other_processes
        self._isolated = isolated
        self._stdin = _sealed(request["stdin"]) if request["stdin"] else None

    def run(self) -> NoReturn:
        """Becomes the program; before it, what is to be told of a compiler is in `status`."""
        try:
            os.setsid()
            if self._plan is None:
                self._become_python()
            files = {**self._request["files"], self._plan["file"]: self._request["source"]}
            enter(self._scratch, files)
            if not self._plan["compile"] or self._compile():
                self._become_command()
        except BaseException as error:
            # Not where the program's own code runs: `run_program` never returns.
            self._report({"error": repr(error)})
        finally:
            os._exit(127)

    def _compile(self) -> bool:
        """Whether the compiler made the program; nothing else that it started runs any more."""
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                self._become_compiler()
            finally:
                os._exit(127)
        _, status, usage = os.wait4(pid, 0)
        self._end_others()
        report: dict[str, float] = {"compile_cpu_seconds": usage.ru_utime + usage.ru_stime}
        if status:
            report["exit_code"] = os.waitstatus_to_exitcode(status)
        self._report(report)
        return status == 0

    def _end_others(self) -> None:
        """What the compiler left behind does not meet the program."""
        if self._isolated:
            # All in this namespace but its init, which adopts orphans, and this process.
            while _kill(-1):
                time.sleep(0.0005)
            return
        while True:
            for pid in descendants(os.getpid()):
                _kill(pid)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _report(self, status: Mapping[str, Any]) -> None:
        os.write(self._pipes["status"], json.dumps(status).encode() + b"\n")

    def _become_python(self) -> NoReturn:
        request, scratch = self._request, self._scratch
        self._take_files(self._stdin, self._pipes["stdout"], self._pipes["stderr"])
        limits = self._limits
        set_limits(
            Rlimits(
                limits.cpu_seconds,
                self._base_addresses + limits.memory_bytes,
                self._processes(limits.processes),
                limits.file_bytes,
            )
        )
        # Or the zygote could not tell which of its processes are one memory.
        privileges.show()
        run_program(
            request["source"],
            request["files"],
            request["arguments"],
            scratch,
            _MARK,
            request["secret"],
        )

    def _become_compiler(self) -> None:
        assert self._plan
        output = self._pipes["compiler"]
        self._take_files(None, output, output)
        limits = self._limits
        set_limits(
            Rlimits(
                # Of all its threads.
                math.ceil(limits.compile_seconds) * (os.cpu_count() or 1),
                limits.compile_memory_bytes,
                # This one's parent waits for it.
                self._processes(1 + _COMPILER_PROCESSES),
                _COMPILER_FILE_BYTES,
                reserves_addresses=True,
            )
        )
        self._execute(self._plan["compile"])

    def _become_command(self) -> None:
        assert self._plan
        plan, limits = self._plan, self._limits
        self._take_files(self._stdin, self._pipes["stdout"], self._pipes["stderr"])
        set_limits(
            Rlimits(
                limits.cpu_seconds,
                limits.memory_bytes,
                self._processes(limits.processes + plan["threads"]),
                limits.file_bytes,
                plan["reserves_addresses"],
            )
        )
        self._execute([*plan["run"], *self._request["arguments"]])

    def _execute(self, command: Sequence[str]) -> None:
        assert self._plan
        environment = {**os.environ, "HOME": self._scratch, "TMPDIR": self._scratch}
        for name, value in self._plan["environment"].items():
            environment[name] = self._filled(value)
        # Python ignores these; a program that expects to be ended by them would go on.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execve(command[0], [self._filled(word) for word in command], environment)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        except ValueError as error:
            # No command line has a NUL or half a surrogate pair in it.
            os.write(2, f"{command[0]}: arguments: {error}\n".encode())

    def _filled(self, text: str) -> str:
        memory_mb = str(self._limits.memory_bytes >> 20)
        return text.replace("{scratch}", self._scratch).replace("{memory_mb}", memory_mb)

    def _processes(self, own: int) -> int | None:
        return None if self._other_processes is None else own + self._other_processes

    def _take_files(self, stdin: int | None, stdout: int, stderr: int) -> None:
        """Makes these the standard streams, the mark pipe the next file, and closes the rest."""
        # Copies first: a pipe may have the number of a stream.
        wanted = [stdin, stdout, stderr, self._pipes["mark"]]
        null = os.open("/dev/null", os.O_RDONLY)
        copies = [os.dup(null if fd is None else fd) for fd in wanted]
        for target, fd in enumerate(copies):
            os.dup2(fd, target, inheritable=target != _MARK)
        os.closerange(_MARK + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _sealed(text: str) -> int:
    """A file in memory with `text`, which nobody can change any more."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(text.encode("utf-8", "surrogatepass"))
    os.lseek(fd, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _kill(pid: int) -> bool:
    """Whether there was anybody to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
