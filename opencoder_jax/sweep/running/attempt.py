"""One attempt at a stage: its process started, watched, stopped, and what its end means.

The process is a child of `keeper`, which ends it when this worker does not renew its lease in
time, or is gone. Next: `worker`.
"""

import collections
import contextlib
import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from opencoder_jax.data import stores
from opencoder_jax.errors import INTERRUPTED_EXIT_STATUS
from opencoder_jax.sweep.running import leases
from opencoder_jax.sweep.running.keeper import LAPSED_EXIT_STATUS
from opencoder_jax.sweep.running.leases import Lease
from opencoder_jax.sweep.running.records import Records
from opencoder_jax.sweep.running.slices import Followed

_KEEPER = Path(__file__).with_name("keeper.py")
BAD_INPUT_EXIT_STATUS = 2
# After them the same command goes on: SIGTERM (a machine that is taken away), SIGINT, and what
# `distributed` ends with when another of its processes is gone.
_GOES_ON = (143, INTERRUPTED_EXIT_STATUS, 75)
# The holder stops before others may begin; what it needs to notice and to end lies between.
_HELD = 2 / 3
_BEATS_PER_LEASE = 6
_POLL_SECONDS = 0.2
_LOG_LINES = 40
_UPLOAD_SECONDS = 60.0
_UPLOAD_BYTES = 1 << 20

Verdict = Literal["done", "failed", "hopeless", "interrupted", "lost"]


@dataclasses.dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes:
      verdict: `failed` may work when tried again, `hopeless` cannot (bad input); `interrupted`:
        this worker is to stop, or the stage was asked to; `lost`: the lease was.
      exit_status: as a shell has it.
      log: the last lines that it wrote.
    """

    verdict: Verdict
    exit_status: int
    log: str


def run(
    lease: Lease | Followed,
    records: Records,
    records_place: str,
    command: Sequence[str],
    *,
    stopping: threading.Event,
    at_once: threading.Event,
    grace_seconds: float,
    cpus: Sequence[int] = (),
    host: int = 0,
) -> Ended:
    """Runs a stage until it ends, renewing the lease.

    Args:
      lease: that this worker holds of it.
      records: where its log goes.
      records_place: their path or url.
      command: what follows `python`.
      stopping: when set, the stage is asked to save and leave (SIGTERM).
      at_once: when set, it is killed.
      grace_seconds: how long it may take to leave.
      cpus: that it may use; none: all of this process.
      host: number of this one, of several that run the stage.
    """
    with _log_file(lease, records, records_place, host) as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(_KEEPER)),
                str(lease.holder["lease_seconds"] * _HELD),
                # Hosts of a test may be of one machine.
                _lock_path(f"{records_place}/{lease.key}/{host}"),
                ",".join(map(str, cpus)),
                *(sys.executable, *command),
            ],
            stdin=subprocess.PIPE,
            # A sign that came too late would else be left to write, and fail when this is closed.
            bufsize=0,
            stdout=log.file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        with process:
            lost = _attend(process, lease, log, stopping, at_once, grace_seconds)
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        log.upload()
        tail = log.tail()
    return Ended(_verdict(status, lost, stopping.is_set()), status, tail)


def _attend(
    process: subprocess.Popen,
    lease: Lease | Followed,
    log: "_Log",
    stopping: threading.Event,
    at_once: threading.Event,
    grace_seconds: float,
) -> bool:
    """Until the process has ended; returns whether the lease was lost meanwhile."""
    period = lease.holder["lease_seconds"] / _BEATS_PER_LEASE
    next_beat = time.monotonic() + period
    asked: float | None = None
    lost = threading.Event()
    signs = _Signs(process)

    def beat() -> None:
        if not _renewed(lease, signs, period):
            lost.set()
        log.upload_now_and_then()

    # Of its own, because storage may not answer while the stage is to be asked to leave.
    beating = threading.Thread()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
            while beating.is_alive() and not at_once.is_set():
                beating.join(_POLL_SECONDS)
            signs.end()
            return lost.is_set()
        now = time.monotonic()
        if (stopping.is_set() or lost.is_set()) and asked is None:
            process.terminate()
            asked = now
        # The end of its input is what makes the keeper kill the stage.
        if at_once.is_set() or lost.is_set() or (asked is not None and now > asked + grace_seconds):
            signs.end()
        if now >= next_beat and not beating.is_alive():
            beating = threading.Thread(target=beat, name=f"beat-{lease.key}", daemon=True)
            beating.start()
            next_beat = now + period


class _Signs:
    """What lets the keeper go on."""

    def __init__(self, process: subprocess.Popen) -> None:
        assert process.stdin
        self._pipe = process.stdin
        self._lock = threading.Lock()

    def give(self) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError):
            if not self._pipe.closed:
                self._pipe.write(b".")

    def end(self) -> None:
        with self._lock:
            self._pipe.close()


def _renewed(lease: Lease | Followed, signs: _Signs, period: float) -> bool:
    """False where the lease is another's. A failure of the storage may pass before it lapses."""
    begun = time.monotonic()
    try:
        if not lease.renew():
            return False
    except OSError as error:
        print(f"{lease.key}: the lease was not renewed: {error}", file=sys.stderr)
        return True
    # What took too long may be older, to whoever looks, than the keeper would think.
    if time.monotonic() - begun < period:
        signs.give()
    return True


def _verdict(status: int, lost: bool, stopping: bool) -> Verdict:
    if lost or (status == LAPSED_EXIT_STATUS and not stopping):
        return "lost"
    if status == 0:
        return "done"
    if stopping or status in _GOES_ON:
        return "interrupted"
    return "hopeless" if status == BAD_INPUT_EXIT_STATUS else "failed"


class _Log:
    """What a stage writes: a file of this machine, that a store gets a copy of."""

    def __init__(self, path: Path, upload_to: Records | None, name: str) -> None:
        self.path = path
        # Read back by this process, and appended to by the stage.
        self.file = path.open("ab")
        self._upload_to = upload_to
        self._name = name
        self._uploaded = time.monotonic()

    def upload_now_and_then(self) -> None:
        if time.monotonic() - self._uploaded > _UPLOAD_SECONDS:
            self.upload()

    def upload(self) -> None:
        """The end of it, where it is long. A log is worth no stage: failures are only told."""
        if self._upload_to is None:
            return
        self._uploaded = time.monotonic()
        try:
            self._upload_to.write(self._name, _last_bytes(self.path, _UPLOAD_BYTES))
        except OSError as error:
            print(f"{self._name} was not written: {error}", file=sys.stderr)

    def tail(self) -> str:
        lines = _last_bytes(self.path, 1 << 16).decode("utf-8", "replace").splitlines()
        return "\n".join(collections.deque(lines, _LOG_LINES))


@contextlib.contextmanager
def _log_file(
    lease: Lease | Followed, records: Records, records_place: str, host: int
) -> Iterator[_Log]:
    name = leases.log_name(lease.key, lease.number, host)
    with contextlib.ExitStack() as stack:
        if stores.is_remote(records_place):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sweep-log-")))
            log = _Log(folder / "log.txt", records, name)
        else:
            log = _Log(Path(records_place, name), None, name)
        stack.callback(log.file.close)
        yield log


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - count))
        return file.read()


def _lock_path(place: str) -> str:
    if not stores.is_remote(place):
        # However the sweep's folder was written, and from wherever.
        place = os.path.realpath(place)
    folder = Path(tempfile.gettempdir(), f"opencoder-sweep-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.lock")
