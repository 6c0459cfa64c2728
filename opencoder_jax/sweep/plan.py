"""The action `plan`: checks a sweep, shows it, writes `plan.json`.

    python -m opencoder_jax.sweep plan --gin_file=sweeps/miniature/dedup_level.gin \
      --gin.SWEEP_DIR=runs/sweeps/dedup_level
"""

import collections
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.sweep import planning
from opencoder_jax.sweep.definition import Sweep
from opencoder_jax.sweep.plan_file import PLAN_NAME, Plan, write_plan

_ALL_ARMS = "all arms"


def plan(
    sweep: Sweep,
    sweep_dir: str,
    outputs: str = "../stages",
    records: str = "../work",
    dry_run: bool = False,
) -> None:
    """Says what a sweep would do, and writes it down for `run`.

    Args:
      sweep: what to plan.
      sweep_dir: folder that gets `plan.json`, here or in a store.
      outputs: where stages write: relative to `sweep_dir`, absolute, or a url. Sweeps with the
        same place share what they have in common.
      records: where leases, logs and what is done are kept.
      dry_run: write nothing.

    Raises:
      InputError: with every mistake of every arm.
    """
    # Workers may start elsewhere.
    paths = [str(Path(path).absolute()) for path in configuration.search_paths()]
    planned = planning.make_plan(
        sweep, sweep_dir, outputs=outputs, records=records, search_paths=paths
    )
    console = Console()
    print_plan(planned, console)
    if dry_run:
        console.print("a dry run: nothing was written")
    else:
        console.print(f"plan: {escape(write_plan(planned))}", soft_wrap=True)


def print_plan(planned: Plan, console: Console) -> None:
    """The table of arms and stages, and what was found odd."""
    done = planning.finished(planned)
    console.print(f"[bold]{escape(planned.name)}[/bold]: {escape(planned.title)}", soft_wrap=True)
    console.print(_table(planned, done))
    runs = [run for run in planned.runs if run.same_as is None]
    users = collections.Counter(key for run in runs for key in run.stages.values())
    shared = sum(count > 1 for count in users.values())
    duplicates = len(planned.runs) - len(runs)
    console.print(
        f"{len(planned.arms)} arms × {len(planned.seeds)} seeds: {len(planned.runs)} runs"
        + (f", {duplicates} of them the same as others" if duplicates else "")
        + f"; {len(planned.stages)} stages to do, where each run by itself would take "
        f"{sum(len(run.stages) for run in planned.runs)}; {shared} are shared by several runs; "
        f"{len(done)} are finished",
        soft_wrap=True,
    )
    for warning in planned.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]", soft_wrap=True)


def _table(planned: Plan, done: set[str]) -> Table:
    """A row for each arm; a stage is shown where it is first needed."""
    names = list(dict.fromkeys(name for run in planned.runs for name in run.stages))
    # Columns in the order of need, over all arms.
    order = {stage.stage: rank for rank, stage in enumerate(planned.stages.values())}
    names.sort(key=lambda name: order.get(name, -1))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("arm")
    for name in names:
        table.add_column(name, justify="right")
    first: dict[str, str] = {}
    for arm in planned.arms:
        runs = [run for run in planned.runs if run.arm == arm]
        cells = []
        for name in names:
            keys = {run.stages[name]: None for run in runs if name in run.stages}
            before = {first[key]: None for key in keys if key in first}
            for key in keys:
                first.setdefault(key, arm if planned.stages[key].stage == name else f"{key}")
            cells.append(_cell(arm, list(keys), list(before), done, planned, name))
        if runs[0].same_as:
            cells = [f"[dim]{cell}[/dim]" for cell in cells]
        table.add_row(escape(arm), *cells)
    return table


def _cell(
    arm: str, keys: Sequence[str], before: Sequence[str], done: set[str], planned: Plan, name: str
) -> str:
    if not keys:
        return "–"
    other = planned.stages[keys[0]].stage
    if other != name:
        return f"= {escape(other)}"
    if before:
        return "= " + escape(", ".join(before))
    finished = sum(key in done for key in keys)
    times = f" × {len(keys)}" if len(keys) > 1 else ""
    if finished == len(keys):
        return f"[green]done{times}[/green]"
    return f"[bold]new{times}[/bold]" + (f", {finished} done" if finished else "")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    flags = {
        "sweep_dir": "SWEEP_DIR",
        "outputs": "plan.outputs",
        "records": "plan.records",
    }
    return configuration.main(
        plan, argv, flags=flags, dry_run="dry_run", notes=f"Writes SWEEP_DIR/{PLAN_NAME}."
    )
