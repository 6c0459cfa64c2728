"""The isolated process that forks once a program; runs under `pool`, never by hand.

The zygote isolates itself once and stays pristine. For each program it makes a pid namespace,
whose init does nothing (`namespaces.Inits`), and forks one process into it, which furnishes the
room, gives up all privileges, calls the compiler and becomes the program (`stages`), while the
zygote watches (`watch`). When the program has ended the zygote ends init, and the kernel whatever
is left in the namespace, so nothing survives a program: not a daemon, not a process that ignores
signals. Where isolation was waived, the zygote adopts orphans and kills them itself.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from opencoder_jax.sandbox import namespaces, privileges, wire
from opencoder_jax.sandbox.immortal import make_immortal
from opencoder_jax.sandbox.limits import Limits
from opencoder_jax.sandbox.program import prepare_interpreter
from opencoder_jax.sandbox.resources import address_bytes, descendants, held_bytes
from opencoder_jax.sandbox.room import Room, receive
from opencoder_jax.sandbox.stages import Stages
from opencoder_jax.sandbox.watch import PIPES, Watch

# Imported once here instead of once a program: what most programs import. Each module more is
# memory that each fork copies the tables of.
_PRELOADED = (
    *("bisect", "collections", "copy", "dataclasses", "datetime", "functools", "heapq"),
    *("itertools", "json", "math", "random", "re", "string", "typing"),
)
# Room in the scratch folder for what a compiler writes.
_BUILD_BYTES = 512 << 20
# What a program touches of the libraries that the zygote has mapped is not its own.
_TOUCHED_BYTES = 4 << 20
_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> None:
    """Isolates this process, reports `{"ready": ...}`, then runs programs until EOF.

    Args:
      arguments: one JSON object: `socket` (file descriptor), `limits`, `isolate`, `paths`
        (what programs may read beyond Python and the system's folders), `packages` (a
        folder to import from, or null), `preload` (modules to import once, here).
    """
    _default_signals()
    # The dynamic linker has read it; programs need not.
    os.environ.pop("LD_BIND_NOW", None)
    settings = json.loads(arguments[0])
    connection = socket.socket(fileno=settings["socket"])
    connection.set_inheritable(False)
    limits = Limits(**settings["limits"])
    packages = settings["packages"]
    try:
        for name in _PRELOADED:
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
    make_immortal()
    gc.freeze()
    zygote.measure()
    wire.send(connection, {"ready": True})
    with contextlib.suppress(BrokenPipeError):
        while (request := wire.receive(connection)) is not None:
            wire.send(connection, zygote.run(request, connection))


def _default_signals() -> None:
    """What the caller ignores or blocks, under nohup or in a shell's background, programs meet."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # These two Python itself ignores; a program that is no Python gets them back when it starts.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


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
    privileges.end_with_parent()
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.build_root(paths, packages)
    privileges.drop_bounding_set()
    socket.sethostname(namespaces.HOST_NAME)
    # Its memory is that of every program's init.
    privileges.hide()
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

    _isolated = False

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._base_held = self._base_addresses = 0
        self._scratch = "/tmp"
        self._filter = privileges.SystemCallFilter()
        # The limit would count every process of this user.
        self._other_processes: int | None = None
        privileges.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def measure(self) -> None:
        """Programs' memory counts from here: what this process holds now they share."""
        self._base_held = held_bytes(os.getpid()) + _TOUCHED_BYTES
        self._base_addresses = address_bytes(os.getpid())

    def run(self, request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        """One program from start to the last of its processes; the fields of a `Result`.

        Args:
          request: the fields of a `Program`, and its `plan` (None for Python).
          connection: to the caller; when it closes, the program ends.
        """
        with self._fresh_scratch():
            room = self._take_room(_compiles(request))
            watch = Watch(room, self._limits, request)
            self._start(room, {**request, "secret": watch.secret})
            watch.until_end(connection, self._base_held, lambda: self._processes(room))
            ended = room.wait()
            self._kill_rest()
            watch.drain()
        return watch.result(ended)

    def _take_room(self, compiles: bool) -> Room:
        return self._make_room(None, compiles=compiles)

    def _start(self, room: Room, request: dict[str, Any]) -> None:
        room.give(request)

    def _make_room(self, init: int | None, *, compiles: bool) -> Room:
        """A process that has confined itself as far as it can without knowing its program."""
        pipes = {name: os.pipe() for name in PIPES}
        request_read, request_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(request_write)
            writes = {name: write for name, (_, write) in pipes.items()}
            self._become_program(request_read, writes, compiles=compiles)
        for _, write in pipes.values():
            os.close(write)
        os.close(request_read)
        reads = {name: read for name, (read, _) in pipes.items()}
        return Room(pid, init, reads, request_write, compiles)

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

    def _furnish(self, *, compiles: bool) -> None:
        """In the room's process: what belongs to one program only."""
        privileges.end_with_parent()

    def _become_user(self, pipes: dict[str, int]) -> None:
        """In the room's process: whoever programs run as."""

    def _processes(self, room: Room) -> list[int]:
        return [room.process, *descendants(room.process)]

    def _kill_rest(self) -> None:
        while True:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return

    def _become_program(self, requests: int, pipes: dict[str, int], *, compiles: bool) -> NoReturn:
        """Never returns: waits for its program, then becomes it."""
        try:
            self._furnish(compiles=compiles)
            request = receive(requests)
            stages = Stages(
                request,
                pipes,
                self._limits,
                self._scratch,
                base_addresses=self._base_addresses,
                other_processes=self._other_processes,
                isolated=self._isolated,
            )
            self._become_user(pipes)
            privileges.give_up_privileges()
            self._filter.install()
        except BaseException as error:
            os.write(pipes["status"], json.dumps({"error": repr(error)}).encode() + b"\n")
            os._exit(127)
        stages.run()


class _IsolatedZygote(_Zygote):
    """Runs each program in pid and mount namespaces of its own.

    While one program runs, the process of the next furnishes its room.
    """

    _isolated = True

    def __init__(self, limits: Limits, own_pids: int, siblings: int, as_root: bool) -> None:
        super().__init__(limits)
        self._own_pids = own_pids
        self._as_root = as_root
        self._inits = namespaces.Inits()
        self._network = namespaces.Network()
        self._next: Room | None = None
        # Where all is one user: this room's init, the next one, and who waits in it.
        self._other_processes = siblings + 3 * (not as_root)

    def _take_room(self, compiles: bool) -> Room:
        room, self._next = self._next, None
        is_stale = self._network.renew_if_used()
        if room and (is_stale or room.compiles != compiles or not room.is_alive()):
            room.discard()
            room = None
        return room or self._make_room(self._inits.start(), compiles=compiles)

    def _start(self, room: Room, request: dict[str, Any]) -> None:
        # Before the program starts: no child may end while an init is made.
        init = self._inits.start()
        if self._as_root:
            room.give(request)
            self._next = self._make_room(init, compiles=room.compiles)
        else:
            # The program's limit counts the next room's process too.
            self._next = self._make_room(init, compiles=room.compiles)
            room.give(request)

    def _make_room(self, init: int | None, *, compiles: bool) -> Room:
        room = super()._make_room(init, compiles=compiles)
        # A new pid namespace can be asked for only from the own one.
        os.setns(self._own_pids, os.CLONE_NEWPID)
        return room

    def _fresh_scratch(self) -> Any:
        return contextlib.nullcontext()

    def _furnish(self, *, compiles: bool) -> None:
        scratch_bytes = self._limits.scratch_bytes + (_BUILD_BYTES if compiles else 0)
        namespaces.private_mounts(scratch_bytes, namespaces.PROGRAM_UID)

    def _become_user(self, pipes: dict[str, int]) -> None:
        if self._as_root:
            user = namespaces.PROGRAM_UID
            # For who opens /dev/stderr.
            for name in ("stdout", "stderr", "compiler"):
                os.fchown(pipes[name], user, user)
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)

    def _processes(self, room: Room) -> list[int]:
        # All in this namespace but the zygote, the inits and the next; whoever is whose child.
        ours = {os.getpid(), room.init}
        if self._next:
            ours |= {self._next.init, self._next.process}
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if pid not in ours]

    def _kill_rest(self) -> None:
        """The kernel did, when init ended."""


def _compiles(request: dict[str, Any]) -> bool:
    return bool(request["plan"] and request["plan"]["compile"])


if __name__ == "__main__":
    main(sys.argv[1:])
