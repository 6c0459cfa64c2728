"""The isolated process that forks once a program; runs under `pool`, never by hand.

Three generations: the zygote isolates itself once and stays pristine; for each program
it forks an init, pid 1 of a new pid namespace, which gives up all privileges and forks
the program (`program`). When init ends, the kernel kills whatever is left in the namespace,
so nothing survives a program: not a daemon, not a process that ignores signals.
Where isolation was waived, the zygote adopts orphans and kills them itself.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import Any

from opencoder_jax.sandbox import namespaces, privileges, wire
from opencoder_jax.sandbox.limits import Limits
from opencoder_jax.sandbox.program import MARK_ENDED, MARK_MEMORY, run_program

# Imported once here instead of once a program; doctest brings most of what tests import.
_PRELOADED = "collections dataclasses datetime doctest itertools json math random re string typing"
_WATCH_SECONDS = 0.02
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(arguments: list[str]) -> None:
    """Isolates this process, reports `{"ready": ...}`, then runs programs until EOF.

    Args:
      arguments: one JSON object: `socket` (file descriptor), `limits`, `isolate`.
    """
    settings = json.loads(arguments[0])
    connection = socket.socket(fileno=settings["socket"])
    connection.set_inheritable(False)
    limits = Limits(**settings["limits"])
    try:
        for name in _PRELOADED.split():
            importlib.import_module(name)
        zygote = _isolate(connection, limits) if settings["isolate"] else _Zygote(limits)
    except OSError as error:
        wire.send(connection, {"ready": False, "reason": str(error)})
        return
    gc.collect()
    gc.freeze()
    wire.send(connection, {"ready": True})
    while (request := wire.receive(connection)) is not None:
        wire.send(connection, zygote.run(request, connection))


def _isolate(connection: socket.socket, limits: Limits) -> "_Zygote":
    """Returns in the isolated child; the process that called waits for it and ends."""
    as_root = os.geteuid() == 0
    siblings = namespaces.enter_user_namespace()
    namespaces.enter_namespaces()
    child = os.fork()
    if child:
        connection.close()
        os.waitpid(child, 0)
        os._exit(0)
    privileges.check(
        privileges.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PDEATHSIG)"
    )
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.build_root()
    socket.sethostname("sandbox")
    return _IsolatedZygote(limits, own_pids, siblings, as_root)


class _Zygote:
    """Runs programs with limits and a group kill only: isolation was waived."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._base_resident = _resident_bytes(os.getpid())
        self._scratch = "/tmp"
        # The limit would count every process of this user.
        self._process_limit: int | None = None
        privileges.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self, request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        """One program from start to the last of its processes; the fields of a `Result`.

        Args:
          request: `program` and `files`.
          connection: to the caller; when it closes, the program and the zygote end.
        """
        with self._fresh_scratch():
            pipes = {name: os.pipe() for name in ("stdout", "stderr", "mark", "status")}
            started = time.monotonic()
            init = self._fork()
            if init == 0:
                self._become_init(request, {name: write for name, (_, write) in pipes.items()})
            for _, write in pipes.values():
                os.close(write)
            watch = _Watch({name: read for name, (read, _) in pipes.items()}, self._limits)
            watch.until_end(init, connection, self._base_resident)
            os.waitpid(init, 0)
            self._kill_rest()
            seconds = time.monotonic() - started
            watch.drain()
        return {**watch.verdict(), "seconds": seconds}

    def _fork(self) -> int:
        return os.fork()

    @contextlib.contextmanager
    def _fresh_scratch(self) -> Any:
        self._scratch = tempfile.mkdtemp(prefix="sandbox-")
        try:
            yield
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _confine(self) -> None:
        """In init: whatever belongs to one program only."""

    def _kill_rest(self) -> None:
        while True:
            for pid in _descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return

    def _become_init(self, request: dict[str, Any], pipes: dict[str, int]) -> None:
        """Never returns: confines itself, forks the program, reports how it ended."""
        try:
            self._confine()
            privileges.give_up_privileges()
            privileges.filter_system_calls()
            program = os.fork()
            if program == 0:
                self._become_program(request, pipes)
            for name in ("stdout", "stderr", "mark"):
                os.close(pipes[name])
            while True:
                pid, status, usage = os.wait4(-1, 0)
                if pid == program:
                    break
            report: dict[str, Any] = {
                "exit_code": os.waitstatus_to_exitcode(status),
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
            }
        except BaseException as error:
            report = {"error": repr(error)}
        os.write(pipes["status"], json.dumps(report).encode())
        os._exit(0)

    def _become_program(self, request: dict[str, Any], pipes: dict[str, int]) -> None:
        os.setsid()
        os.dup2(pipes["stdout"], 1)
        os.dup2(pipes["stderr"], 2)
        mark = 3
        if pipes["mark"] != mark:
            os.dup2(pipes["mark"], mark, inheritable=False)
        os.closerange(mark + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        _set_limits(self._limits, self._process_limit)
        run_program(request["program"], request["files"], self._scratch, mark)


class _IsolatedZygote(_Zygote):
    """Runs each program in pid, mount and IPC namespaces of its own."""

    def __init__(self, limits: Limits, own_pids: int, siblings: int, as_root: bool) -> None:
        super().__init__(limits)
        self._own_pids = own_pids
        self._as_root = as_root
        # Init is one of them too.
        self._process_limit = limits.processes + 1 + siblings

    def _fork(self) -> int:
        os.unshare(os.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            # A new pid namespace can be asked for only from the own one.
            os.setns(self._own_pids, os.CLONE_NEWPID)
        return pid

    def _fresh_scratch(self) -> Any:
        return contextlib.nullcontext()

    def _confine(self) -> None:
        user = namespaces.PROGRAM_UID
        namespaces.private_mounts(self._limits.scratch_bytes, user)
        if self._as_root:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)

    def _kill_rest(self) -> None:
        """The kernel did, when init ended."""


class _Watch:
    """One running program as the zygote sees it: output, time, memory."""

    def __init__(self, pipes: dict[str, int], limits: Limits) -> None:
        self._pipes = pipes
        self._limits = limits
        self._received = {name: bytearray() for name in pipes}
        self._stopped: tuple[str, str] | None = None

    def until_end(self, init: int, connection: socket.socket, base_resident: int) -> None:
        """Returns when init has ended; kills it at a limit, or when the caller has gone."""
        deadline = time.monotonic() + self._limits.wall_seconds
        names = {fd: name for name, fd in self._pipes.items()}
        poll = select.poll()
        for fd in names:
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        poll.register(connection, select.POLLIN)
        while True:
            for fd, _ in poll.poll(_WATCH_SECONDS * 1000):
                if fd == connection.fileno():
                    os.kill(init, signal.SIGKILL)
                    os._exit(0)
                if not self._read(names[fd]):
                    poll.unregister(fd)
                    if names[fd] == "status":
                        return
            if self._stopped is None:
                self._stopped = self._limit_reached(init, deadline, base_resident)
                if self._stopped:
                    os.kill(init, signal.SIGKILL)

    def drain(self) -> None:
        """Reads what is left in the pipes and closes them."""
        for name, fd in self._pipes.items():
            while self._read(name):
                pass
            os.close(fd)

    def verdict(self) -> dict[str, Any]:
        mark = bytes(self._received["mark"])
        status = json.loads(self._received["status"] or "{}")
        exit_code = status.get("exit_code", -signal.SIGKILL)
        verdict, reason = self._stopped or self._judge(status, exit_code, mark)
        limit = self._limits.output_bytes
        return {
            "verdict": verdict,
            "reason": reason,
            "exit_code": exit_code,
            "stdout": self._received["stdout"][:limit].decode("utf-8", "replace"),
            "stderr": self._received["stderr"][:limit].decode("utf-8", "replace"),
        }

    def _judge(self, status: dict[str, Any], exit_code: int, mark: bytes) -> tuple[str, str]:
        if "exit_code" not in status:
            return "killed", status.get("error", "its init process was killed")
        if self._output_limit_reached():
            return "output_limit", f"wrote more than {self._limits.output_bytes} bytes"
        if MARK_MEMORY in mark:
            return "memory", f"needed more than {self._limits.memory_bytes} bytes"
        if exit_code < 0:
            if exit_code == -signal.SIGXCPU or status["cpu_seconds"] >= self._limits.cpu_seconds:
                return "timeout", f"used {self._limits.cpu_seconds} s of CPU"
            return "killed", f"ended by {signal.Signals(-exit_code).name}"
        if exit_code > 0:
            lines = self._received["stderr"].decode("utf-8", "replace").strip().splitlines()
            return "failed", lines[-1] if lines else f"exit code {exit_code}"
        if MARK_ENDED not in mark:
            return "failed", "left before its end"
        return "passed", ""

    def _read(self, name: str) -> bool:
        """Takes what the pipe holds; False at its end (or, when not blocking, if empty)."""
        try:
            piece = os.read(self._pipes[name], 1 << 16)
        except BlockingIOError:
            return False
        if len(self._received[name]) <= self._limits.output_bytes:
            self._received[name] += piece
        return bool(piece)

    def _output_limit_reached(self) -> bool:
        longest = max(len(self._received[name]) for name in ("stdout", "stderr"))
        return longest > self._limits.output_bytes

    def _limit_reached(
        self, init: int, deadline: float, base_resident: int
    ) -> tuple[str, str] | None:
        limits = self._limits
        if self._output_limit_reached():
            return "output_limit", f"wrote more than {limits.output_bytes} bytes"
        if time.monotonic() > deadline:
            return "timeout", f"ran longer than {limits.wall_seconds} s"
        # Forked processes share the zygote's pages: only what they added counts.
        used = sum(max(0, _resident_bytes(pid) - base_resident) for pid in _descendants(init))
        if used > limits.memory_bytes:
            return "memory", f"its processes held more than {limits.memory_bytes} bytes"
        return None


def _set_limits(limits: Limits, processes: int | None) -> None:
    wanted = {
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
        resource.RLIMIT_AS: (limits.memory_bytes,) * 2,
        resource.RLIMIT_FSIZE: (limits.file_bytes,) * 2,
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_STACK: (8 << 20, 8 << 20),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = (processes, processes)
    for kind, (soft, hard) in wanted.items():
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))


def _descendants(pid: int) -> list[int]:
    """All processes below `pid`; none where /proc cannot be read."""
    found: list[int] = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(child) for child in file.read().split()]
    except (OSError, ValueError):
        return found
    for child in children:
        found += [child, *_descendants(child)]
    return found


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main(sys.argv[1:])
