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
from beam_pipelines.signals.characters import IS_DIGIT, IS_LETTER, IS_SPACE, read_only

HASH_SEED = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit, of characters instead of bytes
HASH_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_NEWLINE = np.uint8(ord("\n"))
SMALLEST_TABLE = 256  # slots of a hash table; a power of two


class Numbered(NamedTuple):
    """The pieces of a text, and which of them are equal.

    Attributes:
      ids: int32[pieces], equal for equal ones, in order of first occurrence.
      lengths: int32[pieces], characters.
      first_starts: int32[distinct], where the first piece of each number begins.
      first_lengths: int32[distinct], its characters.
      counts: int32[distinct], how often each number occurs.
      num_chars: in all pieces.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    first_starts: NDArray[np.int32]
    first_lengths: NDArray[np.int32]
    counts: NDArray[np.int32]
    num_chars: int


class Profile(NamedTuple):
    """What a text is made of.

    Attributes:
      counts: int64[256], how often each byte of `characters` occurs.
      lines: empty ones too.
      longest_line: characters, with its newline.
      spaces, letters, digits: characters.
    """

    counts: NDArray[np.int64]
    lines: int
    longest_line: int
    spaces: int
    letters: int
    digits: int


def profile(codes: NDArray[np.uint8]) -> Profile:
    """Counts the characters and lines of a text."""
    return Profile(*_profile(codes, IS_SPACE, IS_LETTER, IS_DIGIT))


def numbered_runs(
    codes: NDArray[np.uint8],
    units: NDArray[np.uint8] | NDArray[np.uint32],
    kinds: NDArray[np.uint8],
) -> Numbered:
    """The longest runs of characters of one kind, numbered so that equal ones have equal numbers.

    Args:
      codes: uint8[chars].
      units: [chars], what tells characters apart.
      kinds: uint8[256], each byte's kind; what is of kind 0 is in no run.
    """
    return Numbered(*_numbered_runs(codes, units, kinds))


def without(codes: NDArray[np.uint8], bounds: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The codes without some pieces.

    Args:
      codes: uint8[chars].
      bounds: int32[pieces, 2], start and end of each, in order.

    Returns:
      uint8[chars], read-only.
    """
    return read_only(_without(codes, bounds))


@compiled
def _without(codes: NDArray[np.uint8], bounds: NDArray[np.int32]) -> NDArray[np.uint8]:
    kept = np.empty(codes.size, np.uint8)
    size = position = 0
    for piece in range(bounds.shape[0]):
        start, end = int(bounds[piece, 0]), int(bounds[piece, 1])
        kept[size : size + start - position] = codes[position:start]
        size += start - position
        position = end
    kept[size : size + codes.size - position] = codes[position:]
    size += codes.size - position
    return kept[:size].copy()


@compiled
def _profile(
    codes: NDArray[np.uint8],
    is_space: NDArray[np.uint8],
    is_letter: NDArray[np.uint8],
    is_digit: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], int, int, int, int, int]:
    # Four counters: a run of one character would wait for its own last increment.
    four = np.zeros((4, 256), np.int64)
    whole = codes.size - codes.size % 4
    for i in range(0, whole, 4):
        four[0, codes[i]] += 1
        four[1, codes[i + 1]] += 1
        four[2, codes[i + 2]] += 1
        four[3, codes[i + 3]] += 1
    for i in range(whole, codes.size):
        four[0, codes[i]] += 1
    counts = np.empty(256, np.int64)
    spaces = letters = digits = 0
    for code in range(256):
        count = four[0, code] + four[1, code] + four[2, code] + four[3, code]
        counts[code] = count
        spaces += count * is_space[code]
        letters += count * is_letter[code]
        digits += count * is_digit[code]
    lines = longest = start = 0
    for i in range(codes.size):
        if codes[i] == _NEWLINE:
            lines += 1
            longest = max(longest, i + 1 - start)
            start = i + 1
    if start < codes.size:
        lines += 1
        longest = max(longest, codes.size - start)
    return counts, lines, longest, spaces, letters, digits


@compiled
def _numbered_runs(
    codes: NDArray[np.uint8],
    units: NDArray[np.uint8] | NDArray[np.uint32],
    kinds: NDArray[np.uint8],
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    int,
]:
    # As many as a text of single characters has; pages that nothing is written to cost nothing.
    ids, lengths = np.empty(codes.size, np.int32), np.empty(codes.size, np.int32)
    starts, sizes = np.empty(codes.size, np.int32), np.empty(codes.size, np.int32)
    counts, hashes = np.empty(codes.size, np.int32), np.empty(codes.size, np.uint64)
    table = np.full(SMALLEST_TABLE, -1, np.int32)
    found = distinct = characters = i = 0
    while i < codes.size:
        kind = kinds[codes[i]]
        if kind == 0:
            i += 1
            continue
        start = i
        hashed = HASH_SEED
        while i < codes.size and kinds[codes[i]] == kind:
            hashed = (hashed ^ np.uint64(units[i])) * HASH_PRIME
            i += 1
        slot = find_slot(units, start, i - start, hashed, table, hashes, starts, sizes)
        number = table[slot]
        if number < 0:
            number = distinct
            table[slot] = number
            hashes[number], starts[number], sizes[number] = hashed, start, i - start
            counts[number] = 0
            distinct += 1
            if distinct * 4 > table.size * 3:
                table = larger_table(table, hashes, distinct)
        counts[number] += 1
        ids[found], lengths[found] = number, i - start
        characters += i - start
        found += 1
    return (
        ids[:found].copy(),
        lengths[:found].copy(),
        starts[:distinct].copy(),
        sizes[:distinct].copy(),
        counts[:distinct].copy(),
        characters,
    )


@compiled
def find_slot(
    units: NDArray[np.uint8] | NDArray[np.uint32],
    start: int,
    length: int,
    hashed: np.uint64,
    table: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    starts: NDArray[np.int32],
    lengths: NDArray[np.int32],
) -> np.uint64:
    """Where `table` has the number of a piece of `units`, or the empty slot for it.

    `hashes`, `starts` and `lengths` describe the pieces by their numbers.
    """
    mask = np.uint64(table.size - 1)
    slot = ((hashed * _MIX) >> np.uint64(32)) & mask
    while True:
        number = table[slot]
        if number < 0:
            return slot
        if hashes[number] == hashed and lengths[number] == length:
            other = starts[number]
            equal = True
            for k in range(length):
                if units[start + k] != units[other + k]:
                    equal = False
                    break
            if equal:
                return slot
        slot = (slot + np.uint64(1)) & mask


@compiled
def larger_table(
    table: NDArray[np.int32], hashes: NDArray[np.uint64], distinct: int
) -> NDArray[np.int32]:
    """The same entries in four times as many slots."""
    larger = np.full(4 * table.size, -1, np.int32)
    mask = np.uint64(larger.size - 1)
    for number in range(distinct):
        slot = ((hashes[number] * _MIX) >> np.uint64(32)) & mask
        while larger[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        larger[slot] = number
    return larger
