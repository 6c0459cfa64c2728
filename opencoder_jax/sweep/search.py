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
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.data import stores
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.sweep.definition import (
    Arms,
    ArmSource,
    Chain,
    Choice,
    Range,
    Search,
    Sweep,
    Value,
)
from opencoder_jax.sweep.plan_file import Plan, write_plan
from opencoder_jax.sweep.planning import planner
from opencoder_jax.sweep.planning.expansion import gin_text
from opencoder_jax.sweep.results.measurements import Measured, measure
from opencoder_jax.sweep.run import FAILED_EXIT_STATUS, run
from opencoder_jax.sweep.searchers import Trial

TRIALS_NAME = "trials.json"
# Points may be impossible, but hardly so many in a row.
_MOST_FAILURES = 3
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
      InputError: as `plan`, the arms have no search, another process searches in the folder, or
        trial after trial failed.
      SystemExit: 143 after a signal, as `run`.
    """
    require_at_least(1, workers=workers)
    search = _search_of(sweep.arms)
    points = read_points(sweep_dir)
    known = kept = len(points)
    warned = False
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
            if read_points(sweep_dir) != points[:kept]:
                raise InputError(
                    f"{sweep_dir}/{TRIALS_NAME} was changed meanwhile: one process searches in a "
                    "folder, others help with `python -m opencoder_jax.sweep run`"
                )
            # After the plan, so that a mistake in the space leaves no points behind it; before
            # they are run, so that a kill from here on asks for no others.
            _write_points(sweep_dir, points)
            kept = len(points)
            write_plan(planned)
            if not warned:
                warned = True
                for line in planned.warnings:
                    Console().print(f"[yellow]{escape(line)}[/yellow]", soft_wrap=True)
            _run(sweep_dir, workers)
            trials = measured_trials(measure(planned), points)
            _print(planned, trials)
            _check_not_all_failed(planned, trials, known, search)
        if len(points) >= search.trials:
            return
        count = min(search.batch, search.trials - len(points))
        better = sweep.metrics[0].better
        suggested = search.searcher.suggest(search.space, trials, count, better)
        if not suggested:
            name = type(search.searcher).__name__
            raise InputError(f"{name} suggested no points, expected {count}")
        points += [dict(point) for point in suggested]


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
    content = stores.read_file(place)
    if content is None:
        return []
    try:
        points = json.loads(content)["points"]
    except (ValueError, KeyError, TypeError):
        points = None
    if not isinstance(points, list) or not all(isinstance(p, dict) for p in points):
        raise InputError(
            f"{place} is damaged, it has no list of points; remove it to search anew (finished "
            "stages are kept)"
        )
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
        value = point[dimension.title]
        if not _holds(dimension, value):
            raise InputError(
                f"a trial has {dimension.title} = {value!r}, which is not in the search's space: "
                "search in a new SWEEP_DIR (finished stages are kept)"
            )
        changes.setdefault(dimension.stage, []).append(f"{dimension.binding}={gin_text(value)}")
    return changes


def _holds(dimension: Range | Choice, value: Value) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not dimension.integer or isinstance(value, int)
    return whole and dimension.low <= value <= dimension.high


def _run(sweep_dir: str, workers: int) -> None:
    """Runs what is planned; trials that fail are results, too.

    In this process, so that a signal reaches the worker, and the worker ends with the search.
    """
    try:
        run([sweep_dir], workers=workers)
    except SystemExit as ended:
        if ended.code != FAILED_EXIT_STATUS:
            raise


def _check_not_all_failed(
    planned: Plan, trials: Sequence[Trial], known: int, search: Search
) -> None:
    """Further trials would most likely fail too: what they share is at fault.

    Args:
      planned: their plan.
      trials: all.
      known: trials suggested before this process, which was started to go on after them.
      search: that they are of.

    Raises:
      InputError: the last ones failed, or all of them in the end.
    """
    failed = [trial.result is not None and math.isnan(trial.result) for trial in trials]
    most = max(_MOST_FAILURES, search.batch)
    last = failed[known:][-most:]
    over = len(failed) >= search.trials
    if (len(last) == most and all(last)) or (over and all(failed)):
        raise InputError(
            f"the last {len(last) or len(failed)} trials failed, or have no finite "
            f"{planned.metrics[0].title}: see above, and `python -m opencoder_jax.sweep status "
            f"{planned.folder}`; once that is mended, `run {planned.folder} --retry_failed` tries "
            "failed stages again; started again, the search goes on with other points"
        )


def _print(planned: Plan, trials: Sequence[Trial]) -> None:
    metric = planned.metrics[0]
    table = Table(title=f"{len(trials)} trials, best first", title_justify="left")
    table.add_column("trial")
    for title in trials[0].point:
        table.add_column(escape(title), justify="right")
    table.add_column(escape(metric.title), justify="right")
    sign = 1 if metric.better == "lower" else -1

    def rank(number: int) -> tuple[bool, float]:
        result = trials[number].result
        return (True, 0.0) if result is None or math.isnan(result) else (False, sign * result)

    for number in sorted(range(len(trials)), key=rank):
        trial = trials[number]
        values = [
            f"{v:.4g}" if isinstance(v, float) else escape(str(v)) for v in trial.point.values()
        ]
        failed = trial.result is None or math.isnan(trial.result)
        table.add_row(name(number), *values, "failed" if failed else f"{trial.result:.5g}")
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    names = {"outputs": "plan.outputs", "records": "plan.records", "workers": "plan.workers"}
    return configuration.main(plan, argv, flags={"sweep_dir": "SWEEP_DIR", **names})
