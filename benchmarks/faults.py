"""Kills a training run again and again and compares it with one that was left in peace.

    python -m benchmarks.faults --kills=20 --seed=0
    python -m benchmarks.faults --moments=0.5,4,7.25
    python -m benchmarks.faults --at=restore,compile,save,delete,finish
    python -m benchmarks.faults --kills=20 -- --gin_file=pretrain/demo.gin --gin.PACKED_DIR=... ...

Each start is ended by SIGKILL: at random moments (every other one within the time that the first
start takes to its first step, the others in the training after it), at the moments given (seconds
after each start), or when its files show that it restores, compiles, saves, deletes or finishes.
After the last kill the run goes to its end. It is equal if its loss series, its parameters and
its last checkpoint, optimizer included, are those of the run in peace to the last bit. What
stands after `--` is what is trained, without MODEL_DIR; by default a tiny model, on a corpus
that is made here. The exit status is 1 where anything differs.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.training_process import TrainingProcess
from opencoder_jax.formats import manifest
from opencoder_jax.training import checkpoints
from opencoder_jax.training.metrics import read_metrics

_POLL_SECONDS = 0.002
STAGES = ("start", "restore", "compile", "train", "save", "delete", "finish")

# Whether to kill a process now.
Moment = Callable[[TrainingProcess], bool]


class Kill(NamedTuple):
    """What a process was doing when it was killed."""

    stage: str
    seconds: float
    step: int
    saved: int


def after(seconds: float) -> Moment:
    return lambda process: process.seconds >= seconds


def at(stage: str) -> Moment:
    return lambda process: process.stage() == stage


def into_training(seconds: float) -> Moment:
    """So long after the first step of a start."""
    began: list[float] = []

    def moment(process: TrainingProcess) -> bool:
        if not began and process.stage() in ("train", "save", "delete", "finish"):
            began.append(process.seconds)
        return bool(began) and process.seconds - began[0] >= seconds

    return moment


def random_moments(count: int, horizon: float, seed: int) -> Iterator[Moment]:
    """Every other one somewhere in a start, the others in the training after it.

    Args:
      count: how many.
      horizon: seconds that a start may take; training is left a quarter of it.
      seed: of the moments.
    """
    generator = random.Random(seed)
    for number in range(count):
        if number % 2:
            yield into_training(generator.uniform(0, horizon / 4))
        else:
            yield after(generator.uniform(0, horizon))


def kill(model_dir: Path, flags: Sequence[str], moment: Moment) -> Kill | None:
    """Starts the run and kills it at the moment; None if it ended by itself before.

    Raises:
      RuntimeError: it ended by itself with an error.
    """
    with TrainingProcess(model_dir, flags) as process:
        while process.running():
            if moment(process):
                stage, seconds = process.stage(), process.seconds
                process.kill()
                step, saved = process.step(), max(checkpoints.steps(model_dir), default=0)
                return Kill(stage, seconds, step, saved)
            time.sleep(_POLL_SECONDS)
        if process.finish():
            raise RuntimeError(f"a start after a kill failed:\n{process.output[-4000:]}")
    return None


def finish(model_dir: Path, flags: Sequence[str]) -> float:
    """Lets the run go to its end.

    Returns:
      Seconds from the start to the first line of metrics.

    Raises:
      RuntimeError: it ended with an error.
    """
    with TrainingProcess(model_dir, flags) as process:
        while process.running() and process.stage() in ("start", "restore", "compile"):
            time.sleep(_POLL_SECONDS)
        first = process.seconds
        if process.finish():
            raise RuntimeError(f"the run failed:\n{process.output[-4000:]}")
    return first


def outcome(model_dir: Path) -> dict[str, Any]:
    """Everything of a finished run that has to be equal to the last bit."""
    last = checkpoints.steps(model_dir)[-1]
    metadata = json.loads((model_dir / f"checkpoint_{last}/metadata/metadata").read_text())
    series = {
        name: [
            {key: value for key, value in line.items() if not key.startswith("timing/")}
            for line in read_metrics(model_dir / name)
        ]
        for name in ("train", "heldout")
    }
    return {
        **manifest.flattened({"manifest": manifest.read_manifest(model_dir)}),
        **manifest.flattened({f"checkpoint_{last}": metadata}),
        **{f"{name} series": lines for name, lines in series.items()},
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def faults(folder: Path, flags: Sequence[str], moments: Callable[[float], list[Moment]]) -> bool:
    """Prints each kill and the comparison; see the module.

    Args:
      folder: for the runs; has none yet.
      flags: of the training command, without MODEL_DIR.
      moments: when to kill, given the seconds that a start takes to its first step.

    Returns:
      Whether every run that was killed equals the one that was not.
    """
    peace = folder / "peace"
    first = finish(peace, flags)
    expected = outcome(peace)
    print(f"in peace: {len(expected['train series'])} lines; {first:.1f} s to the first step")
    waiting = moments(first)
    kills: list[Kill] = []
    wrong: list[str] = []
    runs = 0
    while waiting:
        runs += 1
        victim = folder / f"victim{runs}"
        while waiting:
            done = kill(victim, flags, waiting[0])
            if done is None:
                print("the run has ended before its next kill; another one is begun")
                break
            waiting.pop(0)
            kills.append(done)
            print(
                f"kill {len(kills)}: {done.stage} after {done.seconds:.2f} s, step {done.step},"
                f" last checkpoint {done.saved}",
                flush=True,
            )
        finish(victim, flags)
        wrong += differences(outcome(victim), expected)
    stages = ", ".join(f"{sum(k.stage == s for k in kills)} {s}" for s in STAGES)
    print(f"{len(kills)} kills ({stages}) in {runs} runs of {len(expected['train series'])} lines")
    print(f"different: {', '.join(wrong)}" if wrong else "equal to the last bit")
    return not wrong


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--moments", help="seconds after each start, separated by commas")
    parser.add_argument("--at", help=f"stages, separated by commas: {', '.join(STAGES)}")
    parser.add_argument("--folder", type=Path, help="keep the runs here; default: a temporary one")
    parser.add_argument("flags", nargs="*", help="of the training command, after --")
    options = parser.parse_args(argv)
    if options.at and (unknown := sorted(set(options.at.split(",")) - set(STAGES))):
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")

    def moments(first: float) -> list[Moment]:
        if options.moments:
            return [after(float(text)) for text in options.moments.split(",")]
        if options.at:
            return [at(stage) for stage in options.at.split(",")]
        return list(random_moments(options.kills, first, options.seed))

    flags = options.flags or _small_run()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        return 0 if faults(options.folder or Path(name), flags, moments) else 1


def _small_run() -> list[str]:
    from tests.opencoder_jax import small_run

    return small_run.flags(steps=400, save_period=10)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
