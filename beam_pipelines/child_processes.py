"""The processes that a process started, as Linux tells them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def children(process: int) -> Iterator[int]:
    """Ids of the living children of all its threads; none where it has ended."""
    threads = Path(f"/proc/{process}/task")
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(threads)
    for name in names:
        with contextlib.suppress(OSError):
            yield from map(int, (threads / name / "children").read_text().split())
