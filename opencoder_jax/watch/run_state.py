"""What a model directory says of its run right now, read a little at a time.

`metrics.jsonl` is followed: only what was added is read, and a file that a resumed run has cut
off is read again. Whether a run still trains is a conclusion: the process's number where it is
of this machine, else how long nothing has been written. Next: `screen`.
"""

import contextlib
import dataclasses
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.formats.manifest import MANIFEST_NAME, RUN_NAME
from opencoder_jax.training import goodput
from opencoder_jax.training.goodput import Account

METRICS_NAME = "metrics.jsonl"
LOSS = "loss_per_nonpadding_target_token"
_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
# Silent for so much longer than lines are apart, and at least so long, a run is stale.
_STALE_PERIODS = 10
_STALE_SECONDS = 120.0
# Lines that rates are taken from.
_RECENT = 20

Line = Mapping[str, float]


class Series:
    """The lines of one growing file, e.g. `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.lines: list[Any] = []
        self._path = path
        self._read_to = 0
        self._inode = 0

    def update(self) -> list[Any]:
        """Reads what is new; all of it where the file was replaced or became shorter.

        Returns:
          The lines that were added.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._read_to:
                    self.lines, self._read_to, self._inode = [], 0, status.st_ino
                file.seek(self._read_to)
                added = file.read()
        except FileNotFoundError:
            return []
        # A last line without its end is still being written.
        whole = added[: added.rfind(b"\n") + 1]
        self._read_to += len(whole)
        new = []
        for line in whole.splitlines():
            # A kill leaves a line that the next process ends.
            with contextlib.suppress(ValueError):
                new.append(json.loads(line))
        self.lines += new
        return new


@dataclasses.dataclass(frozen=True)
class RunState:
    """One look at a run.

    Attributes:
      model_dir: as given.
      status: `waiting`, `starting`, `training`, `stale`, `stopped` or `finished`.
      silent_seconds: since anything was written; None where nothing is there.
      first_step, last_step: step counts that the phase begins and ends with, where known.
      train, heldout: lines so far.
      account: where the time went.
      checkpoints: their steps, ascending.
      checkpoint_seconds: age of the latest; None without one.
      seconds_left: until the last step, at the latest speed; None where not known.
    """

    model_dir: str
    status: str
    silent_seconds: float | None
    first_step: int
    last_step: int | None
    train: list[Line]
    heldout: list[Line]
    account: Account
    checkpoints: list[int]
    checkpoint_seconds: float | None
    seconds_left: float | None

    @property
    def step(self) -> int:
        return int(self.train[-1]["step"]) if self.train else self.first_step


class Watcher:
    """Looks at one model directory again and again."""

    def __init__(self, model_dir: str) -> None:
        self._model_dir = model_dir
        self._folder = Path(model_dir)
        self._train = Series(self._folder / "train" / METRICS_NAME)
        self._heldout = Series(self._folder / "heldout" / METRICS_NAME)
        self._records = Series(self._folder / goodput.FILE_NAME)
        self._ledger = goodput.Ledger()
        self._process: Mapping[str, Any] | None = None

    def look(self) -> RunState:
        self._train.update()
        self._heldout.update()
        for record in self._records.update():
            self._ledger.add(record)
            if "resume_step" in record:
                self._process = record
        account = self._ledger.account()
        run = _read_json(self._folder / RUN_NAME)
        config = run.get("config", {})
        first_step = config.get("first_step", 0)
        train_steps = config.get("train_steps")
        last_step = None if train_steps is None else first_step + train_steps
        checkpoints = _checkpoints(self._folder)
        silent = self._silent_seconds(checkpoints)
        lines = self._train.lines
        step_seconds = _step_seconds(lines, run.get("inputs", {}).get("data.batch_size"))
        left = None
        if step_seconds and last_step is not None and lines:
            left = (last_step - lines[-1]["step"]) * step_seconds * _overhead(account)
        return RunState(
            model_dir=self._model_dir,
            status=self._status(run, silent, step_seconds),
            silent_seconds=silent,
            first_step=first_step,
            last_step=last_step,
            train=lines,
            heldout=self._heldout.lines,
            account=account,
            checkpoints=checkpoints,
            checkpoint_seconds=_age(self._folder / f"checkpoint_{checkpoints[-1]}")
            if checkpoints
            else None,
            seconds_left=left,
        )

    def _status(
        self, run: Mapping[str, Any], silent: float | None, step_seconds: float | None
    ) -> str:
        if (self._folder / MANIFEST_NAME).exists():
            return "finished"
        if not run:
            return "waiting"
        # A process writes run.json when it starts and its first record when its loop begins.
        begun = _age(self._folder / goodput.FILE_NAME)
        claimed = _age(self._folder / RUN_NAME)
        looping = begun is not None and claimed is not None and begun <= claimed
        if self._process and looping and not _may_be_alive(self._process):
            return "stopped"
        lines = self._train.lines
        period = (lines[-1]["step"] - lines[-2]["step"]) if len(lines) > 1 else 1
        limit = max(_STALE_SECONDS, _STALE_PERIODS * period * (step_seconds or 0.0))
        if silent is not None and silent > limit:
            return "stale"
        return "training" if looping else "starting"

    def _silent_seconds(self, checkpoints: list[int]) -> float | None:
        names = [RUN_NAME, goodput.FILE_NAME, f"train/{METRICS_NAME}", f"heldout/{METRICS_NAME}"]
        names += [f"checkpoint_{step}" for step in checkpoints[-1:]]
        ages = [age for name in names if (age := _age(self._folder / name)) is not None]
        return min(ages, default=None)


def _step_seconds(lines: list[Line], batch_size: int | None) -> float | None:
    """Of a step lately: the median of the latest rates."""
    rates = sorted(
        rate for line in lines[-_RECENT:] if (rate := line.get("timing/seqs_per_second"))
    )
    return batch_size / rates[len(rates) // 2] if rates and batch_size else None


def _overhead(account: Account) -> float:
    """Seconds that pass for a second of training: evaluations and checkpoints come between."""
    between = sum(account.lost.get(name, 0.0) for name in ("evaluation", "checkpoint"))
    trained = account.training + account.lost.get("recomputed", 0.0)
    return 1.0 + between / trained if trained else 1.0


def _checkpoints(folder: Path) -> list[int]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in map(_CHECKPOINT.fullmatch, names) if match)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        # Not there yet, or being written.
        return {}
    return value if isinstance(value, dict) else {}


def _age(path: Path) -> float | None:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None


def _may_be_alive(process: Mapping[str, Any]) -> bool:
    if process["host"] != socket.gethostname():
        return True
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
