"""Sweeps: time to plan 200 arms, and what kills of the workers cost and change.

    python -m benchmarks.sweep plan [--arms=200]
    python -m benchmarks.sweep kills [--kills=10] [--workers=2]

`plan` writes a sweep of cleaning, packing, training and evaluation with that many arms (dedup
levels × fill-in-the-middle rates × peaks of the schedule), plans it without compiling, and
prints the seconds, also as a share of what as many `--dry_run`s of the commands would take.

`kills` runs a small real sweep twice, in two folders: undisturbed, then with its workers killed
(SIGKILL, the whole worker) at random moments, each started again at once. Then it compares the
two reports, figure by figure, and reads in the records which attempts began: no stage that was
finished may have been started again. Exits with 1 where a figure differs or a finished stage was
run again.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_SWEEP = """
from __gin__ import dynamic_registration

from opencoder_jax.sweep import definition

include 'sweeps/base.gin'

definition.Sweep:
  name = 'benchmark'
  title = 'How long does it take?'
  stages = [
      @corpus/definition.Stage(),
      @tokenizer/definition.Stage(),
      @packed_refinecode/definition.Stage(),
      @definition.GatheredSets(),
      @pretrain/definition.Stage(),
      @evaluate/definition.Stage(),
  ]
  arms = @definition.Product()
  seeds = {seeds}
  metrics = [@definition.Metric()]

definition.Metric:
  stage = 'evaluate'
  measure = 'bits_per_byte'
  of = 'refinecode'

corpus/definition.Stage:
  name = 'corpus'
  command = 'beam_pipelines.refinecode'
  gin_files = ['refinecode/paper.gin']
  bindings = [
      'SOURCE_DIR={source}',
      'NUM_SHARDS=2',
      'refinecode.permutations=256',
      'refinecode.rows=16',
  ]
  pool = 'data'

tokenizer/definition.Stage:
  name = 'tokenizer'
  command = 'opencoder_jax.train_tokenizer'
  gin_files = ['tokenizer/demo.gin']
  bindings = ['train_tokenizer.vocab_size=700']
  inputs = {{'INPUT_DIR': 'corpus'}}
  pool = 'data'

packed_refinecode/definition.Stage:
  name = 'packed_refinecode'
  command = 'beam_pipelines.pack'
  gin_files = ['pack/demo.gin']
  bindings = ['SEQUENCE_LENGTH=128', 'HELDOUT_FRACTION=0.3']
  inputs = {{'INPUT_DIR': 'corpus', 'TOKENIZER_DIR': 'tokenizer'}}
  pool = 'data'

definition.GatheredSets:
  name = 'packed'
  sets = {{'refinecode': 'packed_refinecode'}}

pretrain/definition.Stage:
  name = 'pretrain'
  command = 'opencoder_jax.train'
  gin_files = ['pretrain/demo.gin']
  bindings = [
      'TRAIN_STEPS={steps}',
      "TASK_FEATURE_LENGTHS={{'targets': 128}}",
      'config.TransformerConfig.vocab_size=700',
      'config.TransformerConfig.num_layers=1',
      'config.TransformerConfig.emb_dim=32',
      'config.TransformerConfig.mlp_dim=64',
      'config.TransformerConfig.max_length=128',
      'checkpoints.SaveCheckpointConfig.period=10',
  ]
  inputs = {{'PACKED_DIR': 'packed', 'TOKENIZER_DIR': 'tokenizer'}}
  output = 'MODEL_DIR'
  seed = 'RANDOM_SEED'
  pool = 'train'

evaluate/definition.Stage:
  name = 'evaluate'
  command = 'opencoder_jax.evaluate'
  gin_files = ['evaluate/bits_per_byte.gin']
  inputs = {{'MODEL_DIR': 'pretrain', 'PACKED_DIR': 'packed'}}
  output = 'evaluate.output_dir'
  pool = 'evaluate'

definition.Product.of = [
    @dedup/definition.Arms(),
    @fim/definition.Axis(),
    @peak/definition.Axis(),
]
dedup/definition.Arms.arms = {{
    'file': {{}},
    'chunk': {{'corpus': ['refinecode/dedup/chunk.gin']}},
}}
fim/definition.Axis:
  stage = 'packed_refinecode'
  binding = 'FIM_RATE'
  values = {fim_rates}
peak/definition.Axis:
  stage = 'pretrain'
  binding = 'schedules.WarmupStable.peak'
  values = {peaks}
"""
# Folders of the standard library, each a repository: real code, the same on every run.
_FOLDERS = ("json", "logging", "html", "wsgiref", "collections", "tomllib", "email", "http")
# Columns of `report.csv` that tell how fast a run was, not what came out of it.
_TIMES = ("wall_seconds", "cpu_seconds", "tokens_per_second", "mfu")


def write_sweep(
    folder: Path,
    peaks: Sequence[float],
    fim_rates: Sequence[float],
    seeds: Sequence[int],
    steps: int,
) -> Path:
    """The sweep's gin file."""
    source = folder / "source"
    if not source.exists():
        source.mkdir(parents=True)
        stdlib = Path(sysconfig.get_paths()["stdlib"])
        for name in _FOLDERS:
            shutil.copytree(stdlib / name, source / name, ignore=shutil.ignore_patterns("*.pyc"))
    path = folder / "sweep.gin"
    path.write_text(
        _SWEEP.format(
            source=source,
            peaks=list(peaks),
            fim_rates=list(fim_rates),
            seeds=list(seeds),
            steps=steps,
        )
    )
    return path


def plan(path: Path, sweep_dir: Path) -> float:
    """Plans and returns the seconds of the command, its start included."""
    started = time.monotonic()
    subprocess.run(
        [*_COMMAND, "plan", f"--gin_file={path}", f"--gin.SWEEP_DIR={sweep_dir}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def run(sweep_dir: Path, workers: int) -> float:
    """Runs undisturbed and returns the seconds."""
    started = time.monotonic()
    _finish(sweep_dir, [_worker(sweep_dir) for _ in range(workers)])
    return time.monotonic() - started


def run_with_kills(sweep_dir: Path, workers: int, kills: int, seconds: float, seed: int) -> float:
    """Runs with so many workers killed at random moments of `seconds`; returns the seconds."""
    generator = random.Random(seed)
    moments = sorted(generator.uniform(0.0, 0.9 * seconds) for _ in range(kills))
    print("seconds after which a worker is killed:", *map(round, moments), flush=True)
    started = time.monotonic()
    running = [_worker(sweep_dir) for _ in range(workers)]
    for moment in moments:
        time.sleep(max(0.0, started + moment - time.monotonic()))
        victim = generator.randrange(workers)
        os.killpg(running[victim].pid, signal.SIGKILL)
        running[victim].wait()
        running[victim] = _worker(sweep_dir)
    _finish(sweep_dir, running)
    return time.monotonic() - started


_COMMAND = [sys.executable, "-m", "opencoder_jax.sweep"]


def _worker(sweep_dir: Path) -> subprocess.Popen:
    with (sweep_dir / "workers.log").open("ab") as log:
        return subprocess.Popen(
            [*_COMMAND, "run", str(sweep_dir), "--workers=1", "--lease_seconds=15"],
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def _finish(sweep_dir: Path, running: Sequence[subprocess.Popen]) -> None:
    statuses = [process.wait() for process in running]
    if any(statuses):
        told = (sweep_dir / "workers.log").read_text()
        raise SystemExit(f"{told}workers ended with {statuses}")


def results(sweep_dir: Path, output: Path) -> list[dict[str, str]]:
    """Rows of `report.csv` without what differs from run to run: times and places."""
    subprocess.run(
        [*_COMMAND, "report", str(sweep_dir), f"--output={output}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with (output / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: value for name, value in row.items() if name.rpartition(":")[2] not in _TIMES}
        for row in rows
    ]


def begun(records: Path) -> dict[str, tuple[int, int]]:
    """Stage to the attempt that finished it and the last that began; each that did has a log."""
    found = {}
    for folder in sorted(path for path in records.iterdir() if path.is_dir()):
        done = json.loads((folder / "done.json").read_text())
        logs = sorted(path.stem for path in folder.glob("log-*.txt"))
        found[folder.name] = done["attempt"], int(logs[-1].rpartition("-")[2])
    return found


def _plan_benchmark(arms: int) -> int:
    peaks = [1e-4 * (number + 1) for number in range(max(1, arms // 4))]
    with tempfile.TemporaryDirectory(prefix="sweep-") as name:
        folder = Path(name)
        path = write_sweep(folder, peaks, [0.0, 0.5], [0], 100)
        seconds = plan(path, folder / "sweeps" / "benchmark")
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "opencoder_jax.train", "--gin_file=pretrain/demo.gin"]
            + [f"--gin.{name}=x" for name in ("MODEL_DIR", "PACKED_DIR", "TOKENIZER_DIR")]
            + ["--dry_run"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        one = time.monotonic() - started
    print(f"{4 * len(peaks)} arms planned in {seconds:.1f} s")
    times = 4 * len(peaks) * one / seconds
    print(
        f"one --dry_run of training takes {one:.1f} s, as many as arms {times:.0f} times the plan"
    )
    return 0


def _kills_benchmark(kills: int, workers: int, steps: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="sweep-") as name:
        folder = Path(name)
        path = write_sweep(folder, [1.5e-3], [0.0, 0.5], [0, 1], steps)
        calm, disturbed = folder / "calm" / "benchmark", folder / "disturbed" / "benchmark"
        for sweep_dir in (calm, disturbed):
            plan(path, sweep_dir)
        calm_seconds = run(calm, workers)
        print(f"undisturbed: {calm_seconds:.0f} s", flush=True)
        seconds = run_with_kills(disturbed, workers, kills, calm_seconds, seed)
        expected, found = results(calm, folder / "a"), results(disturbed, folder / "b")
        attempts = begun(disturbed.parent / "work")
    same = expected == found
    again = [key for key, (finished, last) in attempts.items() if last > finished]
    figures = sum(bool(value) for row in expected for value in row.values())
    print(f"{kills} kills: {seconds:.0f} s, {seconds / calm_seconds:.2f} times the undisturbed one")
    print(f"{len(attempts)} stages by {sum(last for _, last in attempts.values())} attempts")
    print(
        f"{len(expected)} runs, all {figures} entries of report.csv but times "
        + ("are the same" if same else "are NOT the same")
    )
    for before, after in zip(expected, found, strict=True):
        for name in sorted(before.keys() | after.keys()):
            if (one := before.get(name)) != (other := after.get(name)):
                print(f"{before['arm']}/{before['seed']} {name}: {one}, {other}")
    print(f"finished stages run again: {', '.join(again) or 'none'}")
    return 0 if same and not again else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    planning = actions.add_parser("plan", help="time to plan")
    planning.add_argument("--arms", type=int, default=200)
    killing = actions.add_parser("kills", help="what kills cost and change")
    killing.add_argument("--kills", type=int, default=10)
    killing.add_argument("--workers", type=int, default=2)
    killing.add_argument("--steps", type=int, default=60)
    killing.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.action == "plan":
        return _plan_benchmark(options.arms)
    return _kills_benchmark(options.kills, options.workers, options.steps, options.seed)


if __name__ == "__main__":
    sys.exit(main())
