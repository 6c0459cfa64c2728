"""Progress of long stages: a rich bar on a terminal, a plain line now and then in a log.

Both go to stderr, so that a command's result on stdout stays clean. A log gets a line
every fifteen seconds at most: a day of training must not fill it.
Beam's workers report through `beam_pipelines/ticks.py`, which ends here too.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich import progress as rich_progress
from rich.console import Console

_LOG_PERIOD_SECONDS = 15.0


@contextlib.contextmanager
def track(title: str, total: int | None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Shows how far a stage is.

    Args:
      title: what is being done.
      total: how many units there are; None where that is not known.
      unit: what is counted, e.g. `documents`.

    Yields:
      `advance(count=1, note="")`: adds `count` units; `note` stands at the end of the line.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            rich_progress.TextColumn("[bold]{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn(unit),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}"),
        )
        with rich_progress.Progress(*columns, console=console, transient=False) as bar:
            task = bar.add_task(title, total=total, note="")

            def advance(count: int = 1, note: str = "") -> None:
                bar.update(task, advance=count, note=note)

            yield advance
        return

    started = last = time.monotonic()
    done = 0

    def log(count: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= _LOG_PERIOD_SECONDS or (total is not None and done == total):
            last = now
            of = f"/{total}" if total is not None else ""
            print(
                f"{title}: {done}{of} {unit} in {now - started:.0f} s {note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    yield log
