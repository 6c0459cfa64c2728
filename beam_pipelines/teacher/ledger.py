"""What all calls in a cache folder have cost, over processes, workers and runs; and the budget.

Each process writes its own sums to `<cache_dir>/spent/<name>.json` and reads the others'. On a
local disk it writes with every call and looks at the others' files several times a second, in a
store both every few seconds and when a bundle ends. So a budget holds exactly in one process
(calls in flight are reckoned at their most), and over several it may be exceeded by the calls
that the others have in flight, in a store also by what they spent in those seconds.
"""

import dataclasses
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from beam_pipelines import stores
from beam_pipelines.teacher.settings import Teacher

_FOLDER = "spent"
_LOCAL_SECONDS = 0.2
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


def total_spent(cache_dir: str) -> Spent:
    """What all calls in a folder have cost.

    Raises:
      OSError: it cannot be read.
    """
    return _sum(_read_all(cache_dir, skip=""))


class Ledger:
    """This process' part of what is spent, and the sum of all.

    Methods may be called from several threads.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._name = f"{uuid.uuid4().hex}.json"
        self._remote = stores.is_remote(teacher.cache_dir)
        self._period = _REMOTE_SECONDS if self._remote else _LOCAL_SECONDS
        self._lock = threading.Lock()
        self._own = Spent()
        self._reserved = Spent()
        self._others = Spent()
        self._read_at = -math.inf
        self._written = Spent()
        self._written_at = -math.inf

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        teacher = self._teacher
        limits = (teacher.budget_usd, teacher.budget_calls, teacher.budget_tokens)
        return any(limit is not None for limit in limits)

    def reserve(self, most: Spent) -> bool:
        """Sets aside what a call costs at most.

        Returns:
          False: the budget has no room for it beside the calls in flight.

        Raises:
          OSError: the others' sums cannot be read.
        """
        if self.limited:
            self.refresh()
        with self._lock:
            if not self._fits(self._own + self._others + self._reserved + most):
                return False
            self._reserved += most
            return True

    def settle(self, most: Spent, spent: Spent) -> None:
        """Ends a reservation with what the call did cost.

        Raises:
          OSError: this process' sums cannot be written.
        """
        with self._lock:
            self._reserved -= most
            self._own += spent
            due = time.monotonic() - self._written_at > self._period
        if spent.calls and (due or not self._remote):
            self.write()

    def total(self) -> Spent:
        """Of all processes, as far as it is known here."""
        with self._lock:
            return self._own + self._others

    def refresh(self) -> None:
        """Reads the others' sums, where the last reading is old.

        Raises:
          OSError: they cannot be read.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._read_at < self._period:
                return
            self._read_at = now
        others = _sum(_read_all(self._teacher.cache_dir, skip=self._name))
        with self._lock:
            self._others = others

    def write(self) -> None:
        """Writes this process' sums, where they are not written.

        Raises:
          OSError: they cannot be written.
        """
        with self._lock:
            if self._own == self._written:
                return
            self._written, self._written_at = self._own, time.monotonic()
            content = json.dumps(dataclasses.asdict(self._own)).encode()
            folder = f"{self._teacher.cache_dir.rstrip('/')}/{_FOLDER}"
            if not self._remote:
                _write(Path(folder), self._name, content)
        if self._remote:
            stores.write(f"{folder}/{self._name}", content)

    def _fits(self, spent: Spent) -> bool:
        teacher = self._teacher
        return (
            (teacher.budget_usd is None or spent.usd <= teacher.budget_usd + 1e-9)
            and (teacher.budget_calls is None or spent.calls <= teacher.budget_calls)
            and (teacher.budget_tokens is None or spent.tokens <= teacher.budget_tokens)
        )


def _sum(parts: Iterator[Spent]) -> Spent:
    return sum(parts, Spent())


def _read_all(cache_dir: str, skip: str) -> Iterator[Spent]:
    """The sums of every process but one."""
    folder = f"{cache_dir.rstrip('/')}/{_FOLDER}"
    if stores.is_remote(cache_dir):
        for name, file in stores.list_below(folder):
            if name != skip:
                yield _parse(stores.read(file.path))
        return
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(".json") and name != skip:
            yield _parse(Path(folder, name).read_bytes())


def _parse(content: bytes) -> Spent:
    """The sums in a file; nothing where it is damaged: a budget must not stop for that."""
    try:
        return Spent(**json.loads(content))
    except (ValueError, TypeError):
        return Spent()


def _write(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    partial.write_bytes(content)
    os.replace(partial, folder / name)
