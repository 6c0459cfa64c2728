"""Repeated lines of a text, compared without white space at the ends or without any.

One compiled pass cuts, compares and counts the lines; none becomes a string.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.signals.characters import IS_SPACE, code_units
from beam_pipelines.signals.scan import (
    HASH_PRIME,
    HASH_SEED,
    SMALLEST_TABLE,
    find_slot,
    larger_table,
)

_NEWLINE, _BRACE, _COMMA = (np.uint8(ord(character)) for character in "\n},")


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
    return Lines(*_stripped(codes, code_units(text), IS_SPACE, codes.tobytes().count(b"\n") + 1))


def compact_lines(text: str, codes: NDArray[np.uint8]) -> Lines:
    """Lines with all white space deleted; `},` and lines of one character never repeat."""
    return Lines(*_compact(codes, code_units(text), IS_SPACE, codes.tobytes().count(b"\n") + 1))


@compiled
def _stripped(
    codes: NDArray[np.uint8],
    units: NDArray[np.uint8] | NDArray[np.uint32],
    is_space: NDArray[np.uint8],
    most: int,
) -> tuple[int, int, int, int]:
    hashes, starts = np.empty(most, np.uint64), np.empty(most, np.int32)
    lengths, counts = np.empty(most, np.int32), np.empty(most, np.int32)
    table = np.full(SMALLEST_TABLE, -1, np.int32)
    distinct = end = 0
    while end < codes.size:
        start = end
        while end < codes.size and codes[end] != _NEWLINE:
            end += 1
        first, last = start, end
        while first < last and is_space[codes[first]]:
            first += 1
        while first < last and is_space[codes[last - 1]]:
            last -= 1
        end += 1
        if first == last:
            continue
        hashed = HASH_SEED
        for i in range(first, last):
            hashed = (hashed ^ np.uint64(units[i])) * HASH_PRIME
        slot = find_slot(units, first, last - first, hashed, table, hashes, starts, lengths)
        if table[slot] >= 0:
            counts[table[slot]] += 1
            continue
        table[slot] = distinct
        hashes[distinct], starts[distinct] = hashed, first
        lengths[distinct], counts[distinct] = last - first, 1
        distinct += 1
        if distinct * 4 > table.size * 3:
            table = larger_table(table, hashes, distinct)
    return _counted(units, starts, lengths, counts, distinct, 1)


@compiled
def _compact(
    codes: NDArray[np.uint8],
    units: NDArray[np.uint8] | NDArray[np.uint32],
    is_space: NDArray[np.uint8],
    most: int,
) -> tuple[int, int, int, int]:
    hashes, starts = np.empty(most, np.uint64), np.empty(most, np.int32)
    lengths, counts = np.empty(most, np.int32), np.empty(most, np.int32)
    table = np.full(SMALLEST_TABLE, -1, np.int32)
    kept = np.empty_like(units)  # what is no white space
    distinct = start = size = 0
    hashed = HASH_SEED
    for i in range(codes.size + 1):
        if i < codes.size and codes[i] != _NEWLINE:
            if not is_space[codes[i]]:
                kept[size] = units[i]
                hashed = (hashed ^ np.uint64(units[i])) * HASH_PRIME
                size += 1
            continue
        if size > start:
            slot = find_slot(kept, start, size - start, hashed, table, hashes, starts, lengths)
            if table[slot] >= 0:
                counts[table[slot]] += 1
                size = start  # it is there already
            else:
                table[slot] = distinct
                hashes[distinct], starts[distinct] = hashed, start
                lengths[distinct], counts[distinct] = size - start, 1
                distinct += 1
                if distinct * 4 > table.size * 3:
                    table = larger_table(table, hashes, distinct)
            start = size
            hashed = HASH_SEED
    return _counted(kept, starts, lengths, counts, distinct, 2)


@compiled
def _counted(
    units: NDArray[np.uint8] | NDArray[np.uint32],
    starts: NDArray[np.int32],
    lengths: NDArray[np.int32],
    counts: NDArray[np.int32],
    distinct: int,
    shortest: int,
) -> tuple[int, int, int, int]:
    """The attributes of `Lines`; lines that are shorter, or `},` where `shortest` is 2, are
    not repeated."""
    total = characters = repeated = repeated_characters = 0
    for line in range(distinct):
        count, length, first = int(counts[line]), int(lengths[line]), starts[line]
        total += count
        characters += count * length
        if count == 1 or length < shortest:
            continue
        closer = length == 2 and units[first] == _BRACE and units[first + 1] == _COMMA
        if shortest < 2 or not closer:
            repeated += count
            repeated_characters += count * length
    return total, characters, repeated, repeated_characters
