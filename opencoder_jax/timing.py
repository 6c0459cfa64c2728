"""Where the time went: each command leaves `timing.json` beside its outputs.

Time counts from the start of the process: importing JAX, Beam or TensorFlow takes
seconds, and a table that leaves them out does not add up to what a user waited.
"""

import contextlib
import os
import resource
import time
from collections.abc import Iterator

from opencoder_jax.formats.manifest import write_json


@contextlib.contextmanager
def timed(folder: str | os.PathLike) -> Iterator[dict[str, float]]:
    """Measures one command and writes `folder/timing.json` when it succeeds.

    The first block of a process counts from the start of the process, a later one from
    the end of the one before; `startup_seconds` is the part before the block.

    Yields:
      A dict for further figures, e.g. seconds of a part (`{"near_dedup_seconds": 3.1}`).
    """
    global _counted_until, _cpu_counted
    figures = {"startup_seconds": time.monotonic() - _counted_until}
    yield figures
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    now, cpu = time.monotonic(), _cpu_seconds()
    figures["wall_seconds"] = now - _counted_until
    figures["cpu_seconds"] = cpu - _cpu_counted
    # Linux counts kilobytes; of children it is the largest single one.
    figures["peak_memory_bytes"] = max(own.ru_maxrss, children.ru_maxrss) * 1024
    _counted_until, _cpu_counted = now, cpu
    write_json(os.path.join(folder, "timing.json"), figures)


def _process_start() -> float:
    """When this process began, on `time.monotonic`'s clock; now, where /proc is not Linux's."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            fields_after_name = file.read().rpartition(")")[2].split()
        started = int(fields_after_name[19]) / os.sysconf("SC_CLK_TCK")
        return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, IndexError, ValueError):
        return time.monotonic()


def _cpu_seconds() -> float:
    """Processor time so far of this process and of those it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


_counted_until = _process_start()
_cpu_counted = 0.0
