"""`train/metrics.jsonl` and TensorBoard events: one consistent series, whatever was killed.

A line holds the figures of one step, under T5X's names, so it is a function of the step
alone (but for `timing/`). A resumed run first cuts off the lines past the checkpoint that
it starts from; then the file of an interrupted run equals that of an uninterrupted one.
TensorBoard files cannot be cut: its reader drops superseded points by itself when it
meets a `SessionLog.START` event with an earlier step, which is written on resuming.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from opencoder_jax.distributed import is_primary
from opencoder_jax.training.event_file import SESSION_START, EventFile

METRICS_FILE = "metrics.jsonl"

Mirror = Callable[[str, int, Mapping[str, float]], None]


class MetricsWriter:
    """Writes the metrics of one folder, e.g. `MODEL_DIR/train`. A context manager."""

    def __init__(self, folder: str | Path, resume_step: int, mirror: Mirror | None = None) -> None:
        """Opens the series to go on after `resume_step`; lines past it are removed.

        Args:
          folder: holds the series.
          resume_step: of the checkpoint that training goes on from.
          mirror: gets the folder's name, the step and the figures of each line too.
        """
        self._mirror = mirror
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / METRICS_FILE
        _truncate_after(path, resume_step)
        self._file = path.open("a", encoding="utf-8")
        seconds, fraction = divmod(time.time_ns(), 10**9)
        unique = f"{socket.gethostname()}.{os.getpid()}.{fraction}"
        name = f"events.out.tfevents.{seconds}.{unique}"
        self._events = EventFile(self._folder / name)
        self._write_event(file_version="brain.Event:2")
        self._write_event(session_log={"status": SESSION_START}, step=resume_step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._events.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the figures of `step` (the number of steps made, so the first is 1)."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        scalars = [{"tag": name, "simple_value": value} for name, value in values.items()]
        self._write_event(step=step, summary={"value": scalars})
        if self._mirror:
            self._mirror(self._folder.name, step, values)

    def _write_event(self, **fields: Any) -> None:
        self._events.write(wall_time=time.time(), **fields)


class SilentMetrics:
    """Of a process that is not the one that writes."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Does nothing."""


def open_metrics(
    folder: str | Path, resume_step: int, mirror: Mirror | None = None
) -> contextlib.AbstractContextManager[MetricsWriter | SilentMetrics]:
    """The writer of one folder on the process that writes, a silent one on the others."""
    if is_primary():
        return MetricsWriter(folder, resume_step, mirror)
    return contextlib.nullcontext(SilentMetrics())


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The lines of a folder's `metrics.jsonl` in order; a line cut short by a kill ends them."""
    path = Path(folder) / METRICS_FILE
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _truncate_after(path: Path, step: int) -> None:
    kept = [line for line in read_metrics(path.parent) if line["step"] <= step]
    if not path.exists():
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    temporary.replace(path)
