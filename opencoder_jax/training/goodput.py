"""Goodput: the share of the time alive that went into steps which the model kept.

Alive is a process from its start to its last record; the time between processes is not
counted. Training is the time of the loop without what is named here as lost: `startup`
(imports, opening the data), `restore`, `compile`, `evaluation`, `checkpoint` (the wait for
one, not the writing in the background), `finish`. Time of steps that a later process had to
make again, because it went on from an earlier checkpoint, is `recomputed` and lost too. Waits
for data are training here; `timing/data_wait_share` has them. `MODEL_DIR/goodput.jsonl` is
appended to by every process; a kill costs the time since the last record.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "goodput.jsonl"


@dataclasses.dataclass(frozen=True)
class Account:
    """Where the time of all processes went, in seconds.

    Attributes:
      training: in steps that are part of the model.
      lost: by reason; with `training` it adds up to `alive`.
      alive: of all processes together.
      processes: how many there were.
    """

    training: float
    lost: Mapping[str, float]
    alive: float
    processes: int

    @property
    def goodput(self) -> float | None:
        """0 to 1; None before anything was recorded."""
        return self.training / self.alive if self.alive else None

    def __str__(self) -> str:
        parts = [f"training {_duration(self.training)}"]
        parts += [
            f"{reason} {_duration(s)}" for reason, s in sorted(self.lost.items()) if s >= 0.05
        ]
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        share = self.goodput or 0.0
        alive = _duration(self.alive)
        return f"goodput {share:.1%} of {alive} in {processes}: {', '.join(parts)}"


class Ledger:
    """Adds up the lines of a `goodput.jsonl`.

    A line is a process's start (`started`, `resume_step`), or what passed since the line
    before: `step` reached, `training` and `lost` seconds.
    """

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        # (steps made, training seconds) of the lines whose steps are part of the model.
        self._kept: list[tuple[int, float]] = []
        self._training = 0.0
        self._lost: defaultdict[str, float] = defaultdict(float)
        self._processes = 0
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        if "resume_step" not in record:
            self._kept.append((record["step"], record["training"]))
            self._training += record["training"]
            for reason, seconds in record["lost"].items():
                self._lost[reason] += seconds
            return
        self._processes += 1
        # Steps past the checkpoint that this process starts from are made again.
        while self._kept and self._kept[-1][0] > record["resume_step"]:
            seconds = self._kept.pop()[1]
            self._training -= seconds
            self._lost["recomputed"] += seconds

    def account(self) -> Account:
        return Account(
            training=self._training,
            lost=dict(self._lost),
            alive=self._training + sum(self._lost.values()),
            processes=self._processes,
        )


def read_account(model_dir: str | Path) -> Account:
    """Of a model directory, running or not; without records all is zero."""
    return Ledger(read_records(model_dir)).account()


class Stopwatch:
    """Counts one process's time and appends it to the model directory's file."""

    def __init__(
        self, model_dir: str | Path, startup_seconds: float = 0.0, *, write: bool = True
    ) -> None:
        """Args:
        model_dir: where `goodput.jsonl` is.
        startup_seconds: for how long the process has been there.
        write: False on the hosts that leave the file to the first one.
        """
        self._path = Path(model_dir) / FILE_NAME
        self._ledger = Ledger(read_records(model_dir))
        self._write = write
        # After a line that a kill cut short the next one has to begin on its own.
        self._separator = "\n" if _cut_short(self._path) else ""
        self._since = time.monotonic() - startup_seconds
        self._lost: defaultdict[str, float] = defaultdict(float)
        self._training = 0.0
        self._recorded = 0.0
        # What time is lost to outside the loop; None inside it.
        self._outside: str | None = "startup"

    @contextlib.contextmanager
    def lost(self, reason: str) -> Iterator[None]:
        """Counts the block under `reason`. Blocks do not nest."""
        self._settle()
        try:
            yield
        finally:
            now = time.monotonic()
            self._lost[reason] += now - self._since
            self._since = now

    def begin(self, resume_step: int) -> None:
        """The loop begins, after `resume_step` steps: from here on time is training."""
        self._settle()
        self._outside = None
        self._append(
            {
                "started": time.time() - sum(self._lost.values()),
                "resume_step": resume_step,
                # For those who watch: whether the process is still there.
                "host": socket.gethostname(),
                "pid": os.getpid(),
            }
        )

    def training_seconds(self) -> float:
        """Of this process so far, recorded or not."""
        self._settle()
        return self._recorded + self._training

    def record(self, step: int) -> Account:
        """Writes down the time since the last record, when `step` steps have been made.

        Returns:
          The account of all processes so far.
        """
        self._settle()
        self._append({"step": step, "training": self._training, "lost": dict(self._lost)})
        self._recorded += self._training
        self._training = 0.0
        self._lost.clear()
        return self._ledger.account()

    def end(self, step: int) -> Account:
        """As `record`, for what came after the loop's last record: `finish`."""
        if self._outside is None:
            self._settle()
            self._lost["finish"] += self._training
            self._training = 0.0
        return self.record(step)

    def _settle(self) -> None:
        now = time.monotonic()
        passed, self._since = now - self._since, now
        if self._outside:
            self._lost[self._outside] += passed
        else:
            self._training += passed

    def _append(self, record: dict[str, Any]) -> None:
        self._ledger.add(record)
        if self._write:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{self._separator}{json.dumps(record)}\n")
            self._separator = ""


def read_records(model_dir: str | Path) -> list[dict[str, Any]]:
    """The whole lines of the file; a kill may have cut one short."""
    path = Path(model_dir) / FILE_NAME
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def _cut_short(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.2f} h"
