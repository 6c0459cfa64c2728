"""The action `search`: arms that follow from the results of others, planned, run and measured.

    python -m opencoder_jax.sweep search --gin_file=SWEEP.gin --gin.SWEEP_DIR=runs/sweeps/NAME

The sweep's `arms` are a `definition.Search`, or a `Chain` with one. All that a search knows are
the points suggested so far (`SWEEP_DIR/trials.json`) and the results in the stages' folders: a
killed one goes on where it was, with the very same trials. Next: `searchers`.
"""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.data import stores
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.sweep.definition import Arms, ArmSource, Chain, Search, Sweep, Value
from opencoder_jax.sweep.plan_file import Plan, read_plan, write_plan
from opencoder_jax.sweep.planning import planner
from opencoder_jax.sweep.planning.expansion import gin_text
from opencoder_jax.sweep.results.measurements import Measured, measure
from opencoder_jax.sweep.results.stage_files import read_json
from opencoder_jax.sweep.searchers import Trial

TRIALS_NAME = "trials.json"
_Points = list[dict[str, Value]]


def plan(
    sweep: Sweep,
    sweep_dir: str,
    outputs: str = "../stages",
    records: str = "../work",
    workers: int = 1,
) -> None:
    """Searches: suggests a batch of trials, plans and runs them, until all trials are measured.

    Further workers may help by `python -m opencoder_jax.sweep run SWEEP_DIR`, which ends with each
    batch. One search a folder.

    Args:
      sweep: whose `arms` have a `definition.Search`.
      sweep_dir: folder of the sweep, here or in a store.
      outputs, records: as `plan` has them.
      workers: stages at a time in this process; a batch of as many trials keeps them busy.

    Raises:
      InputError: as `plan`, the arms have no search, or all trials of a batch failed.
    """
    require_at_least(1, workers=workers)
    search = _search_of(sweep.arms)
    points = read_points(sweep_dir)
    paths = [str(Path(path).absolute()) for path in configuration.search_paths()]
    while True:
        trials = [Trial(point) for point in points]
        if points:
            planned = planner.make_plan(
                dataclasses.replace(sweep, arms=with_trials(sweep.arms, search, points)),
                sweep_dir,
                outputs=outputs,
                records=records,
                search_paths=paths,
            )
            write_plan(planned)
            _run(sweep_dir, workers)
            trials = measured_trials(measure(read_plan(sweep_dir)), points)
            _print(planned, trials)
            _check_not_all_failed(trials, search.batch)
        if len(points) >= search.trials:
            return
        count = min(search.batch, search.trials - len(points))
        better = sweep.metrics[0].better
        points += [dict(p) for p in search.searcher.suggest(search.space, trials, count, better)]
        # Before they are planned: a kill from here on asks for no others.
        _write_points(sweep_dir, points)


def with_trials(
    source: ArmSource, search: Search, points: Sequence[Mapping[str, Value]]
) -> ArmSource:
    """`source` with the trials at `points` in place of its search.

    Raises:
      InputError: a point is none of the search's space.
    """
    if isinstance(source, Search):
        return Arms({name(number): _changes(search, p) for number, p in enumerate(points)})
    if isinstance(source, Chain):
        return Chain([with_trials(part, search, points) for part in source.of])
    return source


def name(number: int) -> str:
    """The arm of a trial, counted from 0."""
    return f"trial-{number + 1:04d}"


def measured_trials(measured: Measured, points: Sequence[Mapping[str, Value]]) -> list[Trial]:
    """The trials with the mean over their seeds of the metric that decides.

    One of them that failed, or has no such figure, is NaN.
    """
    metric = measured.plan.metrics[0]
    trials = []
    for number, point in enumerate(points):
        values = [run.value(metric) for run in measured.of_arm(name(number))]
        known = [value for value in values if value is not None]
        whole = known and len(known) == len(values)
        trials.append(Trial(point, statistics.fmean(known) if whole else math.nan))
    return trials


def read_points(sweep_dir: str) -> _Points:
    """The points suggested so far; none where there is no `trials.json`.

    Raises:
      InputError: it is damaged.
    """
    place = f"{sweep_dir.rstrip('/')}/{TRIALS_NAME}"
    content: dict[str, Any] | None = read_json(place)
    if content is None:
        return []
    points = content.get("points")
    if not isinstance(points, list) or not all(isinstance(p, dict) for p in points):
        raise InputError(f"{place} has no list of points; remove it to search anew")
    return points


def _write_points(sweep_dir: str, points: _Points) -> None:
    place = f"{sweep_dir.rstrip('/')}/{TRIALS_NAME}"
    content = json.dumps({"points": points}, indent=1).encode() + b"\n"
    stores.write_file(place, content)


def _search_of(source: ArmSource) -> Search:
    found = source.of if isinstance(source, Chain) else [source]
    searches = [part for part in found if isinstance(part, Search)]
    if len(searches) != 1:
        raise InputError(
            f"the sweep's arms have {len(searches)} searches, expected one: @definition.Search(), "
            "or @definition.Chain() of it and others; without one use `plan` and `run`"
        )
    return searches[0]


def _changes(search: Search, point: Mapping[str, Value]) -> dict[str, list[str]]:
    titles = [dimension.title for dimension in search.space]
    if sorted(titles) != sorted(point):
        raise InputError(
            f"{TRIALS_NAME} has a trial of {', '.join(point)}, the search's space is "
            f"{', '.join(titles)}: search in a new SWEEP_DIR (finished stages are kept)"
        )
    changes: dict[str, list[str]] = {}
    for dimension in search.space:
        line = f"{dimension.binding}={gin_text(point[dimension.title])}"
        changes.setdefault(dimension.stage, []).append(line)
    return changes


def _run(sweep_dir: str, workers: int) -> None:
    """Runs what is planned; trials that fail are results, too.

    Raises:
      InputError: the worker itself ended with an error.
    """
    command = [sys.executable, "-m", "opencoder_jax.sweep", "run", sweep_dir]
    status = subprocess.run([*command, f"--workers={workers}"], check=False).returncode
    if status not in (0, 1):
        raise InputError(f"`{' '.join(command[1:])}` ended with status {status}, see above")


def _check_not_all_failed(trials: Sequence[Trial], batch: int) -> None:
    """Further trials would most likely fail too: what they share is at fault."""
    last = trials[-batch:]
    if all(trial.result is not None and math.isnan(trial.result) for trial in last):
        raise InputError(
            f"the last {len(last)} trials failed: see above, and `python -m opencoder_jax.sweep "
            "status`; mended, the same command tries them again with `run --retry_failed` before it"
        )


def _print(planned: Plan, trials: Sequence[Trial]) -> None:
    metric = planned.metrics[0]
    table = Table(title=f"{len(trials)} trials, best first", title_justify="left")
    table.add_column("trial")
    for title in trials[0].point:
        table.add_column(title, justify="right")
    table.add_column(metric.title, justify="right")
    sign = 1 if metric.better == "lower" else -1

    def rank(number: int) -> tuple[bool, float]:
        result = trials[number].result
        return (True, 0.0) if result is None or math.isnan(result) else (False, sign * result)

    for number in sorted(range(len(trials)), key=rank):
        trial = trials[number]
        values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in trial.point.values()]
        failed = trial.result is None or math.isnan(trial.result)
        table.add_row(name(number), *values, "failed" if failed else f"{trial.result:.5g}")
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    names = {"outputs": "plan.outputs", "records": "plan.records", "workers": "plan.workers"}
    return configuration.main(plan, argv, flags={"sweep_dir": "SWEEP_DIR", **names})
