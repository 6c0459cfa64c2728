"""A plan in the terminal: what each arm adds to those before it, and what it shares."""

import collections

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencoder_jax.sweep.plan_file import Plan
from opencoder_jax.sweep.planning.planner import finished


def print_plan(plan: Plan, console: Console) -> None:
    """The table of arms and stages, sums, and what was found odd."""
    done = finished(plan)
    console.print(f"[bold]{escape(plan.name)}[/bold]: {escape(plan.title)}", soft_wrap=True)
    console.print(_table(plan, done))
    runs = [run for run in plan.runs if run.same_as is None]
    users = collections.Counter(key for run in runs for key in set(run.stages.values()))
    duplicates = len(plan.runs) - len(runs)
    console.print(
        f"{len(plan.arms)} arms × {len(plan.seeds)} seeds: {len(plan.runs)} runs"
        + (f", {duplicates} of them the same as others" if duplicates else "")
        + f"; {len(plan.stages)} stages to do, where each run by itself would take "
        f"{sum(len(run.stages) for run in plan.runs)}; "
        f"{sum(count > 1 for count in users.values())} are shared by several runs; "
        f"{len(done)} are finished",
        soft_wrap=True,
    )
    for warning in plan.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]", soft_wrap=True)


def _table(plan: Plan, done: set[str]) -> Table:
    """A row for each arm. A stage is to be done by the first arm that needs it."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("arm", overflow="fold", ratio=1)
    table.add_column("its own stages", ratio=2)
    table.add_column("shared with arms above", ratio=2)
    first: dict[str, str] = {}
    for arm in plan.arms:
        runs = [run for run in plan.runs if run.arm == arm]
        if runs[0].same_as:
            table.add_row(escape(arm), "", f"all of {escape(runs[0].same_as)}")
            continue
        own: list[str] = []
        shared: dict[str, list[str]] = collections.defaultdict(list)
        for name in runs[0].stages:
            keys = list(dict.fromkeys(run.stages[name] for run in runs))
            called = plan.stages[keys[0]].stage
            shown = escape(name if name == called else f"{name} (= {called})")
            other = first.get(keys[0], arm)
            if other != arm:
                shared[other].append(shown)
            elif name == called:
                own.append(_own(name, keys, done))
            else:
                own.append(shown)
            for key in keys:
                first.setdefault(key, arm)
        if len(shared) == 1 and arm != plan.baseline:
            # A change late in a long pipeline: the list would be the same for most arms.
            [other] = shared
            if set(runs[0].stages) <= set(plan.run(other, plan.seeds[0]).stages):
                shared[other] = ["all else"]
        told = "; ".join(f"{escape(other)}: {', '.join(n)}" for other, n in shared.items())
        table.add_row(escape(arm), ", ".join(own), told)
    return table


def _own(name: str, keys: list[str], done: set[str]) -> str:
    """A stage with the number of its folders, one a seed or one for all."""
    shown = escape(name) + (f" × {len(keys)}" if len(keys) > 1 else "")
    count = sum(key in done for key in keys)
    if count == len(keys):
        return f"[green]{shown} (done)[/green]"
    return f"[bold]{shown}[/bold]" + (f" ({count} done)" if count else "")
