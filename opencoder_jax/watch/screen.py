"""A run's state as one screen of text: progress, figures, sources, curves."""

import itertools
import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from opencoder_jax.watch.run_state import LOSS, Line, RunState

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 60
_SOURCES_SHOWN = 12
_LANGUAGES_SHOWN = 8
_STYLES = {
    "training": "green",
    "finished": "bold green",
    "stale": "bold red",
    "stopped": "bold red",
}


def render(state: RunState) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_headline(state)]
    if state.last_step:
        parts.append(_progress(state))
    if state.train:
        parts += [_figures(state), _curves(state)]
        parts += [table for table in (_sources(state.train[-1]), _languages(state)) if table]
    if state.account.alive:
        parts.append(Text(str(state.account), style="dim"))
    return Panel(Group(*parts), title=Text(state.model_dir), title_align="left")


def sparkline(values: Sequence[float], width: int = _CURVE_WIDTH) -> str:
    """Block characters for means of equal parts of `values`, lowest to highest."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(width, len(finite))
    edges = [len(finite) * i // count for i in range(count + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)


def duration(seconds: float) -> str:
    """In the unit that fits: 42 s, 3 min 20 s, 5 h 10 min, 3 d 4 h."""
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def _headline(state: RunState) -> Text:
    silent = duration(state.silent_seconds or 0.0)
    said = {
        "waiting": "waiting: no run has begun in this directory",
        "starting": "starting: opening data, restoring or compiling",
        "training": "training",
        "stale": f"stale: nothing written for {silent}; is the process still there?",
        "stopped": f"stopped: its process is gone, last sign {silent} ago; run it again to go on",
        "finished": "finished",
    }[state.status]
    return Text(said, style=_STYLES.get(state.status, "yellow"))


def _progress(state: RunState) -> Table:
    assert state.last_step
    done, total = state.step - state.first_step, state.last_step - state.first_step
    row = Table.grid(padding=(0, 1))
    left = ""
    if state.seconds_left is not None and state.status in ("training", "starting"):
        left = f"{duration(state.seconds_left)} left"
    row.add_row(
        f"step {state.step:,} of {state.last_step:,}",
        ProgressBar(total=total, completed=done, width=30),
        f"{done / total:.1%}",
        left,
    )
    return row


def _figures(state: RunState) -> Table:
    line = state.train[-1]
    heldout = state.heldout[-1] if state.heldout else {}
    checkpoint = "none yet"
    if state.checkpoints:
        age = duration(state.checkpoint_seconds or 0.0)
        checkpoint = f"step {state.checkpoints[-1]:,}, {age} ago"
    goodput = state.account.goodput
    cells = {
        "loss": _number(line.get(LOSS), ".4f"),
        "held-out loss": _at_step(heldout, LOSS),
        "bits per byte": _at_step(heldout, "bits_per_byte"),
        "learning rate": _number(line.get("learning_rate"), ".3g"),
        "gradient norm": _number(line.get("learning/grad_norm"), ".3g"),
        "skipped": _number(line.get("skipped_steps"), ".0f"),
        "tokens/s": _number(line.get("timing/target_tokens_per_second"), ",.0f"),
        "MFU": _number(line.get("timing/mfu"), ".1%"),
        "goodput": _number(goodput, ".1%"),
        "tokens seen": _number(line.get("tokens_seen"), ",.0f"),
        "accuracy": _number(line.get("accuracy"), ".1%"),
        "checkpoint": checkpoint,
    }
    table = Table.grid(padding=(0, 2))
    items = list(cells.items())
    for start in range(0, len(items), 3):
        row: list[RenderableType] = []
        for name, value in items[start : start + 3]:
            row += [Text(name, style="dim"), Text(value, style="bold")]
        table.add_row(*row)
    return table


def _curves(state: RunState) -> Table:
    table = Table.grid(padding=(0, 1))
    for title, lines in (("loss", state.train), ("held out", state.heldout)):
        values = [line[LOSS] for line in lines if LOSS in line]
        if len(values) > 1:
            ends = f"{values[0]:.3f} to {values[-1]:.3f}"
            table.add_row(Text(title, style="dim"), Text(sparkline(values), style="cyan"), ends)
    return table


def _sources(line: Line) -> Table | None:
    prefix = "tokens_seen/"
    sources = {name.removeprefix(prefix): n for name, n in line.items() if name.startswith(prefix)}
    if not sources:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("source")
    for title in ("loss", "tokens seen"):
        table.add_column(title, justify="right")
    largest = sorted(sources, key=lambda name: -sources[name])[:_SOURCES_SHOWN]
    for name in largest:
        table.add_row(
            Text(name), _number(line.get(f"{LOSS}/{name}"), ".4f"), f"{sources[name]:,.0f}"
        )
    if len(sources) > len(largest):
        table.add_row(f"and {len(sources) - len(largest)} more", "", "")
    return table


def _languages(state: RunState) -> Text | None:
    """Bits per byte of some languages, the worst first."""
    prefix = "bits_per_byte/"
    line = state.heldout[-1] if state.heldout else {}
    values = {name.removeprefix(prefix): v for name, v in line.items() if name.startswith(prefix)}
    worst = sorted(values, key=lambda name: -values[name])[:_LANGUAGES_SHOWN]
    if not worst:
        return None
    text = Text("bits per byte  ", style="dim")
    text.append("  ".join(f"{name} {values[name]:.3f}" for name in worst), style="default")
    return text


def _at_step(line: Line, name: str) -> str:
    return f"{line[name]:.4f} at {line['step']:,.0f}" if name in line else "-"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
