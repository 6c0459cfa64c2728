"""Progress of a running pipeline on this machine: one byte a document.

Beam says nothing of a local run before its end. So a `Tick` appends a byte for every
element that passes to a small file, from whichever process, and `shown` follows the
files with a progress bar. The files count attempts, for the eye only; what a job
accounts for comes from `accounting`. A remote runner's workers find no such folder and
count nothing: it shows its own progress.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam

from opencoder_jax.progress import track

_PERIOD_SECONDS = 0.5


class Stage(NamedTuple):
    """A part of a job that has its own bar.

    Attributes:
      name: of the ticks that are counted.
      title: what is being done.
      total: how many are to come, the name of the earlier ticks that tell, or None where
        nobody knows.
    """

    name: str
    title: str
    total: int | str | None


class Tick(beam.PTransform):
    """Passes elements on and counts them under `name`."""

    def __init__(self, folder: str | os.PathLike, name: str) -> None:
        super().__init__()
        self._path = os.path.join(folder, name)

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        return elements | beam.ParDo(_Count(self._path))


class _Count(beam.DoFn):
    def __init__(self, path: str) -> None:
        self._path = path
        self._pending = 0
        self._written_at = 0.0

    def process(self, element: Any) -> Iterator[Any]:
        self._pending += 1
        if time.monotonic() - self._written_at > _PERIOD_SECONDS:
            self._write()
        yield element

    def finish_bundle(self) -> None:
        self._write()

    def _write(self) -> None:
        # Appending is atomic, so processes share a file; where there is none, nobody looks.
        with contextlib.suppress(OSError), open(self._path, "ab", buffering=0) as file:
            file.write(b"." * self._pending)
        self._pending = 0
        self._written_at = time.monotonic()


@contextlib.contextmanager
def shown(stages: Sequence[Stage], unit: str) -> Iterator[Path]:
    """Shows a bar for each stage, one after the other.

    Yields:
      The folder that the stages' `Tick`s count in.
    """
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="ticks-") as folder:
        follower = threading.Thread(target=_follow, args=(Path(folder), stages, unit, stop))
        follower.start()
        try:
            yield Path(folder)
        finally:
            stop.set()
            follower.join()


def _follow(folder: Path, stages: Sequence[Stage], unit: str, stop: threading.Event) -> None:
    following = [*stages[1:], None]
    for stage, after in zip(stages, following, strict=True):
        total = stage.total if not isinstance(stage.total, str) else _count(folder / stage.total)
        with track(stage.title, total, unit) as advance:
            done = 0
            while True:
                over = stop.is_set() or (after is not None and _count(folder / after.name) > 0)
                now = _count(folder / stage.name)
                if total is not None:
                    now = min(total, now)
                if now > done:
                    advance(now - done)
                    done = now
                if over:
                    break
                stop.wait(_PERIOD_SECONDS)


def _count(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
