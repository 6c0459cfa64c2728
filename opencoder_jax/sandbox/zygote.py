"""The isolated process that forks once a program; runs under `pool`, never by hand.

Three generations: the zygote isolates itself once and stays pristine; for each program
it forks an init, pid 1 of a new pid namespace, which gives up all privileges and starts
compiler and program (`stages`), while the zygote watches (`watch`). When init ends, the
kernel kills whatever is left in the namespace, so nothing survives a program: not a
daemon, not a process that ignores signals. Where isolation was waived, the zygote adopts
orphans and kills them itself.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from opencoder_jax.sandbox import namespaces, privileges, wire
from opencoder_jax.sandbox.limits import Limits
from opencoder_jax.sandbox.program import prepare_interpreter
from opencoder_jax.sandbox.resources import address_bytes, descendants, resident_bytes
from opencoder_jax.sandbox.stages import Stages
from opencoder_jax.sandbox.watch import PIPES, Watch

# Imported once here instead of once a program; doctest brings most of what tests import.
_PRELOADED = "collections dataclasses datetime doctest itertools json math random re string typing"
# Room in the scratch folder for what a compiler writes.
_BUILD_BYTES = 512 << 20
# Keeps the interpreter's lock during a call.
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(arguments: list[str]) -> None:
    """Isolates this process, reports `{"ready": ...}`, then runs programs until EOF.

    Args:
      arguments: one JSON object: `socket` (file descriptor), `limits`, `isolate`, `paths`
        (what programs may read beyond Python and the system's folders), `packages` (a
        folder to import from, or null), `preload` (modules to import once, here).
    """
    settings = json.loads(arguments[0])
    connection = socket.socket(fileno=settings["socket"])
    connection.set_inheritable(False)
    limits = Limits(**settings["limits"])
    packages = settings["packages"]
    try:
        for name in _PRELOADED.split():
            importlib.import_module(name)
        if settings["isolate"]:
            isolation = _isolate(connection, settings["paths"], packages)
            packages = packages and namespaces.PACKAGES
    except OSError as error:
        wire.send(connection, {"ready": False, "reason": str(error)})
        return
    # Behind the walls: what packages do when they are imported is not this project's code.
    if fault := _preload(packages, settings["preload"]):
        wire.send(connection, {"ready": False, "fault": fault})
        return
    prepare_interpreter()
    zygote = _IsolatedZygote(limits, *isolation) if settings["isolate"] else _Zygote(limits)
    # What forks share stays shared: no collection touches it.
    gc.collect()
    gc.freeze()
    wire.send(connection, {"ready": True})
    while (request := wire.receive(connection)) is not None:
        wire.send(connection, zygote.run(request, connection))


def _isolate(
    connection: socket.socket, paths: list[str], packages: str | None
) -> tuple[int, int, bool]:
    """Returns in the isolated child; the process that called waits for it and ends.

    Returns:
      The rest of the arguments of `_IsolatedZygote`.
    """
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
    namespaces.build_root(paths, packages)
    privileges.drop_bounding_set()
    socket.sethostname("sandbox")
    return own_pids, siblings, as_root


def _preload(packages: str | None, names: list[str]) -> str | None:
    """Imports modules that all programs will find loaded; what went wrong, or None."""
    if packages:
        sys.path.append(packages)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            return f"preload={name!r}: {type(error).__name__}: {error}"
        if len(os.listdir("/proc/self/task")) > 1:
            return f"preload={name!r} starts threads, which no fork takes along: leave it out"
    return None


class _Zygote:
    """Runs programs with limits and a group kill only: isolation was waived."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._base_resident = resident_bytes(os.getpid())
        self._base_addresses = address_bytes(os.getpid())
        self._scratch = "/tmp"
        self._filter = privileges.SystemCallFilter()
        # The limit would count every process of this user.
        self._other_processes: int | None = None
        privileges.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self, request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        """One program from start to the last of its processes; the fields of a `Result`.

        Args:
          request: the fields of a `Program`, and its `plan` (None for Python).
          connection: to the caller; when it closes, the program and the zygote end.
        """
        with self._fresh_scratch():
            pipes = {name: os.pipe() for name in PIPES}
            watch = Watch({name: read for name, (read, _) in pipes.items()}, self._limits, request)
            init = self._fork()
            if init == 0:
                self._become_init(request, {name: write for name, (_, write) in pipes.items()})
            for _, write in pipes.values():
                os.close(write)
            watch.until_end(init, connection, self._base_resident, self._processes)
            os.waitpid(init, 0)
            self._kill_rest()
            watch.drain()
        return watch.result()

    def _fork(self) -> int:
        return _plain_fork()

    @contextlib.contextmanager
    def _fresh_scratch(self) -> Any:
        # Not above: they bring five libraries that each fork of an isolated zygote would copy.
        import shutil
        import tempfile

        self._scratch = tempfile.mkdtemp(prefix="sandbox-")
        try:
            yield
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _confine(self, request: dict[str, Any]) -> None:
        """In init: whatever belongs to one program only."""

    def _processes(self, init: int) -> list[int]:
        return descendants(init)

    def _kill_rest(self) -> None:
        while True:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return

    def _become_init(self, request: dict[str, Any], pipes: dict[str, int]) -> NoReturn:
        """Never returns: confines itself, then goes through the program's stages."""
        try:
            stages = Stages(
                request,
                pipes,
                self._limits,
                self._scratch,
                base_addresses=self._base_addresses,
                other_processes=self._other_processes,
            )
            self._confine(request)
            privileges.give_up_privileges()
            self._filter.install()
            stages.run()
        except BaseException as error:
            os.write(pipes["status"], json.dumps({"error": repr(error)}).encode() + b"\n")
        os._exit(0)


class _IsolatedZygote(_Zygote):
    """Runs each program in pid, mount and IPC namespaces of its own."""

    def __init__(self, limits: Limits, own_pids: int, siblings: int, as_root: bool) -> None:
        super().__init__(limits)
        self._own_pids = own_pids
        self._as_root = as_root
        # Init is one of them.
        self._other_processes = 1 + siblings

    def _fork(self) -> int:
        os.unshare(os.CLONE_NEWPID)
        pid = _plain_fork()
        if pid:
            # A new pid namespace can be asked for only from the own one.
            os.setns(self._own_pids, os.CLONE_NEWPID)
        return pid

    def _fresh_scratch(self) -> Any:
        return contextlib.nullcontext()

    def _confine(self, request: dict[str, Any]) -> None:
        user = namespaces.PROGRAM_UID
        compiled = request["plan"] and request["plan"]["compile"]
        scratch_bytes = self._limits.scratch_bytes + (_BUILD_BYTES if compiled else 0)
        namespaces.private_mounts(scratch_bytes, user)
        if self._as_root:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)

    def _processes(self, init: int) -> list[int]:
        # All in this namespace but the zygote; whoever is whose child.
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if pid not in (os.getpid(), init)]

    def _kill_rest(self) -> None:
        """The kernel did, when init ended."""


def _plain_fork() -> int:
    """A fork without what Python does after one for programs: init is none, and has no threads."""
    return privileges.check(_libc_with_lock.fork(), "fork")


if __name__ == "__main__":
    main(sys.argv[1:])
