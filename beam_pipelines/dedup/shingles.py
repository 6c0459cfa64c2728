"""Shingles: the set of word 5-grams that stands for a text in near deduplication.

A word is a maximal run of ASCII letters, digits, underscores and non-ASCII bytes of the
UTF-8 text; ASCII letters are lower-cased. Layout, punctuation and case thus do not count,
as in the usual `\\w+` shingling (the paper says "5-gram" and leaves the unit open). One
compiled pass over the bytes hashes each word and rolls the hash over n words; no word is
ever a Python object. `minhash` turns a set into band keys, `jaccard` compares two sets.
"""

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled

_TOKEN_SEED = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit
_TOKEN_PRIME = np.uint64(0x100000001B3)
_ROLL_BASE = np.uint64(0x9E3779B97F4A7C15)
# Places in the state of a scan.
_ROLLED, _WORD, _INSIDE, _WORDS, _WINDOW = range(5)


def _word_bytes() -> NDArray[np.uint8]:
    """uint8[256]: the lower-cased byte where it belongs to a word, else 0."""
    table = np.zeros(256, np.uint8)
    for byte in range(256):
        character = chr(byte)
        if byte >= 0x80 or character.isalnum() or character == "_":
            table[byte] = ord(character.lower()) if byte < 0x80 else byte
    return table


_WORD_BYTES = _word_bytes()


def shingle_hashes(text: str, ngram: int = 5) -> NDArray[np.uint64]:
    """The shingles of `text` as 64-bit hashes.

    A text of fewer than `ngram` words has one shingle, all of it; a text without any word
    has none and is a near duplicate of nothing.

    Returns:
      uint64[shingles], sorted, each once.
    """
    data = utf8_bytes(text)
    found = np.empty(data.size // 2 + 1, np.uint64)
    _, count = scan_block(data, 0, scan_state(ngram), found)
    found = found[:count]
    found.sort()
    return found[: _drop_repeats(found)].copy()


def word_ends(data: bytes) -> NDArray[np.int64]:
    """int64[words]: where each word of UTF-8 text ends, with what follows up to the next one."""
    inside = np.append(_WORD_BYTES[np.frombuffer(data, np.uint8)] != 0, False)
    starts = np.flatnonzero(inside & ~np.roll(inside, 1))
    return np.append(starts[1:], len(data)) if starts.size else starts


def utf8_bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def scan_state(ngram: int) -> NDArray[np.uint64]:
    """What `scan_block` remembers between blocks, at the beginning of a text."""
    state = np.zeros(_WINDOW + ngram, np.uint64)
    state[_WORD] = _TOKEN_SEED
    return state


def jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """|a ∩ b| / |a ∪ b| of two sorted sets; 0 where both are empty."""
    if not a.size or not b.size:
        return 0.0
    common = intersection_size(a, b)
    return common / (a.size + b.size - common)


@compiled
def _mix(value: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser: every input bit reaches every output bit."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@compiled
def scan_block(
    data: NDArray[np.uint8], start: int, state: NDArray[np.uint64], shingles: NDArray[np.uint64]
) -> tuple[int, int]:
    """Writes the hashes of n-grams of words into `shingles` until it is full.

    Returns:
      Where to go on, more than `data.size` after the last word; how many were written.
    """
    window = state[_WINDOW:]  # hashes of the last n words
    ngram = window.size
    leaving = np.uint64(1)  # weight of the word that leaves the window
    for _ in range(ngram):
        leaving *= _ROLL_BASE
    rolled, word = state[_ROLLED], state[_WORD]
    inside = state[_INSIDE] != 0
    words = np.int64(state[_WORDS])
    slot = words % ngram
    count = 0
    at = start
    while at <= data.size and count < shingles.size:
        byte = _WORD_BYTES[data[at]] if at < data.size else np.uint8(0)
        if byte:
            word = (word ^ np.uint64(byte)) * _TOKEN_PRIME
            inside = True
        elif inside:
            hashed = _mix(word)
            rolled = rolled * _ROLL_BASE - window[slot] * leaving + hashed
            window[slot] = hashed
            slot += 1
            if slot == ngram:
                slot = np.int64(0)
            words += 1
            if words >= ngram:
                shingles[count] = _mix(rolled)
                count += 1
            word = _TOKEN_SEED
            inside = False
        at += 1
    if at > data.size and 0 < words < ngram:
        shingles[count] = _mix(rolled)
        count += 1
    state[_ROLLED], state[_WORD] = rolled, word
    state[_INSIDE], state[_WORDS] = np.uint64(inside), np.uint64(words)
    return at, count


@compiled
def _drop_repeats(values: NDArray[np.uint64]) -> int:
    """Moves the distinct elements of a sorted array to its front; returns how many."""
    if values.size == 0:
        return 0
    count = 1
    for i in range(1, values.size):
        if values[i] != values[count - 1]:
            values[count] = values[i]
            count += 1
    return count


@compiled
def intersection_size(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int:
    """How many elements two sorted sets share."""
    i = j = common = 0
    while i < a.size and j < b.size:
        if a[i] == b[j]:
            common += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return common
