"""Shares of the most frequent and of the repeated n-grams of words.

An n-gram can only occur twice if both (n-1)-grams in it do, so each length looks only
at the positions that the shorter one left over: exact, and little work for text that
hardly repeats itself. A hash table finds equal pairs of (n-1)-grams; it is compiled.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled

TOP_LENGTHS = (2, 3, 4)
DUPLICATE_LENGTHS = (5, 6, 7, 8, 9, 10)
_LONGEST_TOP, _LONGEST = max(TOP_LENGTHS), max(DUPLICATE_LENGTHS)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True, slots=True)
class NgramShares:
    """Shares of a text's characters in words, by the length of the n-gram.

    Attributes:
      top: characters of the most frequent n-gram times its count (the earliest one of
        several); 0 where none occurs twice.
      duplicate: characters of all words that an n-gram with a second occurrence covers.
    """

    top: dict[int, float]
    duplicate: dict[int, float]


def ngram_shares(ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> NgramShares:
    """N-gram statistics of a text.

    Args:
      ids: int32[words], which word stands at each position, as numbers from 0.
      lengths: int32[words], characters of that word.
    """
    top, duplicate, characters = _count(ids, lengths, _LONGEST_TOP, _LONGEST)
    total = max(1, characters)
    shares_of_top, shares_of_duplicate = (top / total).tolist(), (duplicate / total).tolist()
    return NgramShares(
        top={n: shares_of_top[n] for n in TOP_LENGTHS},
        duplicate={n: shares_of_duplicate[n] for n in DUPLICATE_LENGTHS},
    )


@compiled
def _count(
    ids: NDArray[np.int32], lengths: NDArray[np.int32], longest_top: int, longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """int64[longest + 1] of characters of the most frequent n-gram up to `longest_top`, the same
    of all repeated n-grams beyond it, and the characters of all words."""
    top = np.zeros(longest + 1, np.int64)
    duplicate = np.zeros(longest + 1, np.int64)
    counts = np.zeros(ids.size, np.int32)
    characters = 0
    for i in range(ids.size):
        counts[ids[i]] += 1
        characters += int(lengths[i])
    # Number of the repeated n-gram that begins at each position, or -1; one more as a guard.
    grams = np.full(ids.size + 1, -1, np.int32)
    places = np.empty(ids.size, np.int32)  # where a repeated n-gram begins
    num_places = 0
    for i in range(ids.size):
        if counts[ids[i]] > 1:
            grams[i] = ids[i]
            places[num_places] = i
            num_places += 1
    bits = _table_bits(num_places)
    keys, numbers = np.empty(1 << bits, np.uint64), np.empty(1 << bits, np.int32)
    for n in range(2, longest + 1):
        num_places, best, start = _lengthen(places, num_places, grams, counts, keys, numbers)
        if num_places == 0:
            break
        if n <= longest_top:
            top[n] = lengths[start : start + n].sum() * best
        else:
            duplicate[n] = _covered(places, num_places, lengths, n)
    return top, duplicate, characters


@compiled
def _table_bits(entries: int) -> int:
    """The logarithm of the table's size, which `entries` fill to at most three quarters."""
    bits = 4
    while (3 << bits) < entries * 4:
        bits += 1
    return bits


@compiled
def _lengthen(
    places: NDArray[np.int32],
    num_places: int,
    grams: NDArray[np.int32],
    counts: NDArray[np.int32],
    keys: NDArray[np.uint64],
    numbers: NDArray[np.int32],
) -> tuple[int, int, int]:
    """From (n-1)-grams to n-grams: changes `grams` and `counts`, keeps the `places` that repeat.

    `keys` maps a hash to the pair of (n-1)-grams that is there, `numbers` to the n-gram's number.

    Returns:
      How many places are left, how often the most frequent n-gram occurs, where it first does.
    """
    bits = _table_bits(num_places)
    shift = np.uint64(64 - bits)
    mask = np.uint64((1 << bits) - 1)
    numbers[: 1 << bits] = -1
    distinct = 0
    for k in range(num_places):
        i = places[k]
        # Places rise, so the one behind still has its (n-1)-gram.
        left, right = grams[i], grams[i + 1]
        if right < 0:
            grams[i] = -1
            continue
        key = (np.uint64(left) << np.uint64(32)) | np.uint64(right)
        slot = (key * _MIX) >> shift
        while numbers[slot] >= 0 and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if numbers[slot] < 0:
            numbers[slot], keys[slot] = distinct, key
            counts[distinct] = 0
            distinct += 1
        grams[i] = numbers[slot]
        counts[numbers[slot]] += 1
    repeated = best = start = 0
    for k in range(num_places):
        i = places[k]
        if grams[i] < 0:
            continue
        count = counts[grams[i]]
        if count > 1:
            if count > best:
                best, start = count, i
            places[repeated] = i
            repeated += 1
        else:
            grams[i] = -1
    return repeated, best, start


@compiled
def _covered(places: NDArray[np.int32], num_places: int, lengths: NDArray[np.int32], n: int) -> int:
    """Characters of the words in `[place, place + n)` of any place, each word once."""
    characters = 0
    end = 0
    for k in range(num_places):
        for i in range(max(end, places[k]), places[k] + n):
            characters += lengths[i]
        end = places[k] + n
    return characters
