"""The whole demo, fresh: wall time and peak memory of each stage.

    .venv/bin/python -m benchmarks.demo [--demo_mb=24] [--run_dir=DIR]

Runs `make demo` into an empty folder, so the stages and their settings are the user's
own, and prints what each command measured of itself (`timing.json`). The last line is
the wall time of all of it, start-up of every command included; making the environment
is not.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from opencoder_jax.errors import InputError
from opencoder_jax.report.collect import Timing, collect_timings
from opencoder_jax.report.formatting import duration, size

_PROJECT = Path(__file__).resolve().parent.parent


def demo(run_dir: Path, demo_mb: int) -> float:
    """Runs the demo into `run_dir` and returns its wall seconds.

    Raises:
      InputError: the folder has something in it, or a stage fails.
    """
    if run_dir.exists() and any(run_dir.iterdir()):
        raise InputError(f"{run_dir} is not empty: what is finished there would be skipped")
    subprocess.run(["make", "env"], cwd=_PROJECT, check=True)
    command = ["make", "demo", f"DEMO_MB={demo_mb}", f"RUN_DIR={run_dir.resolve()}"]
    started = time.monotonic()
    status = subprocess.run(command, cwd=_PROJECT, check=False).returncode
    if status:
        raise InputError(f"`{' '.join(command)}` failed with status {status}; see above")
    return time.monotonic() - started


def print_stages(timings: list[Timing]) -> None:
    table = Table(title=f"{os.cpu_count()} cores", title_justify="left")
    table.add_column("stage")
    for title in ("wall time", "processor time", "peak memory"):
        table.add_column(title, justify="right")
    for timing in timings:
        table.add_row(
            timing.title,
            duration(timing.wall_seconds),
            duration(timing.cpu_seconds),
            size(timing.peak_bytes),
        )
    Console().print(table)
    print(f"peak memory of one process: {size(max(t.peak_bytes for t in timings))}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo_mb", type=int, default=24, help="megabytes of source files")
    parser.add_argument("--run_dir", type=Path, help="empty folder to keep; default: temporary")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="demo-") as temporary:
        run_dir = flags.run_dir or Path(temporary) / "run"
        try:
            seconds = demo(run_dir, flags.demo_mb)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print_stages(collect_timings(run_dir))
    print(f"demo: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
