"""What all calls in a cache folder have cost, over processes, workers and runs; and the budget.

Each process writes its own sums to `<cache_dir>/spent/<name>.json` and reads the others'. Calls in
flight are reckoned at their most. On a local disk a lock makes a budget hold exactly, over any
number of processes; in a store they read each other's sums every few seconds, and may exceed it
by what the others spent in those, and have in flight.
"""

import contextlib
import dataclasses
import enum
import fcntl
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beam_pipelines import stores
from beam_pipelines.teacher.settings import Teacher

_FOLDER = "spent"
_REMOTE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """Sums of completed calls that were asked, not those that the cache answered.

    Attributes:
      calls: how many.
      prompt_tokens: of all.
      completion_tokens: of all.
      usd: at the prices of their time.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Spent") -> "Spent":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Spent(*map(sum, pairs))

    def __sub__(self, other: "Spent") -> "Spent":
        return self + Spent(*(-value for value in dataclasses.astuple(other)))

    def __str__(self) -> str:
        tokens = f"{self.prompt_tokens:,} tokens of prompts, {self.completion_tokens:,} of answers"
        return f"{self.calls:,} calls, {tokens}, {self.usd:.4f} USD"


class Room(enum.Enum):
    """Whether a budget has room for a call."""

    YES = "yes"
    # Calls in flight may take less than they are reckoned at.
    PERHAPS = "perhaps"
    NO = "no"


class _Part(NamedTuple):
    """A process' sums: of completed calls, and of calls in flight at their most."""

    spent: Spent
    reserved: Spent


def total_spent(cache_dir: str) -> Spent:
    """What all calls in a folder have cost.

    Raises:
      OSError: it cannot be read.
    """
    reader = _Remote(cache_dir) if stores.is_remote(cache_dir) else _Local(cache_dir)
    return sum((part.spent for part in reader.others("")), Spent())


class Ledger:
    """This process' part of what is spent, and the sum of all.

    Methods may be called from several threads.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._name = uuid.uuid4().hex
        remote = stores.is_remote(teacher.cache_dir)
        self._folder = _Remote(teacher.cache_dir) if remote else _Local(teacher.cache_dir)
        self._lock = threading.Lock()
        self._own = _Part(Spent(), Spent())
        self._others = Spent()
        self._written = self._own
        limits = (teacher.budget_usd, teacher.budget_calls, teacher.budget_tokens)
        self._limited = any(limit is not None for limit in limits)

    def reserve(self, most: Spent) -> Room:
        """Sets aside what a call costs at most, where there is room.

        Raises:
          OSError: the sums cannot be read or written.
        """
        with self._lock:
            spent, reserved = self._own
            if self._limited:
                with self._folder.locked():
                    parts = self._folder.others(self._name)
                    self._others = sum((part.spent for part in parts), Spent())
                    if not self._fits(spent + self._others + most):
                        return Room.NO
                    taken = sum((part.reserved for part in parts), reserved)
                    if not self._fits(spent + self._others + taken + most):
                        return Room.PERHAPS
                    self._own = _Part(spent, reserved + most)
                    self._write(soon=False)
            return Room.YES

    def settle(self, most: Spent, spent: Spent) -> None:
        """Ends a reservation with what the call did cost.

        Raises:
          OSError: this process' sums cannot be written.
        """
        with self._lock:
            reserved = self._own.reserved - most if self._limited else Spent()
            self._own = _Part(self._own.spent + spent, reserved)
            self._write(soon=False)

    def total(self) -> Spent:
        """Of all processes, as far as it is known here."""
        with self._lock:
            return self._own.spent + self._others

    def write(self) -> None:
        """Writes this process' sums now, where they are not written.

        Raises:
          OSError: they cannot be written.
        """
        with self._lock:
            self._write(soon=True)

    def _write(self, soon: bool) -> None:
        if self._own != self._written and self._folder.write(self._name, self._own, soon):
            self._written = self._own

    def _fits(self, spent: Spent) -> bool:
        teacher = self._teacher
        return (
            (teacher.budget_usd is None or spent.usd <= teacher.budget_usd + 1e-9)
            and (teacher.budget_calls is None or spent.calls <= teacher.budget_calls)
            and (teacher.budget_tokens is None or spent.tokens <= teacher.budget_tokens)
        )


class _Local:
    """Sums in a folder of this machine, always up to date.

    Each process holds a lock on a file of its own for as long as it lives: what the dead had
    reserved is free.
    """

    def __init__(self, cache_dir: str) -> None:
        self._folder = Path(cache_dir, _FOLDER)
        self._alive: int | None = None
        # Name to (what the file was, its content): most belong to runs of the past.
        self._read: dict[str, tuple[tuple[int, int], _Part]] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            # Where a file system has no locks, budgets hold less exactly.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def others(self, name: str) -> list[_Part]:
        try:
            entries = [entry for entry in os.scandir(self._folder) if entry.name.endswith(".json")]
        except FileNotFoundError:
            return []
        parts = []
        for entry in entries:
            other = entry.name.removesuffix(".json")
            if other == name:
                continue
            # A file is replaced, never changed.
            state = entry.stat()
            version = (state.st_ino, state.st_mtime_ns)
            known = self._read.get(other)
            if known is None or known[0] != version:
                known = self._read[other] = (version, _parse(Path(entry).read_bytes()))
            part = known[1]
            if part.reserved.calls and not self._lives(other):
                part = part._replace(reserved=Spent())
            parts.append(part)
        return parts

    def write(self, name: str, part: _Part, soon: bool) -> bool:
        if self._alive is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._alive = os.open(self._folder / f"{name}.alive", os.O_CREAT | os.O_RDWR)
            with contextlib.suppress(OSError):
                fcntl.flock(self._alive, fcntl.LOCK_EX)
        partial = self._folder / f"{name}.partial"
        partial.write_bytes(_content(part))
        os.replace(partial, self._folder / f"{name}.json")
        return True

    def _lives(self, name: str) -> bool:
        try:
            with (self._folder / f"{name}.alive").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class _Remote:
    """Sums in a store, read and written every few seconds."""

    def __init__(self, cache_dir: str) -> None:
        self._folder = f"{cache_dir.rstrip('/')}/{_FOLDER}"
        self._read_at = self._written_at = -math.inf
        self._parts: list[_Part] = []

    def locked(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def others(self, name: str) -> list[_Part]:
        now = time.monotonic()
        if now - self._read_at > _REMOTE_SECONDS:
            files = [file for at, file in stores.list_below(self._folder) if at != f"{name}.json"]
            parts = [_parse(stores.read(file.path)) for file in files]
            # Nobody knows whether a worker lives that had reserved something.
            self._parts = [part._replace(reserved=Spent()) for part in parts]
            self._read_at = now
        return self._parts

    def write(self, name: str, part: _Part, soon: bool) -> bool:
        now = time.monotonic()
        if not soon and now - self._written_at < _REMOTE_SECONDS:
            return False
        stores.write(f"{self._folder}/{name}.json", _content(part))
        self._written_at = now
        return True


def _content(part: _Part) -> bytes:
    value = {name: dataclasses.asdict(spent) for name, spent in part._asdict().items()}
    return json.dumps(value).encode()


def _parse(content: bytes) -> _Part:
    """The sums in a file; nothing where it is damaged: a job must not stop for that."""
    try:
        value = json.loads(content)
        return _Part(Spent(**value["spent"]), Spent(**value["reserved"]))
    except (ValueError, TypeError, LookupError):
        return _Part(Spent(), Spent())
