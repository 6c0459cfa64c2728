"""The charts of a sweep as Plotly's JSON: differences with their intervals, training curves.

Colours are CSS variables, as in `charts`; the script of the page draws them. A curve knows by
its `meta` whose it is, so that an arm can be hidden in all charts at once.
Next: `sweep_page`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from opencoder_jax.report.charts import AXIS, SERIES, Figure, base_layout, escaped
from opencoder_jax.sweep.results import power_law
from opencoder_jax.sweep.results.comparison import ArmResult
from opencoder_jax.sweep.results.measurements import Curve, Measured, StageFigures

_DASHES = ("solid", "dash", "dot", "dashdot")
_TONES = {"better": "var(--good)", "worse": "var(--bad)"}
_POINTS = 400
# A training loss is drawn as its mean over this share of the curve.
_SMOOTHING = 50


def colours(arms: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Arm to (colour, dash): six colours, then the same ones dashed."""
    return {
        arm: (SERIES[i % len(SERIES)], _DASHES[i // len(SERIES) % len(_DASHES)])
        for i, arm in enumerate(arms)
    }


def differences(results: Sequence[ArmResult], baseline: ArmResult) -> Figure | None:
    """A row an arm: mean difference with its 95 % interval, and the difference of each seed."""
    shown = [result for result in results if result.difference is not None]
    if not shown:
        return None
    share = 100 if shown[0].metric.of_problems else 1
    data: list[dict[str, Any]] = []
    for result in shown:
        difference = result.difference
        assert difference is not None
        name = escaped(result.arm)
        seeds = [seed for seed in result.by_seed if seed in baseline.by_seed]
        apart = [share * (result.by_seed[s] - baseline.by_seed[s]) for s in seeds]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": apart,
                "y": [name] * len(seeds),
                "text": [f"{name}, seed {seed}" for seed in seeds],
                "hovertemplate": "%{text}<br>%{x:+.5f}<extra></extra>",
                "marker": {"size": 6, "color": "var(--faint)", "opacity": 0.8},
            }
        )
        point: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "x": [share * difference.mean],
            "y": [name],
            "hovertemplate": f"{name}: {escaped(result.words)}<br>%{{x:+.5f}}<extra></extra>",
            "marker": {"size": 11, "color": _TONES.get(result.verdict, "var(--soft)")},
        }
        if difference.low is not None and difference.high is not None:
            point["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": [share * (difference.high - difference.mean)],
                "arrayminus": [share * (difference.mean - difference.low)],
                "color": point["marker"]["color"],
                "thickness": 2,
                "width": 5,
            }
        data.append(point)
    unit = "percentage points" if share == 100 else "less is better"
    lines = [
        {
            "type": "line",
            "x0": 0,
            "x1": 0,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": "var(--soft)", "width": 1},
            "layer": "below",
        }
    ]
    return {
        "data": data,
        "layout": base_layout(
            height=100 + 34 * len(shown),
            margin={"l": 8, "r": 16, "t": 8, "b": 8},
            xaxis={
                **AXIS,
                "title": {"text": f"difference to the baseline, {unit}"},
            },
            yaxis={**AXIS, "type": "category", "autorange": "reversed", "showline": False},
            shapes=lines,
            hovermode="closest",
        ),
    }


def scaling(measured: Measured, results: Sequence[ArmResult]) -> Figure | None:
    """Every run's value over the FLOPs of its training, with a fitted curve; None: one size."""
    points = power_law.by_compute(measured, results)
    if not points:
        return None
    look = colours(measured.plan.arms)
    metric = results[0].metric
    form = ".1%" if metric.of_problems else ".4f"
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [compute for name, compute, _ in points if name == arm],
            "y": [value for name, _, value in points if name == arm],
            "hovertemplate": f"{escaped(arm)}<br>%{{x:.3g}} FLOPs, %{{y:{form}}}<extra></extra>",
            "marker": {"size": 8, "color": look[arm][0], "opacity": 0.8},
        }
        for arm in dict.fromkeys(name for name, *_ in points)
    ]
    sizes = [compute for _, compute, _ in points]
    law = power_law.fit(sizes, [v for *_, v in points]) if metric.better == "lower" else None
    if law is not None:
        steps = [min(sizes) * (max(sizes) / min(sizes)) ** (k / 60) for k in range(61)]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": steps,
                "y": [law.at(compute) for compute in steps],
                "hoverinfo": "skip",
                "line": {"color": "var(--soft)", "dash": "dash", "width": 1.5},
            }
        )
    return {
        "data": data,
        "layout": base_layout(
            height=340,
            margin={"l": 8, "r": 16, "t": 8, "b": 8},
            xaxis={
                **AXIS,
                "type": "log",
                "exponentformat": "power",
                "title": {"text": "FLOPs of training"},
            },
            yaxis={
                **AXIS,
                "title": {"text": escaped(metric.title)},
                **({"tickformat": form} if metric.of_problems else {}),
            },
            hovermode="closest",
        ),
    }


def curves(measured: Measured, stage: str, *, heldout: bool) -> Figure | None:
    """Loss by step of one training stage: seeds thin, their mean strong; None: nothing yet."""
    by_arm: dict[str, list[tuple[int, StageFigures]]] = {}
    drawn: set[str] = set()
    shared = _shared(measured, stage)
    for run in measured.runs:
        figures = run.stages.get(stage)
        # What several arms share is drawn once, with the first of them.
        if figures is None or figures.key in drawn:
            continue
        drawn.add(figures.key)
        by_arm.setdefault(run.run.arm, []).append((run.run.seed, figures))
    look = colours(measured.plan.arms)
    data: list[dict[str, Any]] = []
    for arm, seeds in by_arm.items():
        colour, dash = look[arm]
        finite = {seed: _finite(f.heldout if heldout else f.curve) for seed, f in seeds}
        series = {seed: c if heldout else _smoothed(c) for seed, c in finite.items()}
        series = {seed: curve for seed, curve in series.items() if curve}
        who = f"{escaped(arm)}{shared.get(arm, '')}"
        for seed, curve in series.items():
            alone = len(series) == 1
            data.append(
                _line(arm, curve, f"{who}, seed {seed}", colour, dash, strong=alone, dots=heldout)
            )
        if len(series) > 1:
            mean = _mean(list(series.values()))
            name = f"{who}, mean of {len(series)} seeds"
            data.append(_line(arm, mean, name, colour, dash, strong=True, dots=heldout))
    if not data:
        return None
    what = "held-out loss" if heldout else "training loss"
    return {
        "data": data,
        "layout": base_layout(
            height=380,
            margin={"l": 8, "r": 16, "t": 8, "b": 8},
            xaxis={**AXIS, "title": {"text": f"training step of {escaped(stage)}"}},
            yaxis={**AXIS, "title": {"text": f"{what}, nats a token"}, **_range(data)},
            hovermode="closest",
        ),
    }


def _range(data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the axis: all that lies past the first tenth of the steps, where arms differ by little."""
    last = max(line["x"][-1] for line in data)
    late = [y for line in data for x, y in zip(line["x"], line["y"], strict=True) if x > last / 10]
    low, high = min(late), max(late)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return {"range": [low - margin, high + margin]}


def _shared(measured: Measured, stage: str) -> Mapping[str, str]:
    """Arm to what is said behind its name, where others have its stage too."""
    users: dict[str, list[str]] = {}
    for run in measured.runs:
        key = run.run.stages.get(stage)
        if key is not None and run.run.arm not in users.setdefault(key, []):
            users[key].append(run.run.arm)
    return {arms[0]: f" and {len(arms) - 1} more" for arms in users.values() if len(arms) > 1}


def _line(
    arm: str, curve: Curve, name: str, colour: str, dash: str, *, strong: bool, dots: bool
) -> dict[str, Any]:
    stride = max(1, -(-len(curve) // _POINTS))
    kept = curve[(len(curve) - 1) % stride :: stride]
    return {
        "type": "scatter",
        "mode": "lines+markers" if dots and len(kept) < 40 else "lines",
        "meta": arm,
        "x": [step for step, _ in kept],
        "y": [float(f"{loss:.6g}") for _, loss in kept],
        "name": name,
        "hovertemplate": f"{name}<br>step %{{x}}, loss %{{y:.4f}}<extra></extra>",
        "line": {"color": colour, "dash": dash, "width": 2.2 if strong else 1},
        "marker": {"size": 5 if strong else 3},
        "opacity": 1.0 if strong else 0.35,
        "showlegend": False,
    }


def _finite(curve: Curve) -> Curve:
    """Without what JSON has no word for: the losses of a model that diverged."""
    return [(step, loss) for step, loss in curve if math.isfinite(loss)]


def _smoothed(curve: Curve) -> Curve:
    """Each loss as the mean of the last fiftieth of the series up to it."""
    window = max(1, len(curve) // _SMOOTHING)
    sums = list(itertools.accumulate((loss for _, loss in curve), initial=0.0))
    return [
        (step, (sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window))
        for i, (step, _) in enumerate(curve)
    ]


def _mean(series: Sequence[Curve]) -> Curve:
    """At the steps that all of them have."""
    losses = [dict(curve) for curve in series]
    steps = [step for step in losses[0] if all(step in by_step for by_step in losses)]
    return [(step, sum(by_step[step] for by_step in losses) / len(losses)) for step in steps]
