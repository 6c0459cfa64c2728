"""What hostile programs may not do, and that the sandbox goes on after each of them."""

import dataclasses
import os
import signal
import socket
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sandbox import Limits, Result, Sandbox
from tests.isolation import require_isolation
from tests.opencoder_jax.sandbox.probes import COUNT_CHILDREN, LOOK_INTO_INIT
from tests.opencoder_jax.sandbox.running import command_lines

# Generous with time, so that on a busy machine no other limit is mistaken for the clock's.
LIMITS = Limits(
    wall_seconds=20.0,
    cpu_seconds=10,
    memory_bytes=256 << 20,
    processes=8,
    file_bytes=1 << 20,
    scratch_bytes=4 << 20,
    output_bytes=4096,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    require_isolation()
    with Sandbox(LIMITS) as sandbox:
        assert sandbox.isolated
        yield sandbox


@pytest.fixture(scope="module")
def hasty() -> Iterator[Sandbox]:
    """For programs that only the clock ends."""
    require_isolation()
    with Sandbox(dataclasses.replace(LIMITS, wall_seconds=2.0, cpu_seconds=1)) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def goes_on(sandbox: Sandbox) -> Iterator[None]:
    yield
    assert sandbox.run("print('still here')").stdout == "still here\n"


def run(sandbox: Sandbox, program: str) -> Result:
    return sandbox.run(textwrap.dedent(program))


def test_a_program_that_ends_passes(sandbox: Sandbox) -> None:
    result = run(sandbox, "import sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert (result.verdict, result.stdout, result.stderr) == ("passed", "out\n", "err\n")
    assert (result.exit_code, result.reason) == (0, "")


def test_an_exception_fails_with_its_own_traceback(sandbox: Sandbox) -> None:
    result = run(sandbox, "def f():\n    assert 1 == 2, 'no'\nf()")
    assert (result.verdict, result.reason) == ("failed", "AssertionError: no")
    assert 'program.py", line 2, in f\n    assert 1 == 2' in result.stderr
    assert "opencoder_jax" not in result.stderr


@pytest.mark.parametrize("source", ["def f(:", "x = '\udc80'", "a\0b", "return"])
def test_a_program_that_does_not_compile_fails(sandbox: Sandbox, source: str) -> None:
    assert sandbox.run(source).verdict == "failed"


@pytest.mark.parametrize("language", ["python", "bash"])
def test_signals_that_the_caller_ignores_end_a_program(language):
    # As under nohup, or in the background of a shell without job control.
    require_isolation()
    sources = {
        "python": "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)",
        "bash": "kill -HUP $BASHPID; sleep 1",
    }
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Sandbox() as ours:
            result = ours.run(sources[language], language=language)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.verdict, result.reason) == ("killed", "ended by SIGHUP")


@pytest.mark.parametrize("leave", ["import sys; sys.exit(0)", "import os; os._exit(0)", "exit()"])
def test_leaving_before_the_end_is_no_pass(sandbox: Sandbox, leave: str) -> None:
    assert sandbox.run(leave + "\nassert False").verdict == "failed"


def test_there_is_no_network(sandbox: Sandbox) -> None:
    program = """
        import socket
        for address in (("127.0.0.1", 22), ("1.1.1.1", 53), ("169.254.169.254", 80)):
            try:
                socket.create_connection(address, timeout=1)
            except OSError:
                continue
            raise SystemExit(address)
        assert len(open("/proc/net/route").read().splitlines()) <= 1
        for family in (socket.AF_VSOCK, socket.AF_NETLINK, socket.AF_PACKET):
            try:
                socket.socket(family, socket.SOCK_RAW)
            except OSError:
                continue
            raise SystemExit(family)
    """
    result = run(sandbox, program)
    assert result.verdict == "passed", result


def test_localhost_is_the_program_itself_and_nobody_s_afterwards(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as host:
        program = f"""
            import socket
            assert socket.gethostbyname("localhost") == "127.0.0.1"
            assert socket.gethostbyname(socket.gethostname()) == "127.0.0.1"
            try:
                socket.create_connection(("localhost", {host.getsockname()[1]}), timeout=1)
            except ConnectionRefusedError:
                pass
            else:
                raise SystemExit("the host's server answers")
            # Without SO_REUSEADDR, and closed here first: the port would wait for a minute.
            server = socket.socket()
            server.bind(("localhost", 12345))
            server.listen()
            client = socket.create_connection(("localhost", 12345))
            accepted, _ = server.accept()
            accepted.sendall(b"yes")
            assert client.recv(3) == b"yes"
            accepted.close()
            client.close()
        """
        results = [run(sandbox, program) for _ in range(3)]
    assert [result.verdict for result in results] == ["passed"] * 3, results


def test_sockets_that_outlive_their_program_are_in_nobody_s_way(sandbox: Sandbox) -> None:
    """One that drops all answers, and some that only lie in each other's queues."""
    leave = """
        import socket
        ignore_answers = (socket.IPPROTO_IP, 21, 255)  # IP_MINTTL
        server = socket.create_server(("127.0.0.1", 12345))
        client = socket.socket()
        client.bind(("127.0.0.1", 12346))
        client.connect(("127.0.0.1", 12345))
        client.setsockopt(*ignore_answers)
        client.setblocking(False)
        try:
            while True:
                client.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        named = socket.socket(socket.AF_UNIX)
        named.bind("\\0name")
        named.listen()
        for _ in range(30):
            one, other = socket.socketpair()
            socket.send_fds(one, [b"x"], [one.fileno(), other.fileno(), named.fileno()])
    """
    look = """
        import socket
        for port in (12345, 12346):
            socket.socket().bind(("127.0.0.1", port))
        socket.socket(socket.AF_UNIX).bind("\\0name")
    """
    for _ in range(3):
        results = [run(sandbox, program) for program in (leave, look)]
        assert [result.verdict for result in results] == ["passed"] * 2, results


def test_nothing_outside_the_scratch_folder_can_be_written(sandbox: Sandbox) -> None:
    program = """
        import os, sys
        folders = ["/", *(f"/{name}" for name in os.listdir("/"))]
        folders += ["/usr/bin", "/proc/sys/kernel", sys.base_prefix, os.path.dirname(os.__file__)]
        writable = []
        for folder in folders:
            try:
                open(os.path.join(folder, "x"), "w").close()
            except OSError:
                continue
            writable.append(folder)
        assert set(writable) == {"/tmp"}, writable
        os.symlink("/", "/tmp/root")
        os.symlink(sys.base_prefix, "/tmp/python")
        for path in ("/tmp/root/x", "/tmp/python/x", "/tmp/root/usr/x"):
            try:
                open(path, "w")
            except OSError:
                continue
            raise SystemExit(path)
    """
    result = run(sandbox, program)
    assert result.verdict == "passed", result


def test_files_and_environment_of_the_host_are_not_there(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "very-secret")
    secret = tmp_path / "secret.txt"
    secret.write_text("very-secret")
    program = f"""
        import glob, os
        assert "very-secret" not in str(os.environ)
        for path in ({str(secret)!r}, {__file__!r}, "/etc/passwd", "/etc/shadow", "/home"):
            assert not os.path.exists(path), path
        for path in glob.glob("/proc/*/environ"):
            try:
                assert b"very-secret" not in open(path, "rb").read()
            except PermissionError:
                pass
        assert os.listdir("/sys") if os.path.exists("/sys") else True
    """
    with Sandbox(LIMITS) as fresh:
        result = run(fresh, program)
    assert result.verdict == "passed", result


def test_a_fork_bomb_reaches_the_process_limit_and_dies(hasty: Sandbox) -> None:
    program = """
        import os
        while True:
            try:
                os.fork()
            except BlockingIOError:
                print("x", end="", flush=True)
    """
    assert run(hasty, program).verdict in ("timeout", "output_limit")
    assert run(hasty, COUNT_CHILDREN).stdout == f"{LIMITS.processes - 1}\n"


def test_threads_count_as_processes(sandbox: Sandbox) -> None:
    program = """
        import threading, time
        for _ in range(100):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    """
    assert run(sandbox, program).reason == "RuntimeError: can't start new thread"


@pytest.mark.parametrize(
    "program",
    [
        "x = bytearray(10 ** 10)",
        "x = []\nwhile True: x.append(bytearray(10 ** 6))",
        "x = 'a' * 2**40",
    ],
)
def test_memory_is_limited_for_one_process(sandbox: Sandbox, program: str) -> None:
    assert sandbox.run(program).verdict == "memory"


def test_memory_is_limited_for_all_processes_together(sandbox: Sandbox) -> None:
    program = """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                hoard = bytearray(120 << 20)
                time.sleep(60)
        time.sleep(60)
    """
    assert run(sandbox, program).verdict == "memory"


@pytest.mark.parametrize(
    "children",
    [
        # They have their parent's memory until they execute another program, or write to it.
        "for _ in range(500): subprocess.run(['/bin/true'], check=True)",
        "for _ in range(5): os.fork() or (time.sleep(1), os._exit(0))\ntime.sleep(1)",
    ],
)
def test_memory_that_processes_share_counts_once(sandbox: Sandbox, children: str) -> None:
    program = "import os, subprocess, time\nhoard = bytearray(180 << 20)\n" + children
    result = sandbox.run(program)
    assert result.verdict == "passed", result


@pytest.mark.parametrize("stream", [1, 2])
def test_endless_output_is_cut(sandbox: Sandbox, stream: int) -> None:
    result = run(sandbox, f"import os\nwhile True: os.write({stream}, b'x' * 1000)")
    assert result.verdict == "output_limit"
    assert len(result.stdout + result.stderr) == LIMITS.output_bytes


def test_the_disk_cannot_be_filled(sandbox: Sandbox) -> None:
    program = """
        import errno
        try:
            for i in range(100):
                with open(f"file{i}", "wb") as file:
                    file.write(bytes(500_000))
        except OSError as error:
            assert error.errno == errno.ENOSPC
            print(i)
    """
    assert run(sandbox, program).stdout == "8\n"
    assert run(sandbox, "open('f', 'wb').write(bytes(2 << 20))").reason.startswith("OSError")
    many = "import os\nfor i in range(10 ** 6): open(str(i), 'w').close()"
    assert run(sandbox, many).reason.startswith("OSError: [Errno 28]")


def test_sleeping_is_stopped_by_the_clock(hasty: Sandbox) -> None:
    started = time.monotonic()
    assert run(hasty, "import time; time.sleep(1000)").verdict == "timeout"
    assert time.monotonic() - started < 10


def test_computing_is_stopped_even_where_signals_are_ignored(hasty: Sandbox) -> None:
    program = """
        import signal
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
    """
    assert run(hasty, program).verdict == "timeout"
    assert run(hasty, "while True: pass").verdict == "timeout"


def test_a_daemon_does_not_outlive_its_program(sandbox: Sandbox) -> None:
    marker = f"sandbox-daemon-{os.getpid()}"
    program = f"""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv("/bin/sh", ["sh", "-c", "sleep 300; : {marker}"])
            os._exit(0)
        os.wait()
        time.sleep(0.2)
    """
    assert run(sandbox, program).verdict == "passed"
    assert not [command for command in command_lines() if marker.encode() in command]


def test_orphans_that_have_ended_do_not_count(sandbox: Sandbox) -> None:
    program = f"""
        import os
        for _ in range({10 * LIMITS.processes}):
            if os.fork() == 0:
                orphan = os.fork()
                if orphan:
                    os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
                os._exit(0)
            os.wait()
    """
    result = run(sandbox, program)
    assert result.verdict == "passed", result


def test_killing_everything_in_sight_kills_only_itself(sandbox: Sandbox) -> None:
    for target in ("-1", "0"):
        result = run(sandbox, f"import os, signal, time\nos.kill({target}, signal.SIGKILL)")
        assert result.verdict == "killed" or "ProcessLookupError" in result.reason
    # Its init is immune to signals from inside, those that the zygote has handlers for too.
    to_init = """
        import contextlib, os, signal
        assert os.getppid() == 0
        for number in signal.valid_signals():
            with contextlib.suppress(PermissionError):
                os.kill(1, number)
        os.kill(os.getpid(), 0)
    """
    assert run(sandbox, to_init).verdict == "passed"
    assert run(sandbox, "import os; os.kill(os.getpid(), 9)").reason == "ended by SIGKILL"
    assert run(sandbox, "import signal, time\nsignal.alarm(1)\ntime.sleep(9)").verdict == "killed"


def test_deep_recursion_stops_the_program_only(sandbox: Sandbox) -> None:
    assert "RecursionError" in run(sandbox, "def f(): f()\nf()").reason
    bottomless = """
        import sys
        sys.setrecursionlimit(10 ** 9)
        class A:
            def __repr__(self): return repr([self])
        repr(A())
    """
    assert run(sandbox, bottomless).verdict in ("killed", "failed", "memory")


def test_reaching_into_other_processes_and_the_kernel_is_refused(sandbox: Sandbox) -> None:
    program = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        ptrace, keyctl, mount, unshare, bpf, io_uring_setup = 101, 250, 165, 272, 321, 425
        assert libc.syscall(ptrace, 16, 1, 0, 0) == -1
        assert libc.syscall(keyctl, 0, -3, 1) == -1
        assert libc.syscall(mount, b"none", b"/tmp", b"tmpfs", 0, b"") == -1
        assert libc.syscall(unshare, 0x10000000) == -1
        assert libc.syscall(bpf, 0, 0, 0) == -1
        assert libc.syscall(io_uring_setup, 1, 0) == -1
        status = open("/proc/self/status").read()
        assert "CapEff:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status
        assert os.listdir("/proc/self/fd")
        os.setuid(1000)
        for uid in (0, 65534):
            try:
                os.setuid(uid)
            except OSError:
                continue
            raise SystemExit(uid)
    """
    result = sandbox.run(LOOK_INTO_INIT + textwrap.dedent(program))
    assert result.verdict == "passed", result


def test_no_state_passes_from_one_program_to_the_next(sandbox: Sandbox) -> None:
    leave = """
        import os, sys, builtins, math
        open("left.txt", "w").write("x")
        open("/dev/shm/left", "w").write("x")
        os.environ["LEFT"] = "x"
        builtins.left = math.left = "x"
        from multiprocessing import shared_memory
        import mmap
        os.umask(0)
    """
    look = """
        import builtins, math, os
        assert sorted(os.listdir("/tmp")) == ["program.py"], os.listdir("/tmp")
        assert "LEFT" not in os.environ
        assert not hasattr(builtins, "left") and not hasattr(math, "left")
        assert os.umask(0o022) == 0o022
        assert not [n for n in __import__("sys").modules if n.startswith("opencoder_jax")]
    """
    assert run(sandbox, leave).verdict == "passed"
    result = run(sandbox, look)
    assert result.verdict == "passed", result


def test_string_hashes_and_time_zone_are_fixed(sandbox: Sandbox) -> None:
    program = "import time; print(hash('x'), time.tzname, list({'a', 'b', 'c', 'd'}))"
    with Sandbox(LIMITS) as other, Sandbox(LIMITS, hash_seed=1) as seeded:
        assert sandbox.run(program).stdout == other.run(program).stdout
        assert sandbox.run(program).stdout != seeded.run(program).stdout


def test_common_programs_work(sandbox: Sandbox) -> None:
    program = """
        import subprocess, sys, tempfile, threading
        child = [sys.executable, "-c", "print(6 * 7)"]
        assert subprocess.run(child, capture_output=True).stdout == b"42\\n"
        with tempfile.TemporaryDirectory() as folder:
            open(folder + "/x", "w").write("y")
        thread = threading.Thread(target=print, args=("thread",))
        thread.start()
        thread.join()
        import decimal, hashlib, sqlite3, asyncio, unittest
        assert input.__name__ == "input" and sys.stdin.read() == ""
        assert open("data/in.txt").read() == "given"
        assert __name__ == "__main__"
    """
    result = sandbox.run(textwrap.dedent(program), files={"data/in.txt": "given"})
    assert (result.verdict, result.stdout) == ("passed", "thread\n"), result


@pytest.mark.parametrize("path", ["/x", "../x", "a/../../x", ""])
def test_files_that_would_leave_the_folder_are_refused(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(InputError, match="relative path"):
        sandbox.run("pass", files={path: ""})


def test_results_come_in_the_order_of_the_programs(hasty: Sandbox) -> None:
    programs = [f"import time; time.sleep({0.02 * (i % 3)}); print({i})" for i in range(20)]
    programs[7] = "while True: pass"
    done: list[int] = []
    results = hasty.run_many(programs, workers=3, progress=done.append)
    assert [r.stdout for r in results if r.verdict == "passed"] == [
        f"{i}\n" for i in range(20) if i != 7
    ]
    assert results[7].verdict == "timeout"
    assert sum(done) == 20
