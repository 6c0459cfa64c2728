"""Repeated lines of a text, compared without white space at the ends or without any.

Lines are cut and numbered by the compiled passes of `scan`; none becomes a string.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.signals.characters import IS_SPACE, code_units, read_only
from beam_pipelines.signals.scan import Numbered, Runs, numbered, runs, trimmed

_LINE = np.ones(256, np.uint8)
_LINE[ord("\n")] = 0
_DELETED = bytes(code for code in range(128) if IS_SPACE[code] and code != ord("\n"))
_KEPT = (IS_SPACE == 0) | (np.arange(256) == ord("\n"))
# A line that repeats in any code.
_CLOSER = [ord(character) for character in "},"]


@dataclasses.dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a text that are not empty.

    Attributes:
      total: how many.
      characters: in all of them.
      repeated: how many of them occur at least twice.
      repeated_characters: in those.
    """

    total: int
    characters: int
    repeated: int
    repeated_characters: int


def stripped_lines(text: str, codes: NDArray[np.uint8]) -> Lines:
    """Lines without surrounding white space."""
    lines = trimmed(codes, runs(codes, _LINE))
    found = numbered(code_units(text), lines)
    return _lines(lines, found, found.counts > 1)


def compact_lines(text: str, codes: NDArray[np.uint8]) -> Lines:
    """Lines with all white space deleted; `},` and lines of one character never repeat."""
    if text.isascii():
        codes = units = np.frombuffer(codes.tobytes().translate(None, _DELETED), np.uint8)
    else:
        kept = _KEPT[codes]
        units = read_only(code_units(text)[kept])
        codes = read_only(codes[kept])
    lines = runs(codes, _LINE)
    found = numbered(units, lines)
    repeated = found.counts > 1
    for number in np.flatnonzero(repeated & (lines.lengths[found.first] <= len(_CLOSER))):
        first = found.first[number]
        line = units[lines.starts[first] : lines.ends[first]].tolist()
        repeated[number] = len(line) > 1 and line != _CLOSER
    return _lines(lines, found, repeated)


def _lines(lines: Runs, found: Numbered, repeated: NDArray[np.bool_]) -> Lines:
    counts = found.counts[repeated]
    return Lines(
        total=len(lines.starts),
        characters=int(lines.lengths.sum()),
        repeated=int(counts.sum()),
        repeated_characters=int(counts @ lines.lengths[found.first[repeated]]),
    )
