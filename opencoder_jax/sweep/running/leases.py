"""Who may run a stage: one holder at a time, and nobody for ever.

Attempt N at a stage is a file `lease-N`, made by exactly one worker and rewritten by it again and
again. A lease whose content has not changed for its `lease_seconds`, by the clock of whoever
looks, is of a worker that is gone: the next attempt may begin. No clocks are compared. Its holder
stops the stage itself, before that time, when it cannot renew the lease. Next: `board`.
"""

import dataclasses
import datetime
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.plan_file import DONE_NAME, FAILED_NAME
from opencoder_jax.sweep.running.records import Records

RETRY = "retry.json"
_LEASE = re.compile(r"lease-(\d{6,})")
_ENDED = re.compile(r"ended-(\d{6,})-(\w+)\.json")

Outcome = Literal["done", "failed", "interrupted", "lost"]


@dataclasses.dataclass(frozen=True)
class Attempts:
    """What the names in a stage's records say.

    Attributes:
      numbers: of all attempts, ascending.
      ended: how attempts ended; one without an entry runs, or its worker is gone.
    """

    numbers: list[int]
    ended: Mapping[int, str]

    @property
    def latest(self) -> int:
        return self.numbers[-1] if self.numbers else 0

    @property
    def open(self) -> bool:
        """Whether the latest has not been ended."""
        return self.latest > 0 and self.latest not in self.ended


def attempts(names: Iterable[str]) -> Attempts:
    names = list(names)
    leases = [int(match[1]) for match in map(_LEASE.fullmatch, names) if match]
    ends = {int(match[1]): match[2] for match in map(_ENDED.fullmatch, names) if match}
    return Attempts(sorted(leases), ends)


def lease_name(key: str, number: int) -> str:
    return f"{key}/lease-{number:06d}"


def log_name(key: str, number: int, host: int = 0) -> str:
    """Of attempt `number`; of several hosts all but the first have logs of their own."""
    return f"{key}/log-{number:06d}" + (f"-host-{host}" if host else "") + ".txt"


class Observer:
    """Tells by looking again and again whether leases are alive."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._seen: dict[str, tuple[int, bytes | None, float]] = {}

    def look(self, key: str, number: int) -> tuple[dict[str, Any], bool]:
        """What the holder wrote into lease `number` of stage `key`, and whether it is alive.

        Raises:
          InputError: the lease is damaged.
          OSError: the records cannot be read.
        """
        content = self._records.read(lease_name(key, number))
        now = time.monotonic()
        last = self._seen.get(key)
        if last is None or last[:2] != (number, content):
            last = self._seen[key] = (number, content, now)
        holder = {} if content is None else _object(lease_name(key, number), content)
        silent = now - last[2]
        return holder, silent < holder.get("lease_seconds", 0.0) and not _is_gone(holder)


class Lease:
    """An attempt that this process holds."""

    def __init__(self, records: Records, key: str, number: int, holder: Mapping[str, Any]) -> None:
        self.key = key
        self.number = number
        self.holder = dict(holder)
        self._records = records
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was taken."""
        return time.monotonic() - self._started

    def renew(self) -> bool:
        """Shows that the holder is alive; False where another attempt has begun meanwhile.

        Raises:
          OSError: the records cannot be written.
        """
        if self._is_overtaken():
            return False
        self.holder["beat"] += 1
        self.holder["at"] = now_text()
        self._records.write(lease_name(self.key, self.number), _json(self.holder))
        return True

    def _is_overtaken(self) -> bool:
        return attempts(self._records.names([self.key])[self.key]).latest > self.number

    def finish(self, code_version: str) -> bool:
        """Makes the stage finished; False where another worker did it or has begun it anew.

        Raises:
          OSError: the records cannot be written.
        """
        done = {
            "worker": self.holder["worker"],
            "attempt": self.number,
            "wall_seconds": round(self.seconds, 3),
            "started": self.holder["started"],
            "finished": now_text(),
            "code_version": code_version,
        }
        name = f"{self.key}/{DONE_NAME}"
        # What is begun anew may be written to; its own worker says when that has ended.
        if self._is_overtaken():
            self.end("lost", 0)
            return False
        won = self._records.create(name, _json(done))
        # An earlier try may have made it, and failed after that; no other attempt has the number.
        won = won or (read_json(self._records, name) or {}).get("attempt") == self.number
        self.end("done" if won else "lost", 0)
        return won

    def fail(self, exit_status: int, log: str, reason: str) -> None:
        """Makes the stage failed for good: nobody tries it again before somebody says so."""
        failed = {
            "worker": self.holder["worker"],
            "attempt": self.number,
            "exit_status": exit_status,
            "reason": reason,
            "finished": now_text(),
            "log": log,
        }
        self._records.create(f"{self.key}/{FAILED_NAME}", _json(failed))

    def end(self, outcome: Outcome, exit_status: int | None) -> None:
        """Gives the stage back. After an exception here the lease lapses by itself."""
        ended = {
            "worker": self.holder["worker"],
            "exit_status": exit_status,
            "seconds": round(self.seconds, 3),
            "finished": now_text(),
        }
        name = f"{self.key}/ended-{self.number:06d}-{outcome}.json"
        self._records.create(name, _json(ended))


def take(
    records: Records, key: str, number: int, worker: str, lease_seconds: float
) -> Lease | None:
    """Attempt `number` at stage `key`; None where another worker was first.

    Raises:
      OSError: the records cannot be written.
    """
    at = now_text()
    holder = {
        "worker": worker,
        # Two that try at one time differ in it, whatever they are called.
        "token": secrets.token_hex(8),
        "lease_seconds": lease_seconds,
        "beat": 0,
        "started": at,
        "at": at,
        **_this_process(),
    }
    if not records.create(lease_name(key, number), _json(holder)):
        return None
    return Lease(records, key, number, holder)


def retry(records: Records, keys: Iterable[str]) -> list[str]:
    """Lets failed stages be tried again, with all their attempts anew; returns which."""
    again = []
    for key, names in records.names(keys).items():
        if FAILED_NAME in names:
            records.write(f"{key}/{RETRY}", _json({"after": attempts(names).latest}))
            records.remove(f"{key}/{FAILED_NAME}")
            again.append(key)
    return again


def read_json(records: Records, name: str) -> dict[str, Any] | None:
    """What a record holds; None where there is none.

    Raises:
      InputError: it is damaged.
      OSError: the records cannot be read.
    """
    content = records.read(name)
    return None if content is None else _object(name, content)


def now_text() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text: str) -> float:
    """Since a time that some machine wrote, for people: clocks differ."""
    then = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
    return max(0.0, (datetime.datetime.now(datetime.UTC) - then).total_seconds())


def _object(name: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(
            f"{name}, in the folder of records, is damaged; remove it when no worker runs that "
            "stage"
        )
    return value


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _this_process() -> dict[str, Any]:
    """What tells a process from all others: hosts in containers share names and numbers."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": _pid_started(os.getpid()),
        "kernel": _kernel(),
    }


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether a holder is known to have ended, because its numbers are of this very machine."""
    if holder.get("kernel") != _kernel():
        return False
    return _pid_started(holder["pid"]) != holder["pid_started"]


def _kernel() -> str:
    """Equal for processes that see one and the same list of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _pid_started(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None where there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name before it, in brackets, may hold anything.
    fields = status.rpartition(")")[2].split()
    # A zombie has ended.
    return None if fields[0] in "ZX" else int(fields[19])
