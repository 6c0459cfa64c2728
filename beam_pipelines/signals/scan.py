"""Compiled passes over the bytes of `characters`: what a text is counted and cut by.

None makes a Python object per word or line. Equal pieces get equal numbers by comparing
their characters (the hash only says where to look), so a value never depends on a
collision. Work and memory are linear in the text. `tests/.../reference_scans.py` has a
plain twin of each. Next: `ngrams` counts the numbered words, `document` keeps the results.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.signals.characters import IS_SPACE

_HASH_SEED = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit
_HASH_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_NEWLINE = np.uint8(ord("\n"))


class Runs(NamedTuple):
    """Pieces of a text, in order: int32[pieces] of characters each."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]

    @property
    def lengths(self) -> NDArray[np.int32]:
        return self.ends - self.starts


class Numbered(NamedTuple):
    """Which pieces of a text are equal.

    Attributes:
      ids: int32[pieces], equal for equal ones, in order of first occurrence.
      first: int32[distinct], the first piece of each number.
    """

    ids: NDArray[np.int32]
    first: NDArray[np.int32]

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64[distinct]: how often each number occurs."""
        return np.bincount(self.ids, minlength=len(self.first))


def character_counts(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64[256]: how often each byte occurs."""
    counts = np.zeros((4, 256), np.int64)
    _count_characters(codes, counts)
    return counts.sum(axis=0)


def line_sizes(codes: NDArray[np.uint8]) -> tuple[int, int]:
    """How many lines there are, empty ones too, and the longest's length with its newline."""
    return _line_sizes(codes)


def runs(codes: NDArray[np.uint8], kinds: NDArray[np.uint8]) -> Runs:
    """The longest runs of characters of one kind.

    Args:
      codes: uint8[chars].
      kinds: uint8[256], each byte's kind; what is of kind 0 is in no run.
    """
    return Runs(*_find_runs(codes, kinds))


def trimmed(codes: NDArray[np.uint8], pieces: Runs) -> Runs:
    """The pieces without white space at either end, and without those of nothing else."""
    starts, ends = pieces.starts.copy(), pieces.ends.copy()
    kept = _trim(codes, IS_SPACE, starts, ends)
    return Runs(starts[:kept], ends[:kept])


def numbered(codes: NDArray[np.uint8] | NDArray[np.uint32], pieces: Runs) -> Numbered:
    """Numbers the pieces of `codes` so that equal ones have equal numbers."""
    ids = np.empty(len(pieces.starts), np.int32)
    first = np.empty(len(pieces.starts), np.int32)
    distinct = _number(
        codes.view(np.uint8),
        codes.itemsize,
        pieces.starts,
        pieces.ends,
        _table(len(ids)),
        ids,
        first,
    )
    return Numbered(ids, first[:distinct])


def _table(entries: int) -> NDArray[np.int32]:
    """An empty hash table that `entries` fill to at most three quarters; a power of two."""
    return np.full(1 << max(4, (entries * 4 // 3).bit_length()), -1, np.int32)


@compiled
def _count_characters(codes: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    # Four counters: a run of one character would wait for its own last increment.
    whole = codes.size - codes.size % 4
    for i in range(0, whole, 4):
        counts[0, codes[i]] += 1
        counts[1, codes[i + 1]] += 1
        counts[2, codes[i + 2]] += 1
        counts[3, codes[i + 3]] += 1
    for i in range(whole, codes.size):
        counts[0, codes[i]] += 1


@compiled
def _line_sizes(codes: NDArray[np.uint8]) -> tuple[int, int]:
    lines = longest = start = 0
    for i in range(codes.size):
        if codes[i] == _NEWLINE:
            lines += 1
            longest = max(longest, i + 1 - start)
            start = i + 1
    if start < codes.size:
        lines += 1
        longest = max(longest, codes.size - start)
    return lines, longest


@compiled
def _find_runs(
    codes: NDArray[np.uint8], kinds: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    count = 0
    before = np.uint8(0)
    for i in range(codes.size):
        kind = kinds[codes[i]]
        count += kind != before and kind != 0
        before = kind
    starts, ends = np.empty(count, np.int32), np.empty(count, np.int32)
    found = -1
    before = np.uint8(0)
    for i in range(codes.size):
        kind = kinds[codes[i]]
        if kind != before:
            if before:
                ends[found] = i
            if kind:
                found += 1
                starts[found] = i
            before = kind
    if before:
        ends[found] = codes.size
    return starts, ends


@compiled
def _trim(
    codes: NDArray[np.uint8],
    is_space: NDArray[np.uint8],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
) -> int:
    kept = 0
    for piece in range(starts.size):
        start, end = starts[piece], ends[piece]
        while start < end and is_space[codes[start]]:
            start += 1
        while start < end and is_space[codes[end - 1]]:
            end -= 1
        if start < end:
            starts[kept], ends[kept] = start, end
            kept += 1
    return kept


@compiled
def _number(
    data: NDArray[np.uint8],
    width: int,
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    table: NDArray[np.int32],
    ids: NDArray[np.int32],
    first: NDArray[np.int32],
) -> int:
    """Fills `ids` and `first`; `table` maps a hash to the first piece that has it."""
    mask = np.uint64(table.size - 1)
    distinct = 0
    for piece in range(starts.size):
        start, end = starts[piece] * width, ends[piece] * width
        hashed = _HASH_SEED
        for i in range(start, end):
            hashed = (hashed ^ np.uint64(data[i])) * _HASH_PRIME
        slot = ((hashed * _MIX) >> np.uint64(32)) & mask
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = piece
                ids[piece] = distinct
                first[distinct] = piece
                distinct += 1
                break
            if _equal(data, start, end, starts[other] * width, ends[other] * width):
                ids[piece] = ids[other]
                break
            slot = (slot + np.uint64(1)) & mask
    return distinct


@compiled
def _equal(data: NDArray[np.uint8], start: int, end: int, other: int, other_end: int) -> bool:
    if end - start != other_end - other:
        return False
    for i in range(end - start):  # noqa: SIM110 - Numba compiles no generators
        if data[start + i] != data[other + i]:
            return False
    return True
