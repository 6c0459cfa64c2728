"""Shares of the most frequent and of the repeated n-grams of words.

An n-gram can only occur twice if both (n-1)-grams in it do, so each length looks only
at the positions that the shorter one left over: exact, and little work for text that
hardly repeats itself.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TOP_LENGTHS = (2, 3, 4)
DUPLICATE_LENGTHS = (5, 6, 7, 8, 9, 10)


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


def word_ids(words: Sequence[str]) -> NDArray[np.int64]:
    """int64[len(words)]: equal words have equal numbers, in order of first occurrence."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))


def ngram_shares(ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NgramShares:
    """N-gram statistics of a text.

    Args:
      ids: int64[N], which word stands at each position.
      lengths: int64[N], characters of that word.
    """
    total = int(lengths.sum())
    top = dict.fromkeys(TOP_LENGTHS, 0.0)
    duplicate = dict.fromkeys(DUPLICATE_LENGTHS, 0.0)
    if not len(ids):
        return NgramShares(top, duplicate)
    # Per position of the text: the number of the repeated n-gram that begins there, or -1.
    grams, count_of = _repeated(np.arange(len(ids)), ids, len(ids))
    until = np.concatenate(([0], np.cumsum(lengths)))
    for n in range(2, max(DUPLICATE_LENGTHS) + 1):
        positions = np.flatnonzero((grams[:-1] >= 0) & (grams[1:] >= 0))
        if not len(positions):
            break
        pairs = grams[positions] * len(count_of) + grams[positions + 1]
        grams, count_of = _repeated(positions, pairs, len(ids))
        starts = np.flatnonzero(grams >= 0)
        if not len(starts):
            break
        if n in top:
            counts = count_of[grams[starts]]
            first = starts[np.argmax(counts)]
            characters = until[first + n] - until[first]
            top[n] = float(characters * counts.max() / total)
        if n in duplicate:
            covered = _covered(starts, n, len(ids))
            duplicate[n] = float(lengths[covered].sum() / total)
    return NgramShares(top, duplicate)


def _repeated(
    positions: NDArray[np.int64], keys: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(int64[size], int64[keys]): the number of the key at each position, -1 where the key
    occurs once or the position is none of `positions`; and each number's count."""
    # np.unique's inverse, without its checks: most documents are so short that they count.
    order = np.argsort(keys)
    ordered = keys[order]
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(np.concatenate(([0], ordered[1:] != ordered[:-1])))
    counts = np.bincount(numbers)
    grams = np.full(size, -1, np.int64)
    grams[positions] = np.where(counts[numbers] > 1, numbers, -1)
    return grams, counts


def _covered(starts: NDArray[np.int64], n: int, size: int) -> NDArray[np.bool_]:
    """bool[size]: the positions in `[start, start + n)` of any start."""
    edges = np.zeros(size + 1, np.int64)
    edges[starts] += 1
    edges[starts + n] -= 1
    return np.cumsum(edges[:-1]) > 0
