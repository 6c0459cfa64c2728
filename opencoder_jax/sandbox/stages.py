"""What pid 1 of a program's namespace does: compile, run, reap, report.

Init has already given up its privileges, and is out of the program's reach: the kernel
lets no signal from inside through to pid 1, and its memory and files are not to be seen.
It compiles first, ends whatever the compiler left running, then starts the program, and
tells the zygote how each stage ended. Python programs are forked from the warm
interpreter (`program`), others are executed.
"""

import fcntl
import gc
import math
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from opencoder_jax.sandbox.limits import Limits
from opencoder_jax.sandbox.program import enter, run_program
from opencoder_jax.sandbox.resources import Rlimits, descendants, set_limits

# A compiler may start helpers; it is limited by time and memory.
_COMPILER_PROCESSES = 128
_COMPILER_FILE_BYTES = 256 << 20
_MARK = 3


class Stages:
    """The stages of one program, as init goes through them."""

    def __init__(
        self,
        request: Mapping[str, Any],
        pipes: Mapping[str, int],
        limits: Limits,
        scratch: str,
        *,
        base_addresses: int,
        other_processes: int | None,
    ) -> None:
        """Args:
        request: a `Program` as the caller sends it, with its plan.
        pipes: the ends to write, by the names in `watch.PIPES`.
        limits: of the program.
        scratch: the folder to work in.
        base_addresses: bytes of address space that a forked interpreter begins with.
        other_processes: those that count towards the program's limit and are not its own;
          None where processes cannot be counted.
        """
        self._request = request
        self._plan: Mapping[str, Any] | None = request["plan"]
        self._pipes = pipes
        self._limits = limits
        self._scratch = scratch
        self._base_addresses = base_addresses
        self._other_processes = other_processes
        self._stdin = _sealed(request["stdin"]) if request["stdin"] else None

    def run(self) -> None:
        """Returns when the program has ended; its report is in the status pipe."""
        gc.disable()
        # Python's handler would let a program interrupt its init.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._plan:
            files = {**self._request["files"], self._plan["file"]: self._request["source"]}
            enter(self._scratch, files)
            if self._plan["compile"]:
                compiler = self._fork(self._become_compiler)
                ended = self._wait(compiler)
                self._end_all()
                if ended[0] != 0:
                    self._report("compile", ended)
                    return
                self._report("run", None)
            program = self._fork(self._become_command)
        else:
            program = self._fork(self._become_python)
        for name in ("stdout", "stderr", "compiler", "mark"):
            os.close(self._pipes[name])
        self._report("run", self._wait(program))

    def _fork(self, become: Any) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                become()
            finally:
                os._exit(127)
        return pid

    def _wait(self, program: int) -> tuple[int, float]:
        """Exit code and CPU seconds of `program`; others are reaped on the way."""
        while True:
            pid, status, usage = os.wait4(-1, 0)
            if pid == program:
                return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime

    def _end_all(self) -> None:
        """What the compiler left behind does not meet the program."""
        while True:
            if os.getpid() == 1:
                _kill(-1)
            for pid in descendants(os.getpid()):
                _kill(pid)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _report(self, stage: str, status: tuple[int, float] | None) -> None:
        """A line of JSON, without its module: each page that init touches is copied for it."""
        ended = f'"exit_code": {status[0]}, "cpu_seconds": {status[1]}, ' if status else ""
        os.write(self._pipes["status"], f'{{{ended}"stage": "{stage}"}}\n'.encode())

    def _become_python(self) -> NoReturn:
        gc.enable()
        request, scratch = self._request, self._scratch
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
        run_program(request["source"], request["files"], request["arguments"], scratch, _MARK)

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
                self._processes(_COMPILER_PROCESSES),
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


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
