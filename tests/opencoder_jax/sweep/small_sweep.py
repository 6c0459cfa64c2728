"""Planned sweeps of tiny stages, and workers of them as real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, PlannedStage, write_plan

ROOT = Path(__file__).parents[3]
COMMAND = "tests.opencoder_jax.sweep.tiny_stage"
QUICK = ("--poll_seconds=0.2", "--lease_seconds=3", "--grace_seconds=5")


def stage(
    key: str, *inputs: str, steps: int = 5, behaviour: str = "well", pool: str = "default"
) -> PlannedStage:
    words = ("{output}", str(steps), behaviour, *(f"{{{name}}}" for name in inputs))
    return PlannedStage(key, key.rpartition("-")[0], COMMAND, words=words, inputs=inputs, pool=pool)


def planned(folder: Path, *stages: PlannedStage, places: Mapping[str, str] | None = None) -> Plan:
    """A sweep whose arms are named after the stages that nobody else needs."""
    by_key = {stage.key: stage for stage in stages}
    needed = {name for stage in stages for name in stage.inputs}
    runs = []
    for last in stages:
        if last.key not in needed:
            keys = [*_inputs(by_key, last.key), last.key]
            runs.append(PlannedRun(last.key, 0, {by_key[key].stage: key for key in keys}))
    plan = Plan(
        folder=str(folder / "sweep"),
        name="small",
        title="Does it work?",
        baseline=runs[0].arm,
        seeds=(0,),
        metrics=(Metric(stages[-1].stage, "loss"),),
        runs=tuple(runs),
        stages=by_key,
        **(places or {}),
    )
    write_plan(plan)
    return plan


def branching(folder: Path, branches: int = 4, steps: int = 5, **more) -> Plan:
    """A corpus, a pretraining, and `branches` annealings and evaluations of it."""
    stages = [
        stage("corpus-0", steps=steps, pool="data"),
        stage("pretrain-0", "corpus-0", steps=steps),
    ]
    for branch in range(branches):
        stages.append(stage(f"anneal-{branch}", "pretrain-0", steps=steps))
        stages.append(stage(f"evaluate-{branch}", f"anneal-{branch}", steps=steps))
    return planned(folder, *stages, **more)


def start_worker(plan: Plan, *flags: str, cwd: Path | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "opencoder_jax.sweep.run", plan.folder, *QUICK, *flags],
        cwd=cwd or ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def work(plan: Plan, *flags: str, cwd: Path | None = None) -> tuple[int, str]:
    """Exit status and stderr of one worker that works until it ends."""
    worker = start_worker(plan, *flags, cwd=cwd)
    _, errors = worker.communicate(timeout=240)
    # For the report of a test that fails.
    print(worker.returncode, errors)
    return worker.returncode, errors


def journal(plan: Plan, key: str) -> list[str]:
    path = Path(plan.stage_folder(key), "journal")
    return path.read_text().splitlines() if path.exists() else []


def record(plan: Plan, key: str, name: str) -> dict:
    return json.loads(Path(plan.records_folder(key), name).read_text())


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _inputs(by_key: Mapping[str, PlannedStage], key: str) -> list[str]:
    found: list[str] = []
    for name in by_key[key].inputs:
        found += [*_inputs(by_key, name), name]
    return list(dict.fromkeys(found))
