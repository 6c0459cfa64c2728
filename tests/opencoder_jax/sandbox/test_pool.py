"""Zygotes that are killed, callers that are, and machines and users of other rights."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opencoder_jax.sandbox import Limits, Sandbox
from tests.isolation import require_isolation
from tests.opencoder_jax.sandbox.probes import COUNT_CHILDREN, LOOK_INTO_INIT
from tests.opencoder_jax.sandbox.running import command_lines

# Generous with time, so that on a busy machine no other limit is mistaken for the clock's.
LIMITS = Limits(wall_seconds=20.0)

_FORBIDDEN = 77
# What comes after it runs in a user namespace that may not make another one.
_WITHOUT_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    f'echo 0 > /proc/sys/user/max_user_namespaces || exit {_FORBIDDEN}; exec "$0" "$@"',
)


def test_a_killed_zygote_is_replaced() -> None:
    with Sandbox(LIMITS) as sandbox:
        assert sandbox.run("pass").verdict == "passed"
        own = Path("/proc/self/task").glob("*/children")
        for pid in " ".join(path.read_text() for path in own).split():
            if b"opencoder_jax.sandbox.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)
        assert sandbox.run("pass").verdict == "passed"


def test_a_zygote_that_is_killed_before_it_is_ready_waives_no_isolation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_isolation()
    started: list[subprocess.Popen[bytes]] = []

    class Doomed(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if not started:
                self.kill()
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Doomed)
    with Sandbox(LIMITS, allow_unisolated=True) as sandbox:
        assert sandbox.run("pass").verdict == "passed"
        assert sandbox.isolated
    assert len(started) == 2


def test_a_default_timeout_of_sockets_in_the_callers_process_changes_nothing() -> None:
    require_isolation()
    # Beam's Google Cloud client does it, for the rest of the process.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)
    try:
        with Sandbox(LIMITS) as sandbox:
            for _ in range(3):
                assert sandbox.run("pass").verdict == "passed"
                time.sleep(0.05)  # the zygote has to wait for the next program
    finally:
        socket.setdefaulttimeout(before)


@pytest.mark.parametrize("isolated", [True, False])
def test_a_killed_caller_leaves_no_program_behind(isolated: bool) -> None:
    marker = f"sandbox-orphan-{os.getpid()}"
    program = f"""
import os, time
open({marker!r}, "w").close()
if os.fork() == 0:
    os.setsid()
    os.execv("/bin/sh", ["sh", "-c", "sleep 300; : {marker}"])
time.sleep(300)
"""
    caller = subprocess.Popen(
        [
            *(() if isolated else _WITHOUT_NAMESPACES),
            sys.executable,
            "-c",
            "import sys; from opencoder_jax.sandbox import *; "
            "limits = Limits(wall_seconds=300); "
            f"Sandbox(limits, allow_unisolated={not isolated}).run({program!r})",
        ],
        start_new_session=True,
    )

    def running() -> bool:
        return any(
            marker.encode() in command and b"sh\0-c" in command for command in command_lines()
        )

    _wait_until(lambda: running() or caller.poll() is not None)
    if caller.poll() == _FORBIDDEN:
        pytest.skip("cannot forbid namespaces here")
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    _wait_until(lambda: not running() and not list(Path("/tmp").glob(f"sandbox-*/{marker}")))


@pytest.mark.skipif(os.geteuid() != 0, reason="all tests of the sandbox are an ordinary user's")
def test_an_ordinary_user_s_programs_leave_their_init_alone() -> None:
    """Where programs and zygote have one user id, only the kernel stands between them."""
    check = textwrap.dedent("""
        import sys
        from opencoder_jax.sandbox import Limits, Sandbox
        count, attack = sys.argv[1:]
        with Sandbox(Limits(processes=8)) as sandbox:
            assert sandbox.isolated
            zygote = sandbox._idle[()].queue[0]
            for _ in range(3):
                result = sandbox.run(count)
                assert result.stdout == "7\\n", result
                result = sandbox.run(attack)
                assert result.verdict == "passed", result
            assert list(sandbox._idle[()].queue) == [zygote]
            result = sandbox.run("int main() { return 0; }", language="c")
            assert result.verdict in ("passed", "skipped"), result
    """)
    signals = "import os, signal\nfor number in signal.valid_signals():\n    os.kill(1, number)\n"
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    project = Path(__file__).parents[3]
    interpreter = os.path.realpath(sys.executable)
    for needed in ([interpreter, "-c", "pass"], ["ls", str(project / "opencoder_jax/sandbox")]):
        try:
            subprocess.run(needed, **nobody, capture_output=True, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            pytest.skip(f"another user cannot run {' '.join(needed)}")
    done = subprocess.run(
        [interpreter, "-c", check, COUNT_CHILDREN, signals + LOOK_INTO_INIT],
        **nobody,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_machine_without_namespaces_is_refused_and_can_be_waived(tmp_path: Path) -> None:
    """Inside a user namespace that may not make another one, as on a hardened machine."""
    check = textwrap.dedent("""
        import sys
        from opencoder_jax.sandbox import Limits, Sandbox, SandboxUnavailable
        try:
            Sandbox().run("pass")
        except SandboxUnavailable as error:
            assert "allow_unisolated" in str(error)
        else:
            sys.exit("not refused")
        CHILDREN_OF_A_THREAD = '''
        import os, threading, time
        def hoard():
            for _ in range(3):
                if os.fork() == 0:
                    block = bytearray(100 << 20)
                    time.sleep(9)
            time.sleep(9)
        threading.Thread(target=hoard).start()
        '''
        limits = Limits(wall_seconds=5, memory_bytes=256 << 20, output_bytes=1000)
        with Sandbox(limits, allow_unisolated=True) as sandbox:
            assert not sandbox.isolated
            verdicts = [sandbox.run(program).verdict for program in (
                "open('x', 'w').write('y')", "assert False", "x = bytearray(10 ** 10)",
                "import time; time.sleep(9)", "while True: print('x' * 99)",
                "import os, time\\nif os.fork() == 0:\\n os.setsid()\\n time.sleep(300)",
                CHILDREN_OF_A_THREAD,
            )]
            expected = ["passed", "failed", "memory", "timeout", "output_limit", "passed", "memory"]
            assert verdicts == expected, verdicts
            import os
            zygote = sandbox._idle[()].get()  # held: it ends with the last reference to it
            pid = zygote._process.pid
            assert open(f"/proc/{pid}/task/{pid}/children").read() == ""
    """)
    done = subprocess.run(
        [*_WITHOUT_NAMESPACES, sys.executable, "-c", check],
        cwd=Path(__file__).parents[3],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
    )
    if done.returncode == _FORBIDDEN:
        pytest.skip("cannot forbid namespaces here")
    assert done.returncode == 0, done.stderr


def _wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
