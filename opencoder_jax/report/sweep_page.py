"""Lays a sweep's report out as one HTML file that needs no network.

The tables are those of the Markdown file; charts show the differences and the training curves.
Names of arms, settings and logs are escaped wherever they stand.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from opencoder_jax.report import formatting, sweep_charts
from opencoder_jax.report.charts import Figure
from opencoder_jax.report.environment import template
from opencoder_jax.report.formatting import json_for_script
from opencoder_jax.report.page import Card
from opencoder_jax.sweep.results.comparison import ArmResult, trains
from opencoder_jax.sweep.results.measurements import Measured
from opencoder_jax.sweep.results.tables import Table

_FOLDER = Path(__file__).parent
# In the page's order: id, title, tables whose ids begin so.
_SECTIONS = (
    ("verdicts", "Verdicts", ("metric-",)),
    ("scaling", "Compute", ()),
    ("curves", "Curves", ()),
    ("runs", "Runs", ("seeds",)),
    ("languages", "Languages", ("languages-",)),
    ("settings", "Settings", ("changes",)),
    ("cost", "Cost", ("costs", "stage-costs")),
    ("made", "Data", ("data",)),
)
# Those that stand before a section's tables: what their ids begin with.
_CHARTS = {"scaling": "scaling-", "curves": "curve-"}


def render_sweep(
    measured: Measured,
    by_metric: Sequence[Sequence[ArmResult]],
    tables: Sequence[Table],
    outcome: Sequence[str],
    warnings: Sequence[str],
) -> str:
    """The page as HTML.

    Args:
      measured: the sweep.
      by_metric: every arm by every metric, in the order of the plan's metrics.
      tables: in order.
      outcome: what came out, a sentence an arm.
      warnings: what to bear in mind.
    """
    figures, captions = _figures(measured, by_metric)
    sections = []
    for id_, title, beginnings in _SECTIONS:
        own = [table for table in tables if table.id.startswith(beginnings)] if beginnings else []
        charts = [n for n in figures if n.startswith(_CHARTS[id_])] if id_ in _CHARTS else []
        if own or charts:
            sections.append({"id": id_, "title": title, "tables": own, "charts": charts})
    look = sweep_charts.colours(measured.plan.arms)
    curves = [figure for name, figure in figures.items() if name.startswith("curve-")]
    drawn = {line["meta"] for figure in curves for line in figure["data"]}
    return template("sweep_page.html.j2").render(
        plan=measured.plan,
        cards=list(_cards(measured)),
        sections=sections,
        outcome=outcome,
        warnings=warnings,
        failures=[stage for stage in measured.stages.values() if stage.state == "failed"],
        arms=[
            {"name": arm, "colour": colour, "dash": dash}
            for arm, (colour, dash) in look.items()
            if arm in drawn
        ],
        captions=captions,
        figures=json_for_script(figures),
        style="".join((_FOLDER / n).read_text() for n in ("style.css", "sweep_page.css")),
        script="".join((_FOLDER / n).read_text() for n in ("charts.js", "sweep_page.js")),
        plotly=get_plotlyjs(),
    )


def _cards(measured: Measured) -> Iterator[Card]:
    plan, runs = measured.plan, measured.runs
    finished = sum(run.state == "finished" for run in runs)
    yield Card(
        "Runs finished",
        f"{finished} of {len(runs)}",
        f"{len(plan.arms)} arms, {len(plan.seeds)} seed{'s' if len(plan.seeds) != 1 else ''}",
    )
    stages = measured.stages.values()
    done = sum(stage.state == "finished" for stage in stages)
    yield Card(
        "Stages finished",
        f"{done} of {len(measured.stages)}",
        f"instead of {sum(len(run.stages) for run in runs)} without sharing",
    )
    wall = math.fsum(stage.wall_seconds or 0.0 for stage in stages)
    yield Card("Wall time", formatting.duration(wall), "of all stages, one after the other")
    devices = math.fsum(stage.device_seconds or 0.0 for stage in stages)
    if devices:
        yield Card("Device-hours", f"{devices / 3600:.3g}", "training and evaluation")


def _figures(
    measured: Measured, by_metric: Sequence[Sequence[ArmResult]]
) -> tuple[dict[str, Figure], dict[str, str]]:
    """Element id to figure, and to what is said below it."""
    figures: dict[str, Figure | None] = {}
    captions: dict[str, str] = {}
    for number, results in enumerate(by_metric):
        baseline = next(r for r in results if r.arm == measured.plan.baseline)
        name = f"differences-{number}"
        figures[name] = sweep_charts.differences(results, baseline)
        captions[name] = (
            "Mean difference to the baseline with its 95\u202f% interval; small dots: single seeds."
        )
        name = f"scaling-{number}"
        figures[name] = sweep_charts.scaling(measured, results)
        captions[name] = (
            f"{results[0].metric.title}: a dot each run; dashed: floor and power law, where "
            "there are sizes enough."
        )
    for stage in trains(measured):
        for heldout in (False, True):
            name = f"curve-{'heldout' if heldout else 'train'}-{stage}"
            figures[name] = sweep_charts.curves(measured, stage, heldout=heldout)
            captions[name] = (
                f"Held-out loss of {stage}. Thin: each seed; strong: their mean."
                if heldout
                else f"Training loss of {stage}, mean of the last fiftieth. Thin: each seed; "
                "strong: their mean. The first steps may lie above the picture."
            )
    kept = {name: figure for name, figure in figures.items() if figure is not None}
    return kept, {name: captions[name] for name in kept}
