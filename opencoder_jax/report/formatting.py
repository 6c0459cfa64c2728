"""Numbers as a reader wants them: `12 345`, `3.4 MB`, `2 min 05 s`, `84.1 %`; ends of paths.

`FILTERS` are the functions that the page's templates call by name; `benchmarks` print
their tables with them too. Units are decimal, and a number and its unit are never parted
at a line's end (U+202F).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def count(value: float) -> str:
    """Whole number with thin spaces between thousands."""
    return f"{round(value):,}".replace(",", "\u202f")


def short_count(value: float) -> str:
    """Three digits and a letter from a hundred thousand on: `1.91 B`, `345 k`."""
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e5, "k")):
        if abs(value) >= limit:
            unit = 1e3 if letter == "k" else limit
            return f"{value / unit:.3g}\u202f{letter}"
    return count(value)


def size(value: float) -> str:
    """Bytes in decimal units."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}\u202f{unit}"
    return f"{round(value)}\u202fB"


def percent(share: float) -> str:
    """A share as per cent, with more digits where it is small."""
    value = 100 * share
    return f"{value:.0f}\u202f%" if value >= 99.95 else f"{value:.{2 if value < 1 else 1}f}\u202f%"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}\u202fs"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u202fmin {rest:02d}\u202fs"
    return f"{minutes // 60}\u202fh {minutes % 60:02d}\u202fmin"


def fixed(value: float | None, digits: int = 3) -> str:
    return "\u2013" if value is None else f"{value:.{digits}f}"


def most_first(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """(name, count) pairs, the largest count first and equal ones by name."""
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def shortest_ends(paths: Sequence[Sequence[str]]) -> list[str]:
    """Ends of paths, given in their parts, as short as tells them apart; equal ones numbered."""
    for length in range(1, max(map(len, paths), default=0) + 1):
        ends = ["/".join(path[-length:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{'/'.join(path)} ({number})" for number, path in enumerate(paths, start=1)]


def json_for_script(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


FILTERS = {f.__name__: f for f in (count, short_count, size, percent, duration, fixed)}
