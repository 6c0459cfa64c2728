"""The rule of `opencoder_jax/evaluation/contamination.py`, compiled: for corpora, not for sets.

One pass over the characters of a lower-cased text hashes each word, rolls the hash over ten
of them and looks it up; a second table has the entry points, which are looked up for words that
open a bracket alone. What looks like a hit is then confirmed on the text itself, so that the
result is the reference's, `BenchmarkIndex`, hit for hit. No word becomes a Python object.
Next: `decontamination` is the transform, `benchmarks.decontamination` measures both.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from opencoder_jax.evaluation.contamination import (
    CALL,
    MOST_TEXTS,
    NGRAM_WORDS,
    TELLING_WORDS,
    Hit,
    Problem,
    ProblemTexts,
    by_language,
    common_texts,
    telling_names,
    words,
)

# Bits of a character's class.
_WORD, _SPACE, _BRACKET, _DOT, _LETTER = 1, 2, 4, 8, 16
_SEED = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit
_PRIME = np.uint64(0x100000001B3)
_ROLL_BASE = np.uint64(0x9E3779B97F4A7C15)
_LEAVING = np.uint64(pow(0x9E3779B97F4A7C15, NGRAM_WORDS, 1 << 64))
# One bit for each value of a hash's last bits: small enough for a core's cache, so that the
# table, which is not, is looked into for a few words in a hundred.
_FILTER_BITS = 23
_NONE = -1


class BenchmarkScan:
    """Finds what a text shares with benchmarks."""

    def __init__(self, benchmarks: Sequence[ProblemTexts]) -> None:
        hashes, owners, self._problems = _own_hashes(benchmarks)
        self._ngrams = _Table(hashes, owners)
        self._texts = {
            Problem(benchmark.name, i): text
            for benchmark in benchmarks
            for i, text in benchmark.texts
        }
        self._names = telling_names(benchmarks)
        lowered = sorted({name.lower() for name in self._names})
        named = np.array([_word_hash(name) for name in lowered], np.uint64)
        self._name_table = _Table(named, np.zeros(named.size, np.int32))
        self._ngrams_of = functools.lru_cache(maxsize=256)(self._problem_ngrams)

    def find(self, text: str) -> Hit | None:
        """The first shared 10-gram, else the first entry point, else None."""
        lowered = text.lower()
        codes, classes = _codes(lowered)
        start, name_at = 0, _NONE
        while True:
            begin, end, owner, found_name = _scan(
                codes, classes, start, *self._ngrams.arrays, *self._name_table.arrays
            )
            if name_at == _NONE:
                name_at = found_name
            if begin == _NONE:
                break
            ngram = " ".join(words(lowered[begin:end]))
            problem = self._problems[owner]
            if ngram in self._ngrams_of(problem):
                return Hit("benchmark_ngram", problem, ngram)
            # Two different 10-grams with one hash.
            start = int(begin) + 1
            while start < len(lowered) and classes[codes[start - 1]] & _WORD:
                start += 1
        if name_at == _NONE:
            return None
        # From the first word that looks like one, for case counts in names; from the beginning
        # where a letter became two, so that places are not the same.
        first = int(name_at) if len(lowered) == len(text) else 0
        for match in CALL.finditer(text, first):
            if match[1] in self._names:
                return Hit("benchmark_entry_point", self._names[match[1]], match[1])
        return None

    def _problem_ngrams(self, problem: Problem) -> frozenset[str]:
        found = words(self._texts[problem])
        starts = range(len(found) - NGRAM_WORDS + 1)
        return frozenset(" ".join(found[i : i + NGRAM_WORDS]) for i in starts)


class _Table:
    """Hashes with a number each, to be looked up by compiled code.

    Attributes:
      arrays: filter (uint64[]), keys (uint64[slots]), values (int32[slots], -1 where free).
    """

    def __init__(self, hashes: NDArray[np.uint64], values: NDArray[np.int32]) -> None:
        slots = 1 << max(4, int(hashes.size * 2).bit_length())
        keys = np.zeros(slots, np.uint64)
        numbers = np.full(slots, _NONE, np.int32)
        bits = np.zeros(1 << (_FILTER_BITS - 6), np.uint64)
        _fill(hashes, values, bits, keys, numbers)
        self.arrays = bits, keys, numbers


def _own_hashes(
    benchmarks: Sequence[ProblemTexts],
) -> tuple[NDArray[np.uint64], NDArray[np.int32], list[Problem]]:
    """Hash of each 10-gram of `own_ngrams`, and the place in a list of its first problem."""
    common = np.concatenate([_telling_hashes(text) for text in common_texts(benchmarks)])
    problems: list[Problem] = []
    hashes, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
    for benchmark in benchmarks:
        for texts in by_language(benchmark).values():
            of_texts = [np.unique(_telling_hashes(text)) for text in texts]
            first = len(problems)
            problems += [Problem(benchmark.name, ids[0]) for ids in texts.values()]
            if not of_texts:
                continue
            together = np.concatenate(of_texts)
            numbers = np.repeat(
                np.arange(first, first + len(of_texts), dtype=np.int32),
                [found.size for found in of_texts],
            )
            different, place, count = np.unique(together, return_index=True, return_counts=True)
            own = (count <= MOST_TEXTS) & ~np.isin(different, common)
            hashes.append(different[own])
            owners.append(numbers[place[own]])
    return np.concatenate(hashes), np.concatenate(owners), problems


def _telling_hashes(text: str) -> NDArray[np.uint64]:
    """uint64[10-grams with enough telling words], in the order of the text."""
    codes, classes = _codes(text.lower())
    found = np.empty(codes.size // 2 + 1, np.uint64)
    return found[: _hash_telling(codes, classes, found)]


def _word_hash(word: str) -> np.uint64:
    codes, _ = _codes(word)
    return _hash_word(codes)


def _codes(text: str) -> tuple[NDArray, NDArray[np.uint8]]:
    """The code points of a text and the table of their classes."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8), _ascii_classes()
    data = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, np.uint32), _classes()


@functools.cache
def _ascii_classes() -> NDArray[np.uint8]:
    return np.fromiter(_all_classes(256), np.uint8)


@functools.cache
def _classes() -> NDArray[np.uint8]:
    """uint8[every code point]; a third of a second, where there is anything but ASCII."""
    return np.fromiter(_all_classes(0x110000), np.uint8)


def _all_classes(count: int) -> Iterator[int]:
    for code in range(count):
        character = chr(code)
        # As the regular expressions of the reference have them.
        yield (
            _WORD * (character.isalnum() or character == "_")
            | _SPACE * character.isspace()
            | _BRACKET * (character == "(")
            | _DOT * (character == ".")
            | _LETTER * character.isalpha()
        )


@compiled
def _mix(value: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser: every input bit reaches every output bit."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@compiled
def _hash_word(codes: NDArray) -> np.uint64:
    word = _SEED
    for code in codes:
        word = (word ^ np.uint64(code)) * _PRIME
    return _mix(word)


@compiled
def _look_up(
    hashed: np.uint64,
    bits: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int32],
) -> np.int32:
    """The number of a hash, -1 where it is not there."""
    place = hashed & np.uint64((1 << _FILTER_BITS) - 1)
    if not (bits[place >> np.uint64(6)] >> (place & np.uint64(63))) & np.uint64(1):
        return np.int32(_NONE)
    mask = np.uint64(keys.size - 1)
    slot = (hashed >> np.uint64(20)) & mask
    while values[slot] != _NONE:
        if keys[slot] == hashed:
            return values[slot]
        slot = (slot + np.uint64(1)) & mask
    return np.int32(_NONE)


@compiled
def _fill(
    hashes: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    bits: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int32],
) -> None:
    """Puts hashes into a table; of equal ones the first stays."""
    mask = np.uint64(keys.size - 1)
    for i in range(hashes.size):
        hashed = hashes[i]
        place = hashed & np.uint64((1 << _FILTER_BITS) - 1)
        bits[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))
        slot = (hashed >> np.uint64(20)) & mask
        while values[slot] != _NONE and keys[slot] != hashed:
            slot = (slot + np.uint64(1)) & mask
        if values[slot] == _NONE:
            keys[slot] = hashed
            values[slot] = numbers[i]


@compiled
def _scan(
    codes: NDArray,
    classes: NDArray[np.uint8],
    start: int,
    bits: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int32],
    name_bits: NDArray[np.uint64],
    name_keys: NDArray[np.uint64],
    name_values: NDArray[np.int32],
) -> tuple[int, int, int, int]:
    """The first 10-gram from `start` that is in the table: begin, end, number; -1 for none.

    And where the first word stands that is called and may be an entry point; -1 for none. The
    words after a 10-gram that was found are not looked at.
    """
    window = np.zeros(NGRAM_WORDS, np.uint64)
    begins = np.zeros(NGRAM_WORDS, np.int64)
    rolled = np.uint64(0)
    slot = 0
    count = 0
    name_at = _NONE
    at = start
    size = codes.size
    while at < size:
        if not classes[codes[at]] & _WORD:
            at += 1
            continue
        begin = at
        word = _SEED
        while at < size and classes[codes[at]] & _WORD:
            word = (word ^ np.uint64(codes[at])) * _PRIME
            at += 1
        hashed = _mix(word)
        if name_at == _NONE and (begin == 0 or not classes[codes[begin - 1]] & _DOT):
            after = at
            while after < size and classes[codes[after]] & _SPACE:
                after += 1
            opens = after < size and classes[codes[after]] & _BRACKET
            if opens and _look_up(hashed, name_bits, name_keys, name_values) != _NONE:
                name_at = begin
        rolled = rolled * _ROLL_BASE - window[slot] * _LEAVING + hashed
        window[slot] = hashed
        begins[slot] = begin
        slot = slot + 1 if slot + 1 < NGRAM_WORDS else 0
        count += 1
        if count >= NGRAM_WORDS:
            number = _look_up(_mix(rolled), bits, keys, values)
            if number != _NONE:
                return begins[slot], at, number, name_at
    return _NONE, _NONE, _NONE, name_at


@compiled
def _hash_telling(codes: NDArray, classes: NDArray[np.uint8], found: NDArray[np.uint64]) -> int:
    """Writes the hashes of the 10-grams with enough telling words; returns how many."""
    window = np.zeros(NGRAM_WORDS, np.uint64)
    telling = np.zeros(NGRAM_WORDS, np.bool_)
    rolled = np.uint64(0)
    slot = 0
    count = 0
    written = 0
    at = 0
    while at < codes.size:
        if not classes[codes[at]] & _WORD:
            at += 1
            continue
        word = _SEED
        letters = 0
        while at < codes.size and classes[codes[at]] & _WORD:
            word = (word ^ np.uint64(codes[at])) * _PRIME
            letters += 1 if classes[codes[at]] & _LETTER else 0
            at += 1
        hashed = _mix(word)
        rolled = rolled * _ROLL_BASE - window[slot] * _LEAVING + hashed
        window[slot] = hashed
        telling[slot] = letters > 1
        slot = slot + 1 if slot + 1 < NGRAM_WORDS else 0
        count += 1
        if count < NGRAM_WORDS:
            continue
        different = 0
        for i in range(NGRAM_WORDS):
            new = telling[i]
            for j in range(i):
                new = new and window[j] != window[i]
            different += 1 if new else 0
        if different >= TELLING_WORDS:
            found[written] = _mix(rolled)
            written += 1
    return written
