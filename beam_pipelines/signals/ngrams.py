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
_LONGEST = max(DUPLICATE_LENGTHS)
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
    top = np.zeros(_LONGEST + 1, np.int64)
    duplicate = np.zeros(_LONGEST + 1, np.int64)
    _count(ids, lengths, _LONGEST, top, duplicate)
    total = max(1, int(lengths.sum()))
    return NgramShares(
        top={n: int(top[n]) / total for n in TOP_LENGTHS},
        duplicate={n: int(duplicate[n]) / total for n in DUPLICATE_LENGTHS},
    )


@compiled
def _count(
    ids: NDArray[np.int32],
    lengths: NDArray[np.int32],
    longest: int,
    top: NDArray[np.int64],
    duplicate: NDArray[np.int64],
) -> None:
    """Writes characters of the most frequent and of all repeated n-grams, for n up to `longest`."""
    counts = np.zeros(ids.size, np.int32)
    for i in range(ids.size):
        counts[ids[i]] += 1
    # Number of the repeated n-gram that begins at each position, or -1; one more as a guard.
    grams = np.full(ids.size + 1, -1, np.int32)
    longer = np.full(ids.size + 1, -1, np.int32)
    places = np.empty(ids.size, np.int32)  # where a repeated n-gram begins
    num_places = 0
    for i in range(ids.size):
        if counts[ids[i]] > 1:
            grams[i] = ids[i]
            places[num_places] = i
            num_places += 1
    table = np.empty(_table_size(num_places), np.int32)
    for n in range(2, longest + 1):
        num_places = _lengthen(places, num_places, grams, longer, counts, table)
        if num_places == 0:
            return
        grams, longer = longer, grams
        top[n] = _most_frequent(places, num_places, grams, counts, lengths, n)
        duplicate[n] = _covered(places, num_places, lengths, n)


@compiled
def _table_size(entries: int) -> int:
    """The power of two that `entries` fill to at most three quarters."""
    size = 16
    while size * 3 < entries * 4:
        size *= 2
    return size


@compiled
def _lengthen(
    places: NDArray[np.int32],
    num_places: int,
    grams: NDArray[np.int32],
    longer: NDArray[np.int32],
    counts: NDArray[np.int32],
    table: NDArray[np.int32],
) -> int:
    """From (n-1)-grams to n-grams: fills `longer` and `counts`, keeps the `places` that repeat.

    `table` maps a hash to the place where the n-gram was first met. `longer` holds -1 alone
    at the beginning, `grams` at the end.
    """
    size = _table_size(num_places)
    mask = np.uint64(size - 1)
    table[:size] = -1
    distinct = 0
    for k in range(num_places):
        i = places[k]
        left, right = grams[i], grams[i + 1]
        if right < 0:
            continue
        key = (np.uint64(left) << np.uint64(32)) | np.uint64(right)
        slot = (((key * _MIX) ^ (key >> np.uint64(29))) * _MIX >> np.uint64(32)) & mask
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = i
                longer[i] = distinct
                counts[distinct] = 1
                distinct += 1
                break
            if grams[other] == left and grams[other + 1] == right:
                longer[i] = longer[other]
                counts[longer[i]] += 1
                break
            slot = (slot + np.uint64(1)) & mask
    repeated = 0
    for k in range(num_places):
        i = places[k]
        grams[i] = -1  # It becomes the empty buffer of the next length.
        if longer[i] >= 0 and counts[longer[i]] > 1:
            places[repeated] = i
            repeated += 1
        else:
            longer[i] = -1
    return repeated


@compiled
def _most_frequent(
    places: NDArray[np.int32],
    num_places: int,
    grams: NDArray[np.int32],
    counts: NDArray[np.int32],
    lengths: NDArray[np.int32],
    n: int,
) -> int:
    """Characters of the most frequent n-gram, the earliest one of several, times its count."""
    best = 0
    start = 0
    for k in range(num_places):
        count = counts[grams[places[k]]]
        if count > best:
            best, start = count, places[k]
    return lengths[start : start + n].sum() * best


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
