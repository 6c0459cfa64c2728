"""The figures of the report as Plotly's JSON: plain dicts, no drawing here.

Colours are CSS variables (`var(--series-1)`); `charts.js` replaces them with the values
of the page's light or dark scheme when it draws. Text that comes from data is escaped,
since Plotly reads a little HTML in labels. Next: `page` puts the figures into the page.
"""

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from opencoder_jax.report.formatting import duration
from opencoder_jax.report.training_runs import Phase

Figure = dict[str, Any]

SERIES = tuple(f"var(--series-{i})" for i in range(1, 7))
AXIS: dict[str, Any] = {
    "gridcolor": "var(--grid)",
    "linecolor": "var(--line)",
    "zeroline": False,
    "tickcolor": "var(--line)",
    "automargin": True,
    "fixedrange": True,
}
_LONGEST_SERIES = 1500


def training_curves(phases: Sequence[Phase]) -> Figure:
    """Loss above, learning rate below, on one axis of steps with a band for each phase."""
    data: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    start = 0
    for index, phase in enumerate(phases):
        steps = [start + point.step - phase.first_step for point in phase.points]
        colour = SERIES[index % len(SERIES)]
        hover = [f"{phase.title}, step {point.step}" for point in phase.points]
        losses = [point.loss for point in phase.points]
        rates = [point.learning_rate for point in phase.points]
        data += [
            _line(steps, losses, colour, hover, "loss %{y:.4f}", width=1, opacity=0.35),
            _line(steps, _running_mean(losses), colour, hover, "mean loss %{y:.4f}"),
            _line(steps, rates, colour, hover, "learning rate %{y:.3e}", axis="y2"),
        ]
        if phase.heldout:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [start + step - phase.first_step for step, _ in phase.heldout],
                    "y": [loss for _, loss in phase.heldout],
                    "text": [f"{phase.title}, step {step}" for step, _ in phase.heldout],
                    "hovertemplate": "%{text}<br>held-out loss %{y:.4f}<extra></extra>",
                    "marker": {
                        "size": 8,
                        "color": "var(--card)",
                        "line": {"width": 2, "color": colour},
                    },
                    "showlegend": False,
                }
            )
        stop = start + max(phase.last_step - phase.first_step + 1, 1)
        shapes.append(_band(start, stop, index))
        labels.append(_band_label((start + stop) / 2, phase.title, colour, row=index % 2))
        start = stop
    layout = base_layout(
        height=460,
        margin={"l": 8, "r": 28, "t": 44, "b": 8},
        xaxis={
            **AXIS,
            "anchor": "y2",
            "range": [0, start],
            "title": {"text": "training step, all phases"},
            "showgrid": False,
        },
        yaxis={**AXIS, "domain": [0.34, 1], "title": {"text": "loss, nats a token"}},
        yaxis2={
            **AXIS,
            "domain": [0, 0.24],
            "title": {"text": "learning rate"},
            "rangemode": "tozero",
            "exponentformat": "e",
            "nticks": 4,
        },
        shapes=shapes,
        annotations=labels,
        hovermode="closest",
    )
    return {"data": data, "layout": layout}


def bits_per_byte_dots(scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """One row a language, one dot a phase: {phase title: {language: bits per byte}}."""
    languages = _by_first_score(scores)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": escaped(title),
            "x": [by_language.get(language) for language in languages],
            "y": [escaped(language) for language in languages],
            "hovertemplate": f"%{{y}}, after {escaped(title)}<br>%{{x:.3f}} bits a byte"
            "<extra></extra>",
            "marker": {"size": 10, "color": SERIES[index % len(SERIES)], "opacity": 0.9},
        }
        for index, (title, by_language) in enumerate(scores.items())
    ]
    layout = base_layout(
        height=90 + 24 * len(languages),
        margin={"l": 8, "r": 12, "t": 36, "b": 8},
        xaxis={**AXIS, "title": {"text": "bits per byte, less is better"}},
        yaxis={**AXIS, "type": "category", "autorange": "reversed", "showline": False},
        legend=_LEGEND_ABOVE,
    )
    return {"data": data, "layout": layout}


def stage_times(stages: Sequence[tuple[str, float, float]]) -> Figure:
    """Horizontal bars, one a stage: (title, wall seconds, peak bytes)."""
    titles = [escaped(title) for title, _, _ in stages]
    seconds = [wall for _, wall, _ in stages]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "x": seconds,
            "y": titles,
            "text": [duration(wall) for wall in seconds],
            "textposition": "outside",
            "cliponaxis": False,
            "customdata": [peak / 2**30 for _, _, peak in stages],
            "hovertemplate": "%{y}<br>%{x:.1f} s, peak %{customdata:.2f} GiB<extra></extra>",
            "marker": {"color": SERIES[0]},
        }
    ]
    layout = base_layout(
        height=60 + 27 * len(stages),
        margin={"l": 8, "r": 60, "t": 8, "b": 8},
        bargap=0.38,
        xaxis={**AXIS, "title": {"text": "seconds"}},
        yaxis={**AXIS, "type": "category", "autorange": "reversed"},
    )
    return {"data": data, "layout": layout}


_LEGEND_ABOVE = {"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}


def base_layout(**parts: Any) -> dict[str, Any]:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--sans)", "size": 12, "color": "var(--soft)"},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"family": "var(--sans)", "color": "var(--ink)"},
        },
        "showlegend": "legend" in parts,
        "dragmode": False,
        **parts,
    }


def _line(
    x: Sequence[float],
    y: Sequence[float],
    colour: str,
    hover: Sequence[str],
    value: str,
    *,
    axis: str = "y",
    width: float = 2.2,
    opacity: float = 1.0,
) -> dict[str, Any]:
    """A curve, thinned to `_LONGEST_SERIES` points; the last one stays."""
    stride = max(1, -(-len(x) // _LONGEST_SERIES))
    keep = slice((len(x) - 1) % stride, None, stride)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x)[keep],
        "y": list(y)[keep],
        "yaxis": axis,
        "text": list(hover)[keep],
        "hovertemplate": f"%{{text}}<br>{value}<extra></extra>",
        "line": {"color": colour, "width": width},
        "opacity": opacity,
        "showlegend": False,
    }


def _running_mean(values: Sequence[float]) -> list[float]:
    """Mean of the last fiftieth of the series at each point."""
    window = max(1, len(values) // 50)
    sums = list(itertools.accumulate(values, initial=0.0))
    return [
        (sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window)
        for i in range(len(values))
    ]


def _band(start: float, stop: float, index: int) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": start,
        "x1": stop,
        "y0": 0,
        "y1": 1,
        "fillcolor": "var(--band)" if index % 2 == 0 else "rgba(0,0,0,0)",
        "line": {"width": 0},
        "layer": "below",
    }


def _band_label(x: float, title: str, colour: str, row: int) -> dict[str, Any]:
    """A phase's name above its band, in one of two rows: short bands lie close together."""
    return {
        "yshift": 17 * row,
        "x": x,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "yanchor": "bottom",
        "text": f"<b>{escaped(title)}</b>",
        "font": {"color": colour},
        "showarrow": False,
    }


def _by_first_score(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """All languages, best first by the first phase that has them."""
    first: dict[str, float] = {}
    for by_language in scores.values():
        for language, value in by_language.items():
            first.setdefault(language, value)
    return sorted(first, key=lambda language: (first[language], language))


def escaped(text: str) -> str:
    return html.escape(text, quote=False)
