"""The caller's side: starts zygotes, hands them programs, replaces one that dies.

A zygote runs one program at a time; `run_many` keeps several busy from threads. Before a
zygote gets its first program it has to show that its walls stand: a canary program tries
the network, other processes, writing and forking. A machine where the canary gets out,
or where the kernel refuses namespaces, is `SandboxUnavailable`.
Start reading at `Sandbox`; `zygote` is the other side of the socket.
"""

import contextlib
import dataclasses
import json
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Self

from opencoder_jax.errors import InputError
from opencoder_jax.sandbox import languages, wire
from opencoder_jax.sandbox.limits import Limits, Program, Result, SandboxUnavailable

_PROJECT_FOLDER = Path(__file__).resolve().parents[2]
_CANARY = Path(__file__).with_name("canary.py").read_text()
_START_SECONDS = 30.0
_PRELOAD_SECONDS = 30.0  # of each module
# Beyond its own limit a zygote gets this long to kill, collect and answer on a busy machine.
_GRACE_SECONDS = 20.0
# One that has closed its socket is about to end, and to say why.
_DYING_SECONDS = 1.0
# All that a program inherits. A fixed hash seed: the order of a set is the same in each run.
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "TMPDIR": "/tmp",
    "TZ": "UTC",
}
# With packages: no display, and no threads beside the program's own.
_PACKAGES_ENVIRONMENT = {
    "MPLBACKEND": "Agg",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
# Without -E, which would ignore the hash seed; the environment is ours anyway. No site-packages.
# The package is entered without its `__init__`: that imports this side, whose modules and
# libraries each fork of the zygote would copy.
_START = """
import sys, types
package = sys.modules["opencoder_jax.sandbox"] = types.ModuleType("opencoder_jax.sandbox")
package.__path__ = [sys.argv[1] + "/opencoder_jax/sandbox"]
sys.path.insert(0, sys.argv[1])
from opencoder_jax.sandbox.zygote import main
del sys.path[0]
main(sys.argv[2:])
"""
_INTERPRETER_FLAGS = ("-s", "-S", "-P")


class Sandbox:
    """Runs programs one by one or many at a time, each isolated from all else.

    Zygotes start when they are needed (about 0.2 s each) and stay until `close`. Use it
    as a context manager. Methods may be called from several threads.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        allow_unisolated: bool = False,
        hash_seed: int = 0,
        packages: str | Path | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        """Args:
        limits: for each program.
        allow_unisolated: where the machine cannot isolate, run with limits and a group
          kill only. The program can then read and write whatever this user can.
        hash_seed: of Python's string hashes, which decide the order of sets.
        packages: a site-packages folder that Python programs can import from, and read;
          `sysconfig.get_path("purelib")` is that of this environment. None: the standard
          library only.
        preload: modules that are imported once instead of by each program.

        Raises:
        InputError: `packages` is no folder.
        """
        if packages is not None and not Path(packages).is_dir():
            raise InputError(f"sandbox packages {packages}: expected a site-packages folder")
        self.limits = limits or Limits()
        self._allow_unisolated = allow_unisolated
        self._hash_seed = hash_seed
        # What Python programs see beyond the standard library.
        self._packages = () if packages is None else (os.path.realpath(packages),)
        self._preload = tuple(preload)
        self._isolate = True
        # By what its programs see: each language sees its own toolchain only.
        self._idle: dict[tuple[str, ...], queue.LifoQueue[_Zygote]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def isolated(self) -> bool:
        """Whether programs are isolated; False only where that was allowed and needed."""
        self._give_back(self._take(self._packages))
        return self._isolate

    def run(
        self,
        program: str,
        *,
        language: str = "python",
        files: Mapping[str, str] | None = None,
        stdin: str = "",
        arguments: Sequence[str] = (),
        exit_passes: bool = False,
    ) -> Result:
        """Runs one program.

        Args:
          program: its source.
          language: one of `LANGUAGES`: python, c, cpp, java, javascript, typescript, go,
            rust, php, csharp, bash. `skipped` where this machine has no toolchain for it.
          files: relative path to text of further files in its working folder.
          stdin: what it reads.
          arguments: of its command line.
          exit_passes: Python that leaves through `exit(0)` has passed too.

        Raises:
          SandboxUnavailable: this machine cannot isolate.
          InputError: a path in `files` is absolute or leads out of the folder, or the
            language is none of those.
        """
        return self._run(Program(program, language, files or {}, stdin, arguments, exit_passes))

    def run_many(
        self,
        programs: Sequence[str | Program],
        *,
        workers: int = 2,
        progress: Callable[[int], None] | None = None,
    ) -> list[Result]:
        """Runs programs side by side; results come in the programs' order.

        Args:
          programs: Python sources, or programs of any language.
          workers: how many run at a time.
          progress: called with 1 whenever a program has ended.
        """

        def run(program: str | Program) -> Result:
            result = self._run(Program(program) if isinstance(program, str) else program)
            if progress:
                progress(1)
            return result

        with ThreadPoolExecutor(workers, thread_name_prefix="sandbox") as pool:
            return list(pool.map(run, programs))

    def close(self) -> None:
        """Ends the zygotes and whatever runs in them."""
        for idle in list(self._idle.values()):
            with contextlib.suppress(queue.Empty):
                while True:
                    idle.get_nowait().close()

    def _run(self, program: Program) -> Result:
        for path in program.files:
            if not _stays_inside(path):
                raise InputError(f"sandbox file {path!r}: expected a relative path without '..'")
        try:
            plan = None
            if program.language != "python":
                plan = languages.plan(program.language, program.source)
        except languages.MissingToolchain as missing:
            return Result("skipped", 0, "", "", 0.0, str(missing))
        request = {
            **dataclasses.asdict(program),
            "plan": None if plan is None else dataclasses.asdict(plan),
        }
        paths = self._packages if plan is None else plan.paths
        seconds = self.limits.wall_seconds + _GRACE_SECONDS
        if plan and plan.compile:
            seconds += self.limits.compile_seconds
        # Once more for a program whose zygote was killed under it.
        for _ in range(2):
            zygote = self._take(paths)
            answer = zygote.ask(request, seconds)
            if answer is not None:
                self._give_back(zygote)
                return Result(**answer)
            reason = zygote.last_words()
            zygote.close()
        return Result("killed", -9, "", "", self.limits.wall_seconds, reason)

    def _take(self, paths: tuple[str, ...]) -> "_Zygote":
        with contextlib.suppress(KeyError, queue.Empty):
            while True:
                zygote = self._idle[paths].get_nowait()
                if zygote.is_alive():
                    return zygote
                zygote.close()
        if self._isolate:
            try:
                return self._start(paths, isolate=True)
            except SandboxUnavailable:
                if not self._allow_unisolated:
                    raise
                self._isolate = False
        return self._start(paths, isolate=False)

    def _start(self, paths: tuple[str, ...], *, isolate: bool) -> "_Zygote":
        try:
            return self._start_once(paths, isolate=isolate)
        except _ZygoteDied:
            # Of something outside, lack of memory say: that tells nothing of the machine's walls.
            return self._start_once(paths, isolate=isolate)

    def _start_once(self, paths: tuple[str, ...], *, isolate: bool) -> "_Zygote":
        for_python = paths == self._packages
        zygote = _Zygote(
            self.limits,
            self._hash_seed,
            paths,
            isolate=isolate,
            packages=self._packages[0] if for_python and self._packages else None,
            preload=self._preload if for_python else (),
        )
        if isolate:
            try:
                _check_walls(zygote, self.limits)
            except SandboxUnavailable:
                zygote.close()
                raise
        return zygote

    def _give_back(self, zygote: "_Zygote") -> None:
        # One queue, even if two threads come first.
        self._idle.setdefault(zygote.paths, queue.LifoQueue()).put(zygote)


class _ZygoteDied(SandboxUnavailable):
    """Before its first program, or its canary did, without a word of what the machine refuses."""


class _Zygote:
    """One zygote process and the socket to it."""

    def __init__(
        self,
        limits: Limits,
        hash_seed: int,
        paths: tuple[str, ...],
        *,
        isolate: bool,
        packages: str | None,
        preload: Sequence[str],
    ) -> None:
        self.paths = paths
        ours, theirs = socket.socketpair()
        # Where somebody has set a default timeout for sockets, as Beam's Google Cloud client
        # does, both ends are born non-blocking, and the zygote inherits that.
        theirs.setblocking(True)
        self._socket = ours
        settings = {
            "socket": theirs.fileno(),
            "limits": dataclasses.asdict(limits),
            "isolate": isolate,
            # Packages have a place of their own inside.
            "paths": [path for path in paths if path != packages],
            "packages": packages,
            "preload": preload,
        }
        environment = {**_ENVIRONMENT, "PYTHONHASHSEED": str(hash_seed)}
        # Or each fork would look up the functions that it calls, and write them down for itself.
        environment["LD_BIND_NOW"] = "1"
        if packages:
            environment |= _PACKAGES_ENVIRONMENT
        # The interpreter itself, not a virtual environment's link to it: that is not mounted.
        interpreter = os.path.realpath(sys.executable)
        command = [interpreter, *_INTERPRETER_FLAGS, "-c", _START, str(_PROJECT_FOLDER)]
        with theirs:
            self._process = subprocess.Popen(
                [*command, json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        answer = self._receive(_START_SECONDS + _PRELOAD_SECONDS * len(preload))
        if answer and "fault" in answer:
            self.close()
            raise InputError(f"sandbox {answer['fault']}")
        if not answer or not answer["ready"]:
            reason = answer["reason"] if answer else self.last_words()
            self.close()
            raise (SandboxUnavailable if answer else _ZygoteDied)(
                f"this machine cannot isolate programs: {reason}. Untrusted code needs Linux 5.14 "
                "or newer on x86_64 with user namespaces (docs/sandbox.md); allow_unisolated=True "
                "runs it with this user's rights, under limits only"
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The zygote's answer, or None if it died or did not answer in time."""
        try:
            wire.send(self._socket, request)
        except OSError:
            return None
        return self._receive(seconds)

    def last_words(self) -> str:
        """Ends a zygote that gave no answer; for people, how it died."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DYING_SECONDS)
        self._process.kill()
        assert self._process.stderr is not None
        lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return f"the sandbox died{f' ({lines[-1]})' if lines else ''}"

    def close(self) -> None:
        self._socket.close()
        # Its death ends the pid namespace, and with it everything inside.
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        self._socket.settimeout(seconds)
        try:
            return wire.receive(self._socket)
        except TimeoutError:
            return None


def _check_walls(zygote: _Zygote, limits: Limits) -> None:
    """Raises: SandboxUnavailable: the canary did what no program may."""
    seconds = limits.wall_seconds + _GRACE_SECONDS
    request = {**dataclasses.asdict(Program(_CANARY)), "plan": None}
    answer = zygote.ask(request, seconds)
    if answer is None or answer["verdict"] != "passed":
        reason = answer["reason"] if answer else zygote.last_words()
        found = answer is not None and answer["verdict"] == "failed"
        raise (SandboxUnavailable if found else _ZygoteDied)(
            f"this machine cannot isolate programs: the check of the walls failed: {reason}"
        )


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts
