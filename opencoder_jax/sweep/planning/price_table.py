"""`pricing.Priced` as text: a line for each training stage of an arm, sums, what is not known."""

import math
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from opencoder_jax.precompilation.chips import GIB
from opencoder_jax.sweep.plan_file import TRAIN
from opencoder_jax.sweep.planning.pricing import Priced, StagePrice, Wanted

_UNKNOWN = "-"
_MEMORY, _LEAST = "GiB/device", "chip-h at least"


def price_table(priced: Priced) -> str:
    """The table, sums and notes; empty where the plan trains nothing."""
    if not priced.stages:
        return ""
    columns = _columns(priced.wanted)
    table = Table(box=None, pad_edge=False)
    for title in columns:
        words = title in ("arm", "stage", "fits")
        table.add_column(title, justify="left" if words else "right", no_wrap=title != "arm")
    for row in _rows(priced):
        table.add_row(*(row.get(title, "") for title in columns))
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join([*lines, "", *_sums(priced), *_notes(priced)]) + "\n"


def _columns(wanted: Wanted) -> list[str]:
    """Those that can have figures."""
    columns = ["arm", "stage", "parameters", "tokens", "FLOPs"]
    columns += ["chips", _MEMORY, "fits", _LEAST] if wanted.kind else ["devices"]
    if wanted.kind:
        columns.append(_at(wanted))
    if wanted.kind or wanted.tokens_per_second:
        columns.append("hours")
    return [*columns, "cost"] if wanted.kind and wanted.price else columns


def _at(wanted: Wanted) -> str:
    speed = wanted.tokens_per_second
    return f"chip-h at {f'{speed:,g} tokens/s' if speed else f'MFU {wanted.mfu:g}'}"


def _rows(priced: Priced) -> Iterator[dict[str, str]]:
    """One for each arm and training stage, of the arm's first seed: column to text."""
    shown: dict[str, str] = {}
    for arm in priced.plan.arms:
        run = next(run for run in priced.plan.runs if run.arm == arm)
        for stage, key in run.stages.items():
            if key not in priced.stages:
                continue
            row = {"arm": arm, "stage": stage}
            yield row | ({"parameters": f"as {shown[key]}"} if key in shown else _row(priced, key))
            shown.setdefault(key, arm)


def _row(priced: Priced, key: str) -> dict[str, str]:
    facts, stage = priced.plan.stages[key].facts, priced.stages[key]
    least = "" if stage.compiled or stage.fits == "no" else ">="
    hours, price = stage.chip_hours, priced.wanted.price
    number = "any" if stage.chips is None else f"{stage.chips:,}"
    return {
        "parameters": f"{facts['parameters']:,}",
        "tokens": f"{facts['tokens']:.4g}",
        "FLOPs": f"{facts['flops']:.3g}",
        **dict.fromkeys(("chips", "devices"), number),
        _MEMORY: f"{least}{stage.memory / GIB:,.2f}",
        "fits": {"no": "NO", "unknown": _UNKNOWN}.get(stage.fits, stage.fits),
        _LEAST: _number(stage.least_chip_hours),
        _at(priced.wanted): _number(hours),
        "hours": _number(stage.hours),
        "cost": _number(price * hours if price and hours else None),
    }


def _sums(priced: Priced) -> Iterator[str]:
    """Each stage once, and what that saves."""
    stages, plan = priced.stages, priced.plan
    runs = [run for run in plan.runs if any(key in stages for key in run.stages.values())]
    yield (
        f"{len(stages)} training stage(s) of {len(runs)} run(s), each once: "
        + _described(priced, dict.fromkeys(stages, 1))
    )
    times = {key: len(plan.users(key)) for key in stages}
    if any(number > 1 for number in times.values()):
        yield f"  if every run did all of its own: {_described(priced, times)}"


def _described(priced: Priced, times: Mapping[str, int]) -> str:
    """Sums over stages, each so many times."""
    wanted = priced.wanted
    facts = {key: priced.plan.stages[key].facts for key in times}
    parts = [
        f"{math.fsum(number * facts[key][name] for key, number in times.items()):.4g} {title}"
        for name, title in (("tokens", "tokens"), ("flops", "FLOPs"))
    ]
    chip_hours = _sum(priced.stages, times, "chip_hours")
    hours = _sum(priced.stages, times, "hours")
    if chip_hours is not None:
        parts.append(f"{_number(chip_hours)} chip-hours")
        if wanted.price:
            parts.append(f"cost {_number(wanted.price * chip_hours)}")
    elif hours is not None:
        parts.append(f"{_number(hours)} hours, one run at a time")
    figure = "hours" if chip_hours is None else "chip_hours"
    unpriced = sum(getattr(stage, figure) is None for stage in priced.stages.values())
    if unpriced and (wanted.kind or wanted.tokens_per_second):
        parts.append(f"{unpriced} stage(s) without {figure.replace('_', '-')} not counted")
    return ", ".join(parts)


def _sum(stages: Mapping[str, StagePrice], times: Mapping[str, int], figure: str) -> float | None:
    """Of those that have the figure; None where none has."""
    values = [
        number * value
        for key, number in times.items()
        if (value := getattr(stages[key], figure)) is not None
    ]
    return math.fsum(values) if values else None


def _notes(priced: Priced) -> Iterator[str]:
    wanted, plan = priced.wanted, priced.plan
    facts = [plan.stages[key].facts for key in priced.stages]
    if len(plan.seeds) > 1:
        yield f"a line is of seed {plan.seeds[0]}; sums are of all {len(plan.seeds)} seeds"
    if wanted.kind is None:
        yield "no memory, chip-hours or cost: give --topology=v5e-256 or --chip=v5e"
    elif not wanted.topology:
        yield (
            "GiB/device: parameters, optimizer state and gradients; what a step needs beside them "
            "(activations), --topology compiles to know"
        )
    else:
        yield (
            "chip-h at least: at the chip's published limits, everything overlapped; no run "
            "reaches them"
        )
    checked_alone = {fact["program"] for fact in facts if not fact["lowered"]}
    if checked_alone and not wanted.topology:
        yield (
            f"{len(checked_alone)} program(s) were not lowered, their mesh, batch and model sizes "
            "were checked alone; --topology compiles all"
        )
    others = dict.fromkeys(s.stage for s in plan.stages.values() if s.command != TRAIN)
    if others:
        yield f"without figures: {', '.join(others)}"


def _number(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
