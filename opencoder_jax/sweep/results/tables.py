"""The tables of a sweep's report, as text with the numbers that they are sorted by.

The page and the Markdown file show the same tables; the CSV files (`csv_files`) have the values
themselves, in full. A table without rows is left out.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from opencoder_jax.report import formatting
from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.diff import differences
from opencoder_jax.sweep.results import statistics
from opencoder_jax.sweep.results.comparison import BASELINE, ArmResult, figure_by_seed
from opencoder_jax.sweep.results.measurements import (
    EVALUATE,
    TRAIN,
    Measured,
    RunFigures,
    StageFigures,
)
from opencoder_jax.sweep.results.statistics import Estimate

NOTHING = "–"
_TONES = {"better": "good", "worse": "bad"}
_MINUS = "−"


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """Text of a table; `value` sorts it, where it is a number; `tone`: good, bad or quiet."""

    text: str
    value: float | None = None
    tone: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """One table: `id` for links, a title, what is in it, columns (`numbers` of them are right
    aligned and sorted as numbers), rows of as many cells."""

    id: str
    title: str
    lead: str
    columns: Sequence[str]
    numbers: frozenset[int]
    rows: Sequence[Sequence[Cell]]


def verdict_table(results: Sequence[ArmResult], deciding: bool, number: int) -> Table:
    """One metric: every arm's mean, its difference to the baseline, the verdict."""
    metric = results[0].metric
    title = f"{metric.title}{' (decides)' if deciding else ''}"
    good = "less" if metric.better == "lower" else "more"
    rows = [
        [
            Cell(result.arm),
            estimate_cell(result.estimate, metric, result.interval),
            _number(result.estimate.n if result.estimate else 0),
            _difference(result),
            _interval(result),
            _p(result.difference.p if result.difference else None),
            _p(result.adjusted_p),
            Cell(result.words, tone=_TONES.get(result.verdict, "quiet")),
            Cell(_pairs(result), tone="quiet"),
        ]
        for result in results
    ]
    return Table(
        f"metric-{number}",
        title,
        f"Mean ± standard error over seeds; {good} is better. The difference is to the "
        "baseline, with its standard error and 95 % interval; p is of the arm alone, "
        "p (Holm) of all arms together, which decides at 0.05.",
        (
            "Arm",
            "Mean",
            "Seeds",
            "Difference",
            "95 % interval",
            "p",
            "p (Holm)",
            "Verdict",
            "Compared by",
        ),
        frozenset({1, 2, 3, 4, 5, 6}),
        rows,
    )


def overview_table(by_metric: Sequence[Sequence[ArmResult]]) -> Table:
    """Arms by metrics; a mean is coloured by its verdict."""
    rows = []
    for results in zip(*by_metric, strict=True):
        cells = [Cell(results[0].arm)]
        for result in results:
            cell = estimate_cell(result.estimate, result.metric, result.interval)
            cells.append(dataclasses.replace(cell, tone=_TONES.get(result.verdict, cell.tone)))
        rows.append([*cells, Cell(results[0].words, tone=_TONES.get(results[0].verdict, "quiet"))])
    titles = [results[0].metric.title for results in by_metric]
    return Table(
        "metric-overview",
        "Arms by metrics",
        "Mean ± standard error over seeds; green is better than the baseline and red worse, as far "
        "as can be told. The verdict is of the first metric.",
        ("Arm", *titles, "Verdict"),
        frozenset(range(1, 1 + len(titles))),
        rows,
    )


def seeds_table(measured: Measured, metrics: Sequence[Metric]) -> Table:
    """Every run with its metrics."""
    columns = ("Run", "State", *(metric.title for metric in metrics), "Same as")
    rows = [
        [
            Cell(run.run.name),
            Cell(run.state, tone="bad" if run.state == "failed" else "quiet"),
            *(_value(run.value(metric), metric) for metric in metrics),
            Cell(run.run.same_as or "", tone="quiet"),
        ]
        for run in measured.runs
    ]
    numbers = frozenset(range(2, 2 + len(metrics)))
    return Table("seeds", "Every run", "One row an arm and seed.", columns, numbers, rows)


def language_tables(measured: Measured) -> Iterator[Table]:
    """What stages measured of each language: a table for each set or benchmark of several."""
    base = measured.of_arm(measured.plan.baseline)
    others = [arm for arm in measured.plan.arms if arm != measured.plan.baseline]
    for stage, begins in _by_language(measured):
        measure, _, name = begins.partition(":")
        metric = Metric(stage, measure, name)
        figures = sorted(
            {
                figure
                for run in measured.runs
                if stage in run.stages
                for figure in run.stages[stage].values
                if figure.startswith(f"{begins}/")
            }
        )
        rows = []
        for figure in (*figures, begins):
            title = figure.removeprefix(begins).lstrip("/") or "all"
            by_base = figure_by_seed(base, stage, figure)
            cells = [
                Cell(title),
                estimate_cell(_estimate(by_base), metric),
            ]
            for arm in others:
                values = figure_by_seed(measured.of_arm(arm), stage, figure)
                cells.append(_language_cell(values, by_base, metric))
            rows.append(cells)
        yield Table(
            f"languages-{stage}-{begins}",
            f"Languages: {stage} {' of '.join(filter(None, (measure, name)))}",
            "The baseline's mean ± standard error, and by how much other arms differ from it. "
            "Single languages are not corrected for their number: of twenty, one lies two errors "
            "away by chance.",
            ("Language", measured.plan.baseline, *others),
            frozenset(range(1, 2 + len(others))),
            rows,
        )


def cost_tables(measured: Measured) -> Iterator[Table]:
    """What an arm took, a seed's mean; and each kind of stage, shared ones once."""
    rows = []
    for arm in measured.plan.arms:
        planned = measured.of_arm(arm)
        runs = [run for run in planned if run.state == "finished"]
        rows.append(
            [
                Cell(arm),
                _mean_cell(planned, "parameters", formatting.short_count),
                *(_mean_cell(runs, name, formatting.short_count) for name in _RUN_FIGURES),
                _mean([run.training_flops for run in planned], _operations),
                _mean_cell(runs, "mfu", formatting.percent),
                *(_sum_cell(runs, name, shown) for name, shown in _TIMES),
            ]
        )
    yield Table(
        "costs",
        "What an arm took",
        "Means over its runs that are finished so far, all stages of a run together, those that "
        "it shares with others too; parameters and FLOPs are the plan's. Tokens are target tokens "
        "of all phases.",
        (
            "Arm",
            "Parameters",
            "Tokens",
            "Tokens/s",
            "FLOPs",
            "MFU",
            "Wall time",
            "Processor time",
            "Device-hours",
        ),
        frozenset(range(1, 9)),
        rows,
    )
    yield _stages_table(measured)


def changes_table(measured: Measured) -> Table:
    """What each arm's configuration has otherwise than the baseline's, with the first seed."""
    plan = measured.plan
    base = plan.run(plan.baseline, plan.seeds[0])
    rows = []
    for arm in plan.arms:
        if arm == plan.baseline:
            continue
        for found in differences(plan, base, plan.run(arm, plan.seeds[0])):
            # A stage that only one of them has is told whole, without a setting.
            if not found.incidental:
                values = (Cell(found.one or NOTHING), Cell(found.other or NOTHING))
                rows.append([Cell(arm), Cell(found.stage), Cell(found.setting), *values])
    return Table(
        "changes",
        "What each arm changes",
        "Operative settings that are not the baseline's; stages that only read what a changed one "
        "made are not listed.",
        ("Arm", "Stage", "Setting", "Baseline", "Arm's"),
        frozenset(),
        rows,
    )


def data_tables(measured: Measured) -> Iterator[Table]:
    """What stages that make data were given and made: a table for each name of a stage."""
    users: dict[str, list[str]] = {}
    for run in measured.runs:
        for key in run.run.stages.values():
            users.setdefault(key, []).append(run.run.arm)
    by_name: dict[str, list[str]] = {}
    for key, stage in measured.plan.stages.items():
        if stage.command not in (TRAIN, EVALUATE) and measured.stages[key].values:
            by_name.setdefault(stage.stage, []).append(key)
    for name, keys in by_name.items():
        figures = list(dict.fromkeys(f for key in keys for f in measured.stages[key].values))
        rows = []
        for key in keys:
            arms = list(dict.fromkeys(users.get(key, ())))
            told = "all" if len(arms) == len(measured.plan.arms) else ", ".join(arms)
            rows.append([Cell(told), *(_count(measured.stages[key], f) for f in figures)])
        yield Table(
            f"data-{name}",
            f"Data of {name}",
            "One row a folder: what went in, what was kept.",
            ("Arms", *(figure.replace(":", ", ") for figure in figures)),
            frozenset(range(1, 1 + len(figures))),
            rows,
        )


def estimate_cell(
    estimate: Estimate | None, metric: Metric, interval: tuple[float, float] | None = None
) -> Cell:
    if estimate is None:
        return Cell(NOTHING, tone="quiet")
    text = shown(estimate.mean, metric)
    if estimate.error is not None:
        text += f" ± {shown(estimate.error, metric)}"
    elif interval is not None:
        text += f" ({shown(interval[0], metric)} to {shown(interval[1], metric)})"
    return Cell(text, estimate.mean)


def shown(value: float, metric: Metric, *, sign: bool = False) -> str:
    """A metric's value: rates in per cent, losses and bits with four decimals."""
    text = f"{100 * abs(value):.1f} %" if metric.of_problems else f"{abs(value):.4f}"
    return (_MINUS if value < 0 else "+" if sign else "") + text


def outcomes(results: Sequence[ArmResult]) -> list[str]:
    """A sentence an arm, by the metric that decides."""
    return [_outcome(result) for result in results if result.verdict != BASELINE]


def _outcome(result: ArmResult) -> str:
    text, difference, metric = f"{result.arm}: {result.words}", result.difference, result.metric
    if result.like:
        text += f", the same runs as {result.like}"
    if difference is None:
        return text
    text += f"; {shown(difference.mean, metric, sign=True)}"
    if difference.low is not None and difference.high is not None:
        low, high = (shown(v, metric, sign=True) for v in (difference.low, difference.high))
        text += f" ({low} to {high})"
    if result.verdict == "cannot tell" and difference.half_width is not None:
        text += f"; less than {shown(difference.half_width, metric)} could not have been told"
    return text


_OF_LANGUAGES = ("bits_per_byte:", "heldout_bits_per_byte/", "pass@")
_RUN_FIGURES = ("tokens", "tokens_per_second")
_HOURS = 3600.0


def _operations(flops: float) -> str:
    return f"{flops:.3g}"


def _hours(seconds: float) -> str:
    return f"{seconds / _HOURS:.3g}"


_TIMES = (
    ("wall_seconds", formatting.duration),
    ("cpu_seconds", formatting.duration),
    ("device_seconds", _hours),
)


def _stages_table(measured: Measured) -> Table:
    by_name: dict[str, list[str]] = {}
    for key, stage in measured.plan.stages.items():
        by_name.setdefault(stage.stage, []).append(key)
    rows = [_stages_row(name, measured, keys) for name, keys in by_name.items()]
    rows.append(_stages_row("all", measured, list(measured.stages)))
    return Table(
        "stage-costs",
        "What the sweep took",
        "By stage; what several runs share is counted once.",
        ("Stage", "Folders", "Finished", "Wall time", "Processor time", "Device-hours"),
        frozenset(range(1, 6)),
        rows,
    )


def _stages_row(name: str, measured: Measured, keys: Sequence[str]) -> list[Cell]:
    stages = [measured.stages[key] for key in keys]
    cells = [Cell(name), _number(len(stages))]
    cells.append(_number(sum(stage.state == "finished" for stage in stages)))
    for attribute, text in _TIMES:
        found = [v for stage in stages if (v := getattr(stage, attribute)) is not None]
        total = math.fsum(found)
        cells.append(Cell(text(total), total) if found else Cell(NOTHING, tone="quiet"))
    return cells


def _mean_cell(runs: Iterable[RunFigures], figure: str, text: Callable[[float], str]) -> Cell:
    return _mean([run.last(figure) for run in runs], text)


def _sum_cell(runs: Iterable[RunFigures], attribute: str, text: Callable[[float], str]) -> Cell:
    return _mean([run.sum(attribute) for run in runs], text)


def _mean(values: Sequence[float | None], text: Callable[[float], str]) -> Cell:
    found = [value for value in values if value is not None]
    if not found:
        return Cell(NOTHING, tone="quiet")
    mean = math.fsum(found) / len(found)
    return Cell(text(mean), mean)


def _count(stage: StageFigures, figure: str) -> Cell:
    value = stage.values.get(figure)
    if value is None:
        return Cell(NOTHING, tone="quiet")
    whole = value == round(value)
    return Cell(formatting.count(value) if whole else formatting.fixed(value, 4), value)


def _language_cell(values: Mapping[int, float], base: Mapping[int, float], metric: Metric) -> Cell:
    if not values or not base:
        return Cell(NOTHING, tone="quiet")
    difference = statistics.seed_difference(values, base)
    text = shown(difference.mean, metric, sign=True)
    if difference.error is not None:
        text += f" ± {shown(difference.error, metric)}"
    return Cell(text, difference.mean)


def _estimate(values: Mapping[int, float]) -> Estimate | None:
    return statistics.estimate(list(values.values())) if values else None


def _by_language(measured: Measured) -> list[tuple[str, str]]:
    """(stage, figure) of all that was measured of languages too.

    Bits per byte of a training's held-out side only where no stage evaluated them.
    """
    found = dict.fromkeys(
        (stage.stage, figure.partition("/")[0])
        for stage in measured.stages.values()
        for figure in stage.values
        if "/" in figure and figure.startswith(_OF_LANGUAGES)
    )
    evaluated = any(figure.startswith("bits_per_byte") for _, figure in found)
    return [pair for pair in found if not (evaluated and pair[1].startswith("heldout_"))]


def _difference(result: ArmResult) -> Cell:
    difference = result.difference
    if difference is None:
        return Cell("", tone="quiet")
    text = shown(difference.mean, result.metric, sign=True)
    if difference.error is not None:
        text += f" ± {shown(difference.error, result.metric)}"
    return Cell(text, difference.mean)


def _interval(result: ArmResult) -> Cell:
    difference = result.difference
    if difference is None or difference.low is None or difference.high is None:
        return Cell("", tone="quiet")
    low, high = (shown(v, result.metric, sign=True) for v in (difference.low, difference.high))
    return Cell(f"{low} to {high}", difference.mean)


def _pairs(result: ArmResult) -> str:
    difference = result.difference
    if difference is None:
        return ""
    if difference.pairing == "paired":
        shared = {True: ", same batches", False: ", own data", None: ""}[result.order_shared]
        return f"{difference.n} pairs of seeds{shared}"
    return {
        "unpaired": "Welch, different seeds",
        "problems": f"{difference.n} problems",
        "none": "one value each",
    }[difference.pairing]


def _p(p: float | None) -> Cell:
    if p is None:
        return Cell("", tone="quiet")
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", p)


def _number(value: int) -> Cell:
    return Cell(formatting.count(value), value)


def _value(value: float | None, metric: Metric) -> Cell:
    return Cell(NOTHING, tone="quiet") if value is None else Cell(shown(value, metric), value)
