"""Programs that try to use everything up: processes, time, disk, output."""

from tests.opencoder_jax.sandbox.hostile import Hostile, attempts, ended, refused, timeout

PROCESSES = [
    timeout(
        "fork bomb",
        """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
    ),
    timeout(
        "fork bomb of a shell",
        "bomb() { bomb | bomb & }; while true; do bomb; sleep 0.01; done 2>/dev/null",
        "bash",
    ),
    ended(
        "thread bomb",
        """
        import threading, time
        while True:
            threading.Thread(target=time.sleep, args=(60,)).start()
        """,
        "failed",
        "can't start new thread",
    ),
    ended(
        "zombies",
        """
        import os, time
        while True:
            if os.fork() == 0:
                os._exit(0)
        """,
        "failed",
        "BlockingIOError",
    ),
    refused(
        "a daemon",
        """
        import os, signal, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(1, 65):
                    try:
                        signal.signal(number, signal.SIG_IGN)
                    except (OSError, ValueError):
                        pass
                os.closerange(0, 256)
                while True:
                    time.sleep(1)
            os._exit(0)
        os.wait()
        """,
    ),
    attempts(
        "killing init, group and everybody",
        """
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for number in range(1, 65):
            try:
                os.kill(1, number)
            except OSError:
                pass
        assert os.getppid() == 0
        attempt("a process of the host", lambda: os.kill($PID, 0) if $PID > 50 else 1 / 0)
        try:
            os.kill(-1, signal.SIGKILL)
        except OSError:
            pass
        os.killpg(0, signal.SIGTERM)
        """,
    ),
    ended(
        "killing its own group",
        "import os, signal\nos.killpg(0, signal.SIGKILL)",
        "killed",
        "ended by SIGKILL",
    ),
    attempts(
        "the limits and priority of init",
        """
        import os, resource
        for kind in range(16):
            attempt(kind, lambda: resource.prlimit(1, kind, (0, 0)))
        # Where the sandbox is an ordinary user's these work, and change nothing.
        for change in (
            lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),
            lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)),
            lambda: os.sched_setaffinity(1, [0]),
        ):
            try:
                change()
            except PermissionError:
                pass
        """,
    ),
    attempts(
        "real-time priority and a better nice value",
        """
        import os
        attempt("fifo", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
        attempt("nice", lambda: os.nice(-5))
        attempt("oom", lambda: open("/proc/self/oom_score_adj", "wb", 0).write(b"-1000"))
        """,
    ),
    attempts(
        "raising limits",
        """
        import resource
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU,
                     resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            attempt(kind, lambda: resource.setrlimit(kind, unlimited))
        """,
    ),
]

TIME = [
    ended(
        "a signal without a name",
        "import os\nos.kill(os.getpid(), 40)",
        "killed",
        "ended by signal 40",
    ),
    timeout("sleeping for ever", "import time\ntime.sleep(10 ** 6)"),
    timeout(
        "computing with all signals ignored",
        """
        import signal
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
        """,
    ),
    timeout("stopping itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    timeout("waiting at a pipe", "import os\nos.mkfifo('f')\nopen('f')"),
    timeout(
        "a lock taken twice", "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()"
    ),
    timeout(
        "an exit handler without end",
        "import atexit\n@atexit.register\ndef stay():\n    while True: pass",
    ),
    timeout(
        "a thread without end",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(10 ** 6,)).start()",
    ),
    timeout(
        "a finaliser without end",
        "class A:\n    def __del__(self):\n        while True: pass\na = A()\ndel a",
    ),
    timeout(
        "one integer operation that no signal interrupts",
        "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nx = 7 ** (10 ** 8)",
    ),
]

DISK = [
    ended(
        "one huge file",
        "f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 16))",
        "failed",
        "File too large",
    ),
    ended(
        "many files",
        "i = 0\nwhile True:\n    open(f'{i}', 'wb').write(bytes(500_000))\n    i += 1",
        "failed",
        "No space left on device",
    ),
    ended(
        "many empty files",
        "i = 0\nwhile True:\n    open(f'{i}', 'w').close()\n    i += 1",
        "failed",
        "No space left on device",
    ),
    ended("a sparse file", "import os\nos.truncate(os.open('f', 66), 1 << 50)", "failed", "large"),
    ended(
        "a deep tree of folders",
        "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')",
        "failed",
        "Error",
    ),
    refused(
        "watching everything",
        """
        import ctypes, os
        libc = ctypes.CDLL(None)
        descriptors = []
        while (fd := libc.inotify_init()) >= 0:
            descriptors.append(fd)
            libc.inotify_add_watch(fd, b"/usr", 0xFFF)
        assert len(descriptors) <= 16
        for fd in descriptors:
            os.close(fd)
        """,
    ),
]

OUTPUT = [
    ended("stdout without end", "while True: print('x' * 99)", "output_limit", "wrote more than"),
    ended(
        "stderr without a line's end",
        "import os\nwhile True: os.write(2, b'x' * 99)",
        "output_limit",
        "wrote more than",
    ),
    ended(
        "both streams at once",
        "import os\nwhile True: os.write(1, b'x'); os.write(2, b'y')",
        "output_limit",
        "wrote more than",
    ),
    ended(
        "output of a child that outlives the program",
        "yes & disown; sleep 0.3; exit 0",
        "output_limit",
        "wrote more than",
        "bash",
    ),
    ended(
        "stdout to a full device",
        "import os\nos.dup2(os.open('/dev/full', 1), 1)\nprint('x')",
        "failed",
        "No space left on device",
    ),
    ended(
        "an error message of line ends",
        "head -c 4000 /dev/zero | tr '\\0' '\\n' >&2; exit 7",
        "failed",
        "exit code 7",
        "bash",
    ),
    refused("bytes that are no text", "import os\nos.write(1, bytes(range(256)))"),
    ended(
        "escape sequences in the reason",
        "raise ValueError('\\x1b]0;owned\\x07\\x1b[2J')",
        "failed",
        "ValueError",
    ),
]

EXHAUSTION: list[Hostile] = [*PROCESSES, *TIME, *DISK, *OUTPUT]
