"""The report of a sweep as Markdown and CSV.

`report.csv` has one row a run with every figure that its stages left, `verdicts.csv` one row an
arm and metric; numbers stand there in full.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.results.comparison import ArmResult
from opencoder_jax.sweep.results.measurements import Measured
from opencoder_jax.sweep.results.tables import Table

_MARKDOWN_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_|<>[]"})


def markdown(
    measured: Measured, tables: Sequence[Table], outcome: Sequence[str], warnings: Sequence[str]
) -> str:
    """A document that stands for itself, e.g. in docs/."""
    plan = measured.plan
    runs = len(measured.runs)
    finished = sum(run.state == "finished" for run in measured.runs)
    seeds = ", ".join(map(str, plan.seeds))
    parts = [
        f"# {_plain(plan.title)}",
        f"Sweep `{plan.name}`: {len(plan.arms)} arms, seeds {seeds}, baseline "
        f"`{plan.baseline}`; {finished} of {runs} runs are finished.",
    ]
    if plan.expected:
        parts.append(f"**Expected.** {_plain(plan.expected)}")
    if outcome:
        parts.append("**Came out.**\n\n" + _list(outcome))
    if warnings:
        parts.append("**To bear in mind.**\n\n" + _list(warnings))
    for table in tables:
        parts += [f"## {_plain(table.title)}", table.lead, _rows(table)]
    return "\n\n".join(parts) + "\n"


def runs_csv(measured: Measured) -> str:
    """`report.csv`."""
    rows: list[dict[str, Any]] = []
    for run in measured.runs:
        row: dict[str, Any] = {
            "arm": run.run.arm,
            "seed": run.run.seed,
            "state": run.state,
            "same_as": run.run.same_as or "",
        }
        for name, stage in run.stages.items():
            row[f"{name}:key"] = stage.key
            row[f"{name}:state"] = stage.state
            row |= {f"{name}:{figure}": value for figure, value in stage.values.items()}
            for figure, (low, high) in stage.intervals.items():
                row |= {f"{name}:{figure}:low": low, f"{name}:{figure}:high": high}
            row[f"{name}:wall_seconds"] = stage.wall_seconds
            row[f"{name}:cpu_seconds"] = stage.cpu_seconds
            row[f"{name}:devices"] = stage.devices
        rows.append(row)
    return _csv(rows)


def verdicts_csv(by_metric: Sequence[Sequence[ArmResult]]) -> str:
    """`verdicts.csv`."""
    rows = [
        _verdict_row(result, deciding=number == 0)
        for number, results in enumerate(by_metric)
        for result in results
    ]
    return _csv(rows)


def metric_name(metric: Metric) -> str:
    """`STAGE:MEASURE[:OF]`, as the columns of `report.csv` are called."""
    return ":".join(filter(None, (metric.stage, metric.measure, metric.of)))


def _verdict_row(result: ArmResult, deciding: bool) -> dict[str, Any]:
    estimate, difference = result.estimate, result.difference
    return {
        "metric": metric_name(result.metric),
        "title": result.metric.title,
        "deciding": deciding,
        "better": result.metric.better,
        "arm": result.arm,
        "seeds": estimate.n if estimate else 0,
        "mean": estimate and estimate.mean,
        "standard_deviation": estimate and estimate.deviation,
        "standard_error": estimate and estimate.error,
        "low": estimate and estimate.low,
        "high": estimate and estimate.high,
        "difference": difference and difference.mean,
        "difference_error": difference and difference.error,
        "difference_low": difference and difference.low,
        "difference_high": difference and difference.high,
        "smallest_told": difference and difference.half_width,
        "pairing": difference.pairing if difference else "",
        "pairs": difference.n if difference else 0,
        "p": difference and difference.p,
        "p_holm": result.adjusted_p,
        "p_pooled": result.pooled_p,
        "verdict": result.verdict,
        "reason": result.reason,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value is None else value for name, value in row.items()})
    return text.getvalue()


def _rows(table: Table) -> str:
    marks = ["---:" if number in table.numbers else "---" for number in range(len(table.columns))]
    lines = [
        [_plain(column) for column in table.columns],
        marks,
        *([_plain(cell.text) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"[ \t\r\n]+", " ", text).translate(_MARKDOWN_SPECIAL)
