"""Time from a kill to the next step, and bytes read on the way.

    python -m benchmarks.resume [--rounds=3]
    python -m benchmarks.resume -- --gin_file=pretrain/demo.gin --gin.PACKED_DIR=... ...

A run is started, killed after its first checkpoint and started again, three ways in turn: with
the programs that the first start kept, without them (`keep_compiled=False`), and from nothing
in another directory, which is what the others are compared with. All is seen from outside: when
the directory is described (everything imported, data and devices open), when the state is there
(restored, or made), when the first line of metrics is there (compiled, and a step made); and
what the process has read by then (`rchar` of /proc: files through the system's calls; mapped
ones, such as libraries, are not in it). Medians of the rounds; on a busy machine the processor's
seconds are the ones to look at; figures in docs/faults.md.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.training_process import TrainingProcess
from opencoder_jax.training import checkpoints

_POLL_SECONDS = 0.005
# The stages of a start, as `TrainingProcess.stage` names them, and what they are.
_STAGES = {
    "start": "import, open data and devices",
    "restore": "restore, or make, the state",
    "compile": "compile, first step",
}


class Start(NamedTuple):
    """Of each stage of one start."""

    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    megabytes: dict[str, float]


def watch(process: TrainingProcess) -> Start:
    """Waits for the first step of a start.

    Raises:
      RuntimeError: it ended before.
    """
    start = Start(*(dict.fromkeys(_STAGES, 0.0) for _ in Start._fields))
    before = (0.0, 0.0, 0.0)
    while True:
        if not process.running():
            raise RuntimeError(f"the run ended before its first step:\n{process.output[-4000:]}")
        stage, now = process.stage(), _counters(process)
        # What has passed belongs to the stage that it was in when looked at before.
        for figures, new, old in zip(start, now, before, strict=True):
            figures[stage if stage in _STAGES else "compile"] += new - old
        before = now
        if stage not in _STAGES:
            return start
        time.sleep(_POLL_SECONDS)


def _counters(process: TrainingProcess) -> tuple[float, float, float]:
    """Seconds, processor seconds and megabytes read, since its start."""
    folder = Path(f"/proc/{process.process.pid}")
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    (read,) = [
        int(line.split()[1])
        for line in (folder / "io").read_text().splitlines()
        if line.startswith("rchar: ")
    ]
    return process.seconds, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), read / 1e6


def fresh(model_dir: Path, flags: Sequence[str]) -> Start:
    """A start from nothing, killed when it has a checkpoint that is whole."""
    with TrainingProcess(model_dir, flags) as process:
        start = watch(process)
        while not checkpoints.steps(model_dir) and process.running():
            time.sleep(_POLL_SECONDS)
    return start


def resumed(model_dir: Path, flags: Sequence[str]) -> Start:
    """A start from the last checkpoint, killed after its first step."""
    with TrainingProcess(model_dir, flags) as process:
        return watch(process)


def resume(flags: Sequence[str], rounds: int) -> None:
    """Prints the measurements; see the module."""
    ways: dict[str, list[Start]] = {"from nothing": [], "resumed": [], "resumed, compiling": []}
    with tempfile.TemporaryDirectory(prefix="resume-") as name:
        for number in range(rounds):
            model_dir = Path(name) / str(number)
            ways["from nothing"].append(fresh(model_dir, flags))
            ways["resumed"].append(resumed(model_dir, flags))
            again = [*flags, "--gin.train.keep_compiled=False"]
            ways["resumed, compiling"].append(resumed(model_dir, again))
        last = model_dir / f"checkpoint_{checkpoints.steps(model_dir)[-1]}"
        size = sum(path.stat().st_size for path in last.rglob("*") if path.is_file()) / 1e6
    print(f"{'':32}" + "".join(f"{way:>32}" for way in ways))
    for stage, title in _STAGES.items():
        cells = [
            f"{_median([s.seconds[stage] for s in starts]):.2f} s"
            f" {_median([s.cpu_seconds[stage] for s in starts]):.2f} CPU s"
            f" {_median([s.megabytes[stage] for s in starts]):.1f} MB"
            for starts in ways.values()
        ]
        print(f"{title:32}" + "".join(f"{cell:>32}" for cell in cells))
    base = ways.pop("from nothing")
    for way, starts in ways.items():
        wall, cpu = (
            _median([sum(start[index].values()) for start in starts])
            / _median([sum(start[index].values()) for start in base])
            for index in (0, 1)
        )
        print(
            f"{way}: {wall:.2f} times the seconds of a start from nothing, {cpu:.2f} of the CPU's"
        )
    resumed_starts = ways["resumed"]
    read = _median([start.megabytes["restore"] for start in resumed_starts])
    print(
        f"read to restore: {read:.1f} MB of a checkpoint of {size:.1f} MB, {read / size:.2f} times"
    )


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("flags", nargs="*", help="of the training command, after --")
    options = parser.parse_args(argv)
    resume(options.flags or _small_run(), options.rounds)
    return 0


def _small_run() -> list[str]:
    from tests.opencoder_jax import small_run

    model = small_run.model_flags(num_layers=4, emb_dim=128, mlp_dim=512, num_heads=4, head_dim=32)
    return small_run.flags(*model, steps=1000, save_period=5)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
