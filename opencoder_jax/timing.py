"""Where the time went: each command leaves `timing.json` beside its outputs."""

import contextlib
import os
import resource
import time
from collections.abc import Iterator

from opencoder_jax.formats.manifest import write_json


@contextlib.contextmanager
def timed(folder: str | os.PathLike) -> Iterator[dict[str, float]]:
    """Measures one command and writes `folder/timing.json` when it succeeds.

    Yields:
      A dict for further figures, e.g. seconds of a part (`{"near_dedup_seconds": 3.1}`).
    """
    figures: dict[str, float] = {}
    wall, cpu = time.monotonic(), _cpu_seconds()
    yield figures
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["wall_seconds"] = time.monotonic() - wall
    figures["cpu_seconds"] = _cpu_seconds() - cpu
    # Linux counts kilobytes; of children it is the largest single one.
    figures["peak_memory_bytes"] = max(own.ru_maxrss, children.ru_maxrss) * 1024
    write_json(os.path.join(folder, "timing.json"), figures)


def _cpu_seconds() -> float:
    """Processor time so far of this process and of those it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
