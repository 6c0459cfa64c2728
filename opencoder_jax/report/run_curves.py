"""The curves of one model directory, short enough that hundreds of them stay a small page.

Lines of `metrics.jsonl` are put into buckets of neighbours. A bucket keeps the mean of each
figure, and its lowest and highest value, so that no spike is lost however long the run was; the
first and the last line are buckets of their own. Next: `run_browser` puts them into the page.
"""

import array
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_LOSS = "loss_per_nonpadding_target_token"
_RATE = "timing/target_tokens_per_second"
_LOST = "timing/lost_seconds/"
# What a reader calls them, by the beginnings of T5X's names.
_PLAIN_NAMES = {
    _LOSS: "loss",
    "z_loss_per_nonpadding_target_token": "z_loss",
    "learning/": "",
    _RATE: "tokens_per_second",
    "timing/": "",
}
# Sums, counts and lines that are straight or stand in the table; "/" for all below.
_LEFT_OUT = (
    "loss",
    "nonpadding_target_tokens",
    "nonpadding_target_tokens/",
    "tokens_seen",
    "tokens_seen/",
    "epochs/",
    "skipped_steps/",
    "timing/seqs_per_second",
    "timing/goodput",
    _LOST,
)
_DIGITS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Lines:
    """The figures of a `metrics.jsonl`.

    Attributes:
      columns: name to one value a line, `step` among them; NaN where a line has none.
      problem: what is wrong with the file; empty where nothing is.
    """

    columns: Mapping[str, np.ndarray]
    problem: str

    @property
    def steps(self) -> np.ndarray:
        return self.columns.get("step", np.zeros(0))

    def last(self, name: str) -> float | None:
        """The last finite value; None where there is none."""
        finite = [v for v in self.columns.get(name, ())[::-1][:1000] if math.isfinite(v)]
        return float(finite[0]) if finite else None

    def median(self, name: str) -> float | None:
        values = self.columns.get(name, np.zeros(0))
        values = values[np.isfinite(values)]
        return float(np.median(values)) if values.size else None


def read_lines(path: Path) -> Lines:
    """The lines up to the first that is damaged; one that has no end yet is not damaged."""
    columns: dict[str, array.array] = {}
    count, problem = 0, ""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                figures = _figures(line)
                if not figures:
                    if line.endswith(b"\n"):
                        problem = f"line {number} is damaged; it was read up to there"
                    break
                for name, value in figures.items():
                    column = columns.setdefault(name, array.array("d"))
                    if len(column) != count:
                        column.extend([math.nan] * (count - len(column)))
                    column.append(value)
                count += 1
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    for column in columns.values():
        column.extend([math.nan] * (count - len(column)))
    arrays = {name: np.array(column, np.float64) for name, column in columns.items()}
    finite = {name: np.where(np.isfinite(a), a, np.nan) for name, a in arrays.items()}
    return Lines(finite, problem)


def _figures(line: bytes) -> dict[str, float]:
    """The numbers of a line; empty where it is no line of metrics."""
    try:
        values = json.loads(line)
        figures = {n: float(v) for n, v in values.items() if type(v) in (float, int)}
    except (ValueError, AttributeError, OverflowError, RecursionError):
        return {}
    return figures if math.isfinite(figures.get("step", math.nan)) else {}


def seconds(lines: Lines) -> np.ndarray | None:
    """How long the run had been alive at each line, in seconds; None where lines do not tell."""
    tokens, rates = lines.columns.get("tokens_seen"), lines.columns.get(_RATE)
    if tokens is None or rates is None or not np.isfinite(rates).any():
        return None
    made = np.diff(tokens, prepend=0.0)
    # What phases before have seen is no work of this one.
    made[0] = made[1] if made.size > 1 else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        training = np.nan_to_num(made / rates, nan=0.0, posinf=0.0, neginf=0.0)
    alive = np.cumsum(np.maximum(training, 0.0))
    for name, lost in lines.columns.items():
        if name.startswith(_LOST):
            # All that was lost up to the line, for this reason.
            alive += np.nan_to_num(lost)
    return np.maximum.accumulate(alive)


def series(lines: Lines, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(plain name, values) of what is worth a curve: not what is always zero."""
    for name, values in lines.columns.items():
        left_out = any(name == n or (n.endswith("/") and name.startswith(n)) for n in _LEFT_OUT)
        if name == "step" or left_out or not np.nan_to_num(values).any():
            continue
        start = next((begin for begin in _PLAIN_NAMES if name.startswith(begin)), "")
        yield prefix + _PLAIN_NAMES.get(start, "") + name.removeprefix(start), values


def curves(lines: Lines, buckets: int, prefix: str = "") -> dict[str, Any]:
    """For the page: `step`, `tokens` and `seconds` of each bucket, and `series`.

    Args:
      lines: of one file.
      buckets: how many there are at most, 3 at least.
      prefix: before the names.

    Returns:
      `tokens` and `seconds` are None where lines do not tell. A series is a list of means, or
      `[means, lows, highs]` where buckets have several lines; None stands for no value.
    """
    count = lines.steps.size
    if not count:
        return {"step": [], "tokens": None, "seconds": None, "series": {}}
    if count > buckets:
        inner = np.linspace(1, count - 1, buckets - 1).astype(int)
        starts = np.concatenate([[0], inner])
    else:
        starts = np.arange(count)
    ends = np.append(starts[1:], count) - 1
    found: dict[str, Any] = {"step": _whole(lines.steps, ends)}
    found["tokens"] = _whole(lines.columns.get("tokens_seen"), ends)
    alive = seconds(lines)
    found["seconds"] = None if alive is None else _rounded(alive[ends])
    found["series"] = {}
    for name, values in series(lines, prefix):
        low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            mean = np.add.reduceat(np.where(known, values, 0.0), starts) / np.add.reduceat(
                known.astype(float), starts
            )
        parts = (mean, low, high) if count > buckets else (mean,)
        rounded = [_rounded(part) for part in parts]
        found["series"][name] = rounded if len(rounded) > 1 else rounded[0]
    return found


def _whole(values: np.ndarray | None, places: np.ndarray) -> list[int] | None:
    if values is None or not np.isfinite(values[places]).all():
        return None
    return [int(value) for value in values[places]]


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.{_DIGITS}g}") if math.isfinite(v) else None for v in values]
