"""Writes the report of a sweep: what each arm came to, how sure that is, what it took.

    python -m opencoder_jax.sweep report runs/sweeps/dedup_level

Reads the plan and what its stages have left, at any time, also while the sweep runs; writes
`report.html`, `report.md`, `report.csv` and `verdicts.csv`. docs/sweeps.md has the formulas.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as TerminalTable
from rich.text import Text

from opencoder_jax import configuration
from opencoder_jax.data import stores
from opencoder_jax.errors import InputError
from opencoder_jax.report import page_file
from opencoder_jax.report.sweep_page import render_sweep
from opencoder_jax.sweep.plan_file import read_plan
from opencoder_jax.sweep.results import power_law, tables
from opencoder_jax.sweep.results.comparison import SAME, ArmResult, compare, trains
from opencoder_jax.sweep.results.measurements import Measured, measure
from opencoder_jax.sweep.results.report_files import markdown, runs_csv, verdicts_csv

# Of the page's columns; a terminal is narrow.
_PRINTED = ("Arm", "Mean", "Difference", "p (Holm)", "Verdict")
# Arms whose tokens differ by more than this share are told.
_TOKENS_APART = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    return configuration.main(report, argv, flags={"output": "report.output"}, words="sweep_dirs")


def report(sweep_dirs: Sequence[str] = (), output: str | None = None) -> Path:
    """Writes the report of a sweep, at any time.

    Args:
      sweep_dirs: one folder, with the sweep's plan.
      output: folder to write to; None: the sweep's own.

    Returns:
      The page's path.

    Raises:
      InputError: no folder or several, or as `write_report`.
    """
    if len(sweep_dirs) != 1:
        given = " ".join(sweep_dirs) or "nothing"
        raise InputError(f"report takes the folder of one sweep, was given {given}")
    return write_report(sweep_dirs[0], output)


def write_report(sweep_dir: str, output: str | None = None) -> Path:
    """Writes the report's files and prints the table of the metric that decides.

    Args:
      sweep_dir: the folder with the sweep's plan.
      output: folder to write to; None: `sweep_dir`. Files of an earlier report are replaced.

    Returns:
      The page's path.

    Raises:
      InputError: there is no plan, a file of a stage is damaged, or the sweep's folder is in a
        store and `output` is None.
    """
    if output is None and stores.is_remote(sweep_dir):
        raise InputError(f"{sweep_dir} is in a store: say where to write, --output=FOLDER")
    folder = Path(output or sweep_dir)
    measured = measure(read_plan(sweep_dir))
    by_metric = [compare(measured, metric) for metric in measured.plan.metrics]
    shown = all_tables(measured, by_metric)
    outcome = [*tables.outcomes(by_metric[0]), *_scaling(measured, by_metric[0])]
    warnings = list(warnings_of(measured, by_metric))
    page_file.write(folder / "report.csv", runs_csv(measured))
    page_file.write(folder / "verdicts.csv", verdicts_csv(by_metric))
    page_file.write(folder / "report.md", markdown(measured, shown, outcome, warnings))
    page = folder / "report.html"
    page_file.write(page, render_sweep(measured, by_metric, shown, outcome, warnings))
    _print(measured, shown[0], warnings)
    print(f"report: {page}")
    return page


def _scaling(measured: Measured, results: Sequence[ArmResult]) -> list[str]:
    """What the metric does with compute, where arms are of several sizes."""
    points = power_law.by_compute(measured, results)
    law = power_law.fit([c for _, c, _ in points], [v for *_, v in points]) if points else None
    if law is None or results[0].metric.better != "lower":
        return []
    return [f"{results[0].metric.title} by the FLOPs of training: {law}"]


def all_tables(measured: Measured, by_metric: Sequence[Sequence[ArmResult]]) -> list[tables.Table]:
    """Every table of the report, the one of the deciding metric first."""
    overview = [tables.overview_table(by_metric)] if len(by_metric) > 1 else []
    found = [
        *(
            tables.verdict_table(results, deciding=number == 0, number=number)
            for number, results in enumerate(by_metric)
        ),
        *overview,
        tables.seeds_table(measured, measured.plan.metrics),
        *tables.language_tables(measured),
        tables.changes_table(measured),
        *tables.cost_tables(measured),
        *tables.data_tables(measured),
    ]
    return [table for table in found if table.rows]


def warnings_of(measured: Measured, by_metric: Sequence[Sequence[ArmResult]]) -> Iterator[str]:
    """What a reader should know before believing the table."""
    plan = measured.plan
    yield from plan.warnings
    for state in ("failed", "unfinished"):
        names = [run.run.name for run in measured.runs if run.state == state]
        if names:
            yield f"{state}: {len(names)} of {len(measured.runs)} runs ({_some(names)})"
    for metric in plan.metrics:
        names = [
            run.run.name
            for run in measured.runs
            if run.state == "finished" and run.value(metric) is None
        ]
        if names:
            yield f"{metric.title}: finished, and without this figure: {_some(names)}"
    if len(plan.seeds) == 1:
        yield "one seed: what training varies by from seed to seed is not known"
    elif any(r.estimate and r.estimate.n < len(plan.seeds) for r in by_metric[0]):
        names = [r.arm for r in by_metric[0] if r.estimate and r.estimate.n < len(plan.seeds)]
        yield f"fewer than {len(plan.seeds)} values of their own: {_some(names)}"
    for name in trains(measured):
        keys = {run.run.stages.get(name) for run in measured.of_arm(plan.baseline)}
        if len(plan.seeds) > 1 and len(keys) == 1 and None not in keys:
            yield f"all seeds share {name}: their spread is that of later stages alone"
    versions = sorted({s.code_version for s in measured.stages.values() if s.code_version})
    if len(versions) > 1:
        yield f"stages were made by different versions of the code: {', '.join(versions)}"
    yield from _token_warnings(measured)
    yield from _twin_warnings(measured, by_metric[0])
    skipped = {
        run.run.name: run.last("skipped_steps")
        for run in measured.runs
        if run.last("skipped_steps")
    }
    if skipped:
        told = [f"{name}: {count:.0f}" for name, count in skipped.items()]
        yield f"steps that were skipped as spikes, in the last training stage: {_some(told)}"


def _token_warnings(measured: Measured) -> Iterator[str]:
    means = {}
    for arm in measured.plan.arms:
        found = [
            t
            for run in measured.of_arm(arm)
            if run.state == "finished" and (t := run.last("tokens"))
        ]
        if found:
            means[arm] = math.fsum(found) / len(found)
    base = means.get(measured.plan.baseline)
    if base:
        apart = [
            f"{arm} {100 * (mean / base - 1):+.1f} %"
            for arm, mean in means.items()
            if abs(mean / base - 1) > _TOKENS_APART
        ]
        if apart:
            yield f"trained on other numbers of tokens than the baseline: {_some(apart)}"


def _twin_warnings(measured: Measured, results: Sequence[ArmResult]) -> Iterator[str]:
    """Arms of other settings that came to the same data and the same numbers, e.g. a filter that
    finds nothing to drop."""
    own = [result for result in results if result.by_seed and not result.like]
    batches = {
        result.arm: {
            run.run.seed: [stage.data for stage in run.stages.values() if stage.data]
            for run in measured.of_arm(result.arm)
        }
        for result in own
    }
    for number, one in enumerate(own):
        twins = [
            other.arm
            for other in own[number + 1 :]
            if other.by_seed == one.by_seed
            and other.verdict != SAME
            and all(batches[one.arm][s] == batches[other.arm][s] != [] for s in one.by_seed)
        ]
        if twins:
            arms = " and ".join([one.arm, *twins])
            yield f"{arms} differ in settings, yet trained on the very same data: one result"


def _some(names: Sequence[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _print(measured: Measured, table: tables.Table, warnings: Sequence[str]) -> None:
    plan = measured.plan
    console = Console()
    styles = {"good": "green", "bad": "red", "quiet": "dim", "": ""}
    drawn = TerminalTable(title=escape(table.title), title_justify="left", box=None)
    shown = [table.columns.index(name) for name in _PRINTED]
    for number in shown:
        right = number in table.numbers
        drawn.add_column(
            table.columns[number], justify="right" if right else "left", overflow="fold"
        )
    for row in table.rows:
        cells = [row[number] for number in shown]
        drawn.add_row(*(Text(cell.text, style=styles[cell.tone]) for cell in cells))
    console.print(Text(plan.title, style="bold"))
    console.print(drawn)
    if plan.expected:
        console.print(f"expected: {escape(plan.expected)}")
    for warning in warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}")
