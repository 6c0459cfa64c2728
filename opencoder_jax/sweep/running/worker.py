"""Pulls stages of a sweep until none is left: claims one, runs it, says how it ended.

Any number of workers may pull from one sweep, on any machines that see its folders; they agree
through the records alone, and one that is killed is missed by nobody for longer than a lease.
What a stage is run with is its command and its folder, so a later attempt goes on where an
earlier one was when it ended. Next: `run`.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from opencoder_jax.data import stores
from opencoder_jax.errors import InputError
from opencoder_jax.sweep.plan_file import DONE_NAME, FAILED_NAME, Plan
from opencoder_jax.sweep.running import attempt, leases
from opencoder_jax.sweep.running.board import Board, StageState, with_inputs
from opencoder_jax.sweep.running.leases import Lease
from opencoder_jax.sweep.running.records import Records
from opencoder_jax.sweep.running.slices import COMMANDS, Followed, Follower, Leader, Slice

# Storage that does not answer for so long is not waited for any longer.
_PATIENCE_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a worker works.

    Attributes:
      slots: stages at a time.
      pools: kinds of stages that it takes; None: all.
      attempts: at a stage that fails, before it counts as failed.
      lost_attempts: at a stage whose workers vanish or are told to stop, before it does.
      lease_seconds: after which silence a worker is gone.
      grace_seconds: for a stage to save and leave when the worker is to stop.
      poll_seconds: between two looks for something to do.
      cpus: of a slot; none: all that the process may use.
      pool_words: further words of all stages of a pool.
      group: the hosts that this one is the first of; None: it works alone.
    """

    slots: int = 1
    pools: Sequence[str] | None = None
    attempts: int = 3
    lost_attempts: int = 100
    lease_seconds: float = 90.0
    grace_seconds: float = 120.0
    poll_seconds: float = 2.0
    cpus: Sequence[Sequence[int]] = ()
    pool_words: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    group: Slice | None = None


class Worker:
    """Runs stages until nothing is left for it, or it is told to stop."""

    def __init__(self, board: Board, settings: Settings) -> None:
        self.stopping = threading.Event()
        self.at_once = threading.Event()
        self._board = board
        self._plan = board.plan
        self._settings = settings
        self._records_place = self._plan.records_folder("").rstrip("/")
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._code_version = code_version()
        # One slot looks and claims at a time.
        self._choosing = threading.Lock()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._told: set[str] = set()
        self._states: dict[str, StageState] = {}
        group = settings.group
        self._leader = Leader(board.records, group) if group and group.count > 1 else None

    def run(self) -> dict[str, StageState]:
        """Returns the states in the end, or where it was told to stop those last seen.

        Raises:
          InputError: a finished stage's folder is not here.
          OSError: the records could not be reached for long.
        """
        slots = [
            threading.Thread(target=self._slot, args=(number,), name=f"slot-{number}")
            for number in range(self._settings.slots)
        ]
        for slot in slots:
            slot.start()
        for slot in slots:
            # With a timeout, so that signals are handled meanwhile.
            while slot.is_alive():
                slot.join(0.2)
                if self.stopping.is_set() and not self._failure and "stopping" not in self._told:
                    self._told.add("stopping")
                    grace = f"{self._settings.grace_seconds:g}"
                    self._say(
                        f"stopping: stages have {grace} s to save; a second signal kills them"
                    )
        if self._failure is not None:
            raise self._failure
        try:
            return self._board.look()
        except OSError:
            if not self.stopping.is_set():
                raise
            return self._states

    def dismiss(self, exit_status: int) -> None:
        """Lets the other hosts of its group end, where it has one."""
        if self._leader:
            self._leader.dismiss(exit_status)

    def stop(self) -> None:
        """Lets stages save and leave; called again, they are killed."""
        if self.stopping.is_set():
            self.at_once.set()
        self.stopping.set()

    def _slot(self, number: int) -> None:
        try:
            while not self.stopping.is_set():
                lease, over = self._next()
                if over:
                    return
                if lease is not None:
                    self._do(lease, number)
                    with self._changed:
                        self._changed.notify_all()
                else:
                    self._pause()
        except BaseException as error:
            if isinstance(error, OSError) and self.stopping.is_set() and self._failure is None:
                # It was told to stop, and that it does; what was not recorded lapses.
                self._say(f"the records cannot be reached: {error}")
                return
            self._failure = self._failure or error
            self.stopping.set()

    def _pause(self) -> None:
        deadline = time.monotonic() + self._settings.poll_seconds
        with self._changed:
            while not self.stopping.is_set() and (left := deadline - time.monotonic()) > 0:
                # Short, because `stop` is called by a signal's handler, which may not notify.
                if self._changed.wait(min(left, 0.2)):
                    return

    def _next(self) -> tuple[Lease | None, bool]:
        """A stage to do, and whether there will be no more."""
        with self._choosing:
            states = self._states = self._patiently(self._board.look, while_working=True)
            mine = [state for state in states.values() if self._takes(state)]
            for state in mine:
                if state.status == "ready":
                    claim = functools.partial(self._claim, state)
                    lease = self._patiently(claim, while_working=True)
                    if lease is not None:
                        return lease, False
            left = [state for state in mine if not state.settled]
            self._tell_what_is_waited_for(left, states)
            return None, not left

    def _takes(self, state: StageState) -> bool:
        return self._settings.pools is None or state.stage.pool in self._settings.pools

    def _tell_what_is_waited_for(
        self, left: Sequence[StageState], states: Mapping[str, StageState]
    ) -> None:
        # Not the next inputs alone: what they wait for may be another pool's.
        for key in with_inputs(self._plan, [state.stage.key for state in left]):
            needed = states[key]
            if needed.status == "ready" and not self._takes(needed) and key not in self._told:
                self._told.add(key)
                self._say(f"waiting for {key}, of pool {needed.stage.pool}, that nobody runs")

    def _claim(self, state: StageState) -> Lease | None:
        key = state.stage.key
        self._check_inputs_are_here(state)
        lease = leases.take(
            self._board.records, key, state.latest + 1, self._name, self._settings.lease_seconds
        )
        if lease is None:
            return None
        # Between the look and the claim another may have finished it.
        names = self._board.records.names([key])[key]
        if DONE_NAME in names or FAILED_NAME in names:
            lease.end("lost", None)
            return None
        return lease

    def _check_inputs_are_here(self, state: StageState) -> None:
        for key in state.stage.inputs:
            folder = self._plan.stage_folder(key)
            if not stores.is_remote(folder) and not Path(folder).is_dir():
                raise InputError(
                    f"{key} is finished by its records, but {folder} is not on this machine: do "
                    "all workers see one and the same folder of outputs? If it was removed, "
                    f"remove {self._plan.records_folder(key)} too, then it is made again"
                )

    def _do(self, lease: Lease, slot: int) -> None:
        # Workers that vanish again and again leave no end of theirs.
        if reason := self._patiently(lambda: self._enough(lease, None)):
            self._patiently(lambda: lease.fail(1, "", reason))
            return
        again = f", attempt {lease.number}" if lease.number > 1 else ""
        together = self._leader and self._plan.stages[lease.key].command in COMMANDS
        if self._leader and together and not self._leader.assign(lease, self.stopping):
            lease.end("interrupted", None)
            return
        self._say(f"{lease.key}: started{again}")
        ended = attempt.run(
            lease,
            self._board.records,
            self._records_place,
            command(self._plan, lease.key, self._settings.pool_words, self._settings.group),
            stopping=self.stopping,
            at_once=self.at_once,
            grace_seconds=self._settings.grace_seconds,
            cpus=self._settings.cpus[slot] if self._settings.cpus else (),
        )
        if self._leader and together:
            self._patiently(self._leader.end)
        if ended.verdict == "lost":
            self._say(f"{lease.key}: given up, the lease was lost")
            with contextlib.suppress(OSError):
                lease.end("lost", ended.exit_status)
        elif ended.verdict == "done":
            won = self._patiently(lambda: lease.finish(self._code_version))
            ended_as = f"done in {lease.seconds:.0f} s" if won else "given up, the lease was lost"
            self._say(f"{lease.key}: {ended_as}")
        else:
            self._patiently(lambda: self._not_done(lease, ended))

    def _not_done(self, lease: Lease, ended: attempt.Ended) -> None:
        interrupted = ended.verdict == "interrupted"
        reason = "bad input" if ended.verdict == "hopeless" else self._enough(lease, ended.verdict)
        if reason:
            lease.fail(ended.exit_status, ended.log, reason)
        what: leases.Outcome = "interrupted" if interrupted else "failed"
        lease.end(what, ended.exit_status)
        then = f"not tried again: {reason}" if reason else "will be tried again"
        self._say(f"{lease.key}: {what} with status {ended.exit_status}, {then}")

    def _enough(self, lease: Lease, verdict: attempt.Verdict | None) -> str:
        """Why a stage is not tried again after this attempt ended so; None: before it began.

        Attempts that failed by themselves have one limit, those that only were ended another.

        Returns:
          Empty where it is.
        """
        records = self._board.records
        retry = leases.read_json(records, f"{lease.key}/{leases.RETRY}") or {"after": 0}
        made = leases.attempts(records.names([lease.key])[lease.key])
        before = [n for n in made.numbers if retry["after"] < n < lease.number]
        failed = sum(made.ended.get(number) == "failed" for number in before)
        lost = len(before) - failed
        failed += verdict == "failed"
        # This worker's own end says nothing about the stage.
        lost += verdict == "interrupted" and not self.stopping.is_set()
        if failed >= self._settings.attempts:
            return f"{failed} attempts failed"
        return f"{lost} attempts were lost" if lost >= self._settings.lost_attempts else ""

    def _patiently[T](self, function: Callable[[], T], while_working: bool = False) -> T:
        """What `function` returns, tried again while the storage does not answer.

        Args:
          while_working: not worth a wait when this worker is to stop; else `grace_seconds` are.

        Raises:
          OSError: it did not for long.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        told = ""
        while True:
            try:
                return function()
            except OSError as error:
                now = time.monotonic()
                if self.stopping.is_set():
                    grace = 0.0 if while_working else self._settings.grace_seconds
                    deadline = min(deadline, now + grace)
                if now >= deadline or self.at_once.is_set():
                    raise
                if str(error) != told:
                    told = str(error)
                    self._say(f"trying again, the records cannot be reached: {told}")
                time.sleep(self._settings.poll_seconds)

    def _say(self, text: str) -> None:
        print(f"{leases.now_text()} {text}", file=sys.stderr, flush=True)


def command(
    plan: Plan,
    key: str,
    pool_words: Mapping[str, Sequence[str]] | None = None,
    group: Slice | None = None,
) -> list[str]:
    """What follows `python`, with the words of the stage's pool and, in a group, of the host.

    `{key}` in a pool's words is the stage's key in lower-case letters, digits and hyphens, which
    is what most services want a job's name to be made of.
    """
    stage = plan.stages[key]
    name = re.sub(r"[^a-z0-9]+", "-", key.lower())
    more = (pool_words or {}).get(stage.pool, ())
    words = [*plan.arguments(key), *(word.replace("{key}", name) for word in more)]
    if group and stage.command in COMMANDS:
        words += group.host_words()
    return ["-m", stage.command, *words]


def follow(plan: Plan, records: Records, follower: Follower, settings: Settings) -> int | None:
    """Runs, on another host than the first of a group, what the first one takes.

    Returns:
      As `Follower.run`.
    """
    group = settings.group
    assert group

    def start(followed: Followed) -> None:
        print(f"{leases.now_text()} {followed.key}: started on host {group.index}", file=sys.stderr)
        attempt.run(
            followed,
            records,
            plan.records_folder("").rstrip("/"),
            command(plan, followed.key, settings.pool_words, group),
            stopping=follower.stopping,
            at_once=follower.at_once,
            grace_seconds=settings.grace_seconds,
            host=group.index,
        )

    return follower.run(start)


@contextlib.contextmanager
def stopped_by_signals(worker: Worker | Follower) -> Iterator[None]:
    """SIGTERM and SIGINT call `worker.stop` until the block ends."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {n: signal.signal(n, lambda number, frame: worker.stop()) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def code_version() -> str:
    """The commit of this code, with `+` where files differ from it; else the package's version."""
    folder = Path(__file__).parent
    with contextlib.suppress(OSError):
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=folder, capture_output=True, text=True,
        )  # fmt: skip
        if found.returncode == 0:
            return found.stdout.strip()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("opencoder-jax")
    return "unknown"
