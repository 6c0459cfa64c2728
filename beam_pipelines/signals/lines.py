"""Repeated lines of a text, compared without white space at the ends or without any.

Lines are cut, numbered and counted by compiled passes; none becomes a string.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.signals.characters import IS_SPACE, code_points, code_units, read_only, table
from beam_pipelines.signals.scan import numbered, runs, trimmed

_LINE = np.ones(256, np.uint8)
_LINE[ord("\n")] = 0
_KEPT = np.maximum(1 - IS_SPACE, table("\n"))
_ASCII_DELETED = bytes(np.flatnonzero(_KEPT[:128] == 0).tolist())
_BRACE, _COMMA = np.uint8(ord("}")), np.uint8(ord(","))


class Lines(NamedTuple):
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
    ids, first = numbered(code_units(text), lines)
    return Lines(*_count(codes, ids, len(first), *lines, shortest=1))


def compact_lines(text: str, codes: NDArray[np.uint8]) -> Lines:
    """Lines with all white space deleted; `},` and lines of one character never repeat."""
    units: NDArray[np.uint8] | NDArray[np.uint32]
    if text.isascii():
        codes = units = np.frombuffer(codes.tobytes().translate(None, _ASCII_DELETED), np.uint8)
    else:
        units, codes = _without_space(code_points(text), codes, _KEPT)
        units, codes = read_only(units), read_only(codes)
    lines = runs(codes, _LINE)
    ids, first = numbered(units, lines)
    return Lines(*_count(codes, ids, len(first), *lines, shortest=2))


@compiled
def _without_space(
    units: NDArray[np.uint32], codes: NDArray[np.uint8], kept: NDArray[np.uint8]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    size = 0
    for i in range(codes.size):
        size += kept[codes[i]]
    kept_units, kept_codes = np.empty(size, np.uint32), np.empty(size, np.uint8)
    k = 0
    for i in range(codes.size):
        if kept[codes[i]]:
            kept_units[k], kept_codes[k] = units[i], codes[i]
            k += 1
    return kept_units, kept_codes


@compiled
def _count(
    codes: NDArray[np.uint8],
    ids: NDArray[np.int32],
    distinct: int,
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    shortest: int,
) -> tuple[int, int, int, int]:
    """The attributes of `Lines`; lines that are shorter, or `},` where `shortest` is 2, are
    not repeated."""
    counts = np.zeros(distinct, np.int32)
    for line in range(ids.size):
        counts[ids[line]] += 1
    characters = repeated = repeated_characters = 0
    for line in range(ids.size):
        length = ends[line] - starts[line]
        characters += length
        if counts[ids[line]] > 1 and length >= shortest:
            first = starts[line]
            closer = length == 2 and codes[first] == _BRACE and codes[first + 1] == _COMMA
            if shortest < 2 or not closer:
                repeated += 1
                repeated_characters += length
    return ids.size, characters, repeated, repeated_characters
