"""Hostile programs: nothing of the host is touched, the verdict says why, the sandbox goes on."""

import contextlib
import dataclasses
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencoder_jax.sandbox import Limits, Sandbox
from tests.isolation import require_isolation
from tests.opencoder_jax.sandbox.hostile import Hostile
from tests.opencoder_jax.sandbox.hostile_escapes import ESCAPES
from tests.opencoder_jax.sandbox.hostile_exhaustion import EXHAUSTION
from tests.opencoder_jax.sandbox.hostile_memory import MEMORY

ALL = [*ESCAPES, *EXHAUSTION, *MEMORY]

LIMITS = Limits(
    wall_seconds=30.0,
    cpu_seconds=15,
    memory_bytes=256 << 20,
    processes=8,
    file_bytes=1 << 20,
    scratch_bytes=4 << 20,
    output_bytes=4096,
)


class Host:
    """What the host has that programs must not reach, and what became of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text("very-secret")
        self.received: list[bytes] = []
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix, self.abstract = (socket.socket(socket.AF_UNIX) for _ in range(2))
        self.unix_path = str(folder / "socket")
        self.unix.bind(self.unix_path)
        self.abstract.bind(f"\0{self.unix_path}")
        for server in (self.unix, self.abstract):
            server.listen()
        self.servers = (self.tcp, self.udp, self.unix, self.abstract)
        for server in self.servers:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        self.before = self._state()
        self.children = _others()  # Of tests that ran before in this process.

    def _serve(self, server: socket.socket) -> None:
        try:
            if server.type == socket.SOCK_DGRAM:
                self.received.append(server.recv(10))
            else:
                server.accept()
                self.received.append(b"connection")
        except OSError:
            return

    def _state(self) -> dict[str, object]:
        return {
            "secret": self.secret.read_text(),
            "folder": sorted(os.listdir(self.folder)),
            "mode": self.secret.stat().st_mode,
            "links": self.secret.stat().st_nlink,
            "mounts": Path("/proc/self/mountinfo").read_text(),
            "environment mode": os.stat("/usr/bin/env").st_mode,
        }

    def is_untouched(self) -> bool:
        return self._state() == self.before and not self.received

    def filled_in(self, source: str) -> str:
        for name, value in {
            "$SECRET": str(self.secret),
            "$TCP": str(self.tcp.getsockname()[1]),
            "$UDP": str(self.udp.getsockname()[1]),
            "$UNIX": self.unix_path,
            "$PID": str(os.getpid()),
        }.items():
            source = source.replace(name, value)
        return source


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    # A path short enough for the name of a socket.
    host = Host(tmp_path_factory.mktemp("host"))
    yield host
    for server in host.servers:
        server.close()


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[bool, Sandbox]]:
    """One for programs that end, one with a short clock for those that do not."""
    require_isolation()
    hasty = dataclasses.replace(LIMITS, wall_seconds=0.7)
    os.environ["API_TOKEN"] = "very-secret"
    try:
        with Sandbox(LIMITS) as patient, Sandbox(hasty) as sandbox:
            yield {False: patient, True: sandbox}
    finally:
        del os.environ["API_TOKEN"]


def test_there_are_enough() -> None:
    assert len(ALL) >= 40
    assert len({program.name for program in ALL}) == len(ALL)


@pytest.mark.parametrize("program", ALL, ids=lambda program: program.name)
def test_a_hostile_program_does_no_harm(
    host: Host, sandboxes: dict[bool, Sandbox], program: Hostile
) -> None:
    sandbox = sandboxes[program.by_clock]
    result = sandbox.run(host.filled_in(program.source), language=program.language)
    if result.verdict == "skipped":
        pytest.skip(f"sandbox: {result.reason}")
    assert "ESCAPED" not in result.stdout + result.stderr, result
    assert (result.verdict, program.reason in result.reason) == (program.verdict, True), result
    assert result.reason.isprintable()
    assert "very-secret" not in result.stdout + result.stderr
    assert host.is_untouched()
    assert _others().keys() <= host.children.keys()
    honest = sandbox.run("print('still here')")
    assert (honest.verdict, honest.stdout) == ("passed", "still here\n")


def _others() -> dict[int, bytes]:
    """Processes below this one that are no zygote: number to command."""
    found, waiting = {}, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        # One may end while it is looked at.
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += [int(child) for child in path.read_text().split()]
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if pid != os.getpid() and b"sandbox.zygote" not in command:
                found[pid] = command
    return found
