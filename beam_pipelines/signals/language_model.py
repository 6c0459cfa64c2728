"""fastText's language identification model, read from its file and applied by a compiled pass.

The library looks every n-gram of characters up in a hash map and unpacks its vector each
time: 5 MB/s. Here the vectors are unpacked once and the n-grams are looked up in an array,
which gives the same sums in the same order, ten times as fast. The format and the order of
steps are those of fastText 0.9 (`dictionary.cc`, `quantmatrix.cc`, `loss.cc`); only what
lid.176.ftz needs is here, and another kind of model is an error. A test compares the
labels with the library's. Next: `human_language`.
"""

import struct
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from opencoder_jax.errors import InputError

_MAGIC, _VERSION = 793712314, 12
_HIERARCHICAL_SOFTMAX, _SUPERVISED = 1, 3
_BUCKETS = 2_000_000  # a constant, so that the remainder is compiled without a division
_SHORTEST, _LONGEST = 2, 4  # characters of an n-gram
_CENTROIDS = 256
_HASH_SEED, _HASH_PRIME = np.uint32(2166136261), np.uint32(16777619)  # FNV-1a, 32 bit
_END_OF_LINE = b"</s>"
_LABEL = b"__label__"
_ABSENT = np.uint16(0xFFFF)
# Bytes between words.
_SEPARATES = np.zeros(256, np.uint8)
_SEPARATES[list(b" \n\r\t\v\f\0")] = 1
# n-grams also see where a word begins and ends.
_BEFORE, _BEHIND = np.uint8(ord("<")), np.uint8(ord(">"))


class LanguageModel(NamedTuple):
    """A model ready for `label`.

    Attributes:
      labels: names of the languages.
      vectors: float32[rows, D], of words first, then of n-grams.
      row_of_bucket: uint16[buckets], which n-gram's row, counted from the first one; `_ABSENT`.
      words: uint8[bytes], the words one behind the other.
      word_ends: int32[words + 1], where each ends; the first entry is 0.
      word_table: int16[slots], open addressing from a word's hash to its number; -1.
      outputs: float32[labels - 1, D], of the inner nodes of the tree of labels.
      children: int16[labels - 1, 2], each inner node's; below the number of labels a label.
    """

    labels: tuple[str, ...]
    vectors: NDArray[np.float32]
    row_of_bucket: NDArray[np.uint16]
    words: NDArray[np.uint8]
    word_ends: NDArray[np.int32]
    word_table: NDArray[np.int16]
    outputs: NDArray[np.float32]
    children: NDArray[np.int16]

    def label(self, line: str) -> str:
        """The most likely label.

        Args:
          line: without newlines, in lower case; what comes behind one is not read.

        Raises:
          UnicodeEncodeError: it holds half of a surrogate pair.
        """
        data = np.frombuffer(line.encode(), np.uint8)
        best = _most_likely(
            data,
            _SEPARATES,
            self.vectors,
            self.row_of_bucket,
            self.words,
            self.word_ends,
            self.word_table,
            self.outputs,
            self.children,
        )
        return self.labels[best]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a quantized model.

        Raises:
          InputError: the file holds none, or one of another kind than lid.176.ftz.
        """
        reader = _Reader(path.read_bytes())
        magic, version, dim, *_, ngrams, loss, kind, buckets, shortest, longest, _, _ = reader.read(
            "<14id"
        )
        found = (magic, version, ngrams, loss, kind, buckets, shortest, longest)
        expected = (_MAGIC, _VERSION, 1, _HIERARCHICAL_SOFTMAX, _SUPERVISED, _BUCKETS)
        if found != (*expected, _SHORTEST, _LONGEST):
            raise InputError(f"{path} is no model of the kind of lid.176.ftz: it begins {found}")
        size, num_words, _, _, num_pruned = reader.read("<3i2q")
        entries = [reader.entry() for _ in range(size)]
        row_of_bucket = np.full(_BUCKETS, _ABSENT)
        pruned = reader.array(np.int32, 2 * num_pruned).reshape(-1, 2)
        row_of_bucket[pruned[:, 0]] = pruned[:, 1]
        words = [word for word, _ in entries[:num_words]]
        vectors = _vectors(reader, dim)
        (quantized,) = reader.read("<?")
        rows, columns = reader.read("<2q")
        if quantized or columns != dim:
            raise InputError(f"{path}: its output layer is not as that of lid.176.ftz")
        outputs = reader.array(np.float32, rows * columns).reshape(rows, columns)[:-1]
        return cls(
            tuple(label.removeprefix(_LABEL).decode() for label, _ in entries[num_words:]),
            vectors,
            row_of_bucket,
            np.frombuffer(b"".join(words), np.uint8),
            np.cumsum([0, *map(len, words)], dtype=np.int32),
            _word_table(words),
            outputs,
            _tree([count for _, count in entries[num_words:]]),
        )


class _Reader:
    """Numbers of a file, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, layout: str) -> tuple:
        values = struct.unpack_from(layout, self._data, self._position)
        self._position += struct.calcsize(layout)
        return values

    def array(self, dtype: type, count: int) -> NDArray:
        values: NDArray = np.frombuffer(self._data, dtype, count, self._position)
        self._position += values.nbytes
        return values

    def entry(self) -> tuple[bytes, int]:
        """A word or a label, and how often it was seen."""
        end = self._data.index(0, self._position)
        word = self._data[self._position : end]
        self._position = end + 1
        return word, self.read("<qb")[0]


def _vectors(reader: _Reader, dim: int) -> NDArray[np.float32]:
    """float32[rows, D]: the product of each row's norm and its centroids."""
    quantized, with_norms, rows, _, codes_size = reader.read("<??2qi")
    codes = reader.array(np.uint8, codes_size).reshape(rows, -1)
    centroids = _centroids(reader)
    if not quantized or not with_norms or centroids.shape[0] * centroids.shape[2] != dim:
        raise InputError("the language model's input layer is not as that of lid.176.ftz")
    norm_codes = reader.array(np.uint8, rows)
    norms = _centroids(reader)[0, norm_codes]
    parts = centroids[np.arange(centroids.shape[0]), codes]
    return parts.reshape(rows, dim) * norms


def _centroids(reader: _Reader) -> NDArray[np.float32]:
    """float32[parts, 256, numbers of a part]."""
    dim, parts, width, _ = reader.read("<4i")
    return reader.array(np.float32, dim * _CENTROIDS).reshape(parts, _CENTROIDS, width)


def _word_table(words: list[bytes]) -> NDArray[np.int16]:
    table = np.full(1 << (2 * len(words)).bit_length(), -1, np.int16)
    for number, word in enumerate(words):
        slot = int(_hash(np.frombuffer(word, np.uint8), 0, len(word))) & (table.size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (table.size - 1)
        table[slot] = number
    return table


def _tree(counts: list[int]) -> NDArray[np.int16]:
    """int16[labels - 1, 2]: the Huffman tree of labels, which come by falling count."""
    weights = [*counts, *[10**15] * (len(counts) - 1)]
    children = np.empty((len(counts) - 1, 2), np.int16)
    leaf, node = len(counts) - 1, len(counts)
    for inner in range(len(children)):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[inner, side] = leaf
                leaf -= 1
            else:
                children[inner, side] = node
                node += 1
        weights[len(counts) + inner] = sum(weights[child] for child in children[inner])
    return children


@compiled
def _most_likely(
    data: NDArray[np.uint8],
    separates: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    row_of_bucket: NDArray[np.uint16],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int32],
    word_table: NDArray[np.int16],
    outputs: NDArray[np.float32],
    children: NDArray[np.int16],
) -> int:
    dim = vectors.shape[1]
    hidden = np.zeros(dim, np.float32)
    first_ngram = word_ends.size - 1
    added = at = 0
    ended = False
    while at < data.size and not ended:
        if separates[data[at]]:
            at += 1
            continue
        end = at + 1
        while end < data.size and not separates[data[end]]:
            end += 1
        word = _find(data, at, end, words, word_ends, word_table)
        ended = word == 0  # the end of a line, spelled out
        if word >= 0:
            for d in range(dim):
                hidden[d] += vectors[word, d]
            added += 1
        if not ended and not _is_label(data, at, end):
            added += _add_ngrams(data, at, end, vectors, row_of_bucket, first_ngram, hidden)
        at = end
    if not ended:
        for d in range(dim):
            hidden[d] += vectors[0, d]
        added += 1
    scale = np.float32(1.0 / added)
    for d in range(dim):
        hidden[d] *= scale
    # Parents stand behind their children, the root last.
    labels = children.shape[0] + 1
    scores = np.zeros(2 * labels - 1)
    for inner in range(labels - 2, -1, -1):
        product = np.float32(0)
        for d in range(dim):
            product += outputs[inner, d] * hidden[d]
        right = 1 / (1 + np.exp(-product))
        score = scores[labels + inner]
        scores[children[inner, 0]] = score + np.log(1 - right + 1e-5)
        scores[children[inner, 1]] = score + np.log(right + 1e-5)
    return int(np.argmax(scores[:labels]))


@compiled
def _add_ngrams(
    data: NDArray[np.uint8],
    start: int,
    end: int,
    vectors: NDArray[np.float32],
    row_of_bucket: NDArray[np.uint16],
    first_ngram: int,
    hidden: NDArray[np.float32],
) -> int:
    """Adds the vectors of the n-grams of `<word>`; returns how many."""
    added = 0
    for i in range(start - 1, end + 1):
        first = _BEFORE if i < start else _BEHIND if i == end else data[i]
        if first & 0xC0 == 0x80:  # inside a character
            continue
        hashed = _HASH_SEED
        length = 0
        j = i
        while j <= end and length < _LONGEST:
            byte = _BEFORE if j < start else _BEHIND if j == end else data[j]
            hashed = _hash_on(hashed, byte)
            j += 1
            while j < end and data[j] & 0xC0 == 0x80:
                hashed = _hash_on(hashed, data[j])
                j += 1
            length += 1
            if length >= _SHORTEST:
                row = row_of_bucket[hashed % np.uint32(_BUCKETS)]
                if row != _ABSENT:
                    for d in range(hidden.size):
                        hidden[d] += vectors[first_ngram + row, d]
                    added += 1
    return added


@compiled
def _find(
    data: NDArray[np.uint8],
    start: int,
    end: int,
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int32],
    word_table: NDArray[np.int16],
) -> int:
    """The number of a word that the model knows, else -1."""
    slot = np.int64(_hash(data, start, end)) & (word_table.size - 1)
    while word_table[slot] >= 0:
        word = word_table[slot]
        begin = word_ends[word]
        if word_ends[word + 1] - begin == end - start:
            same = True
            for i in range(end - start):
                same = same and data[start + i] == words[begin + i]
            if same:
                return word
        slot = (slot + 1) & (word_table.size - 1)
    return -1


@compiled
def _hash(data: NDArray[np.uint8], start: int, end: int) -> np.uint32:
    hashed = _HASH_SEED
    for i in range(start, end):
        hashed = _hash_on(hashed, data[i])
    return hashed


@compiled
def _hash_on(hashed: np.uint32, byte: np.uint8) -> np.uint32:
    """The hash with one byte more; fastText takes bytes with their sign."""
    return np.uint32((hashed ^ np.uint32(np.int8(byte))) * _HASH_PRIME)


@compiled
def _is_label(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether fastText would take the word for a label."""
    if end - start < len(_LABEL):
        return False
    for i in range(len(_LABEL)):  # noqa: SIM110 - Numba compiles no generators
        if data[start + i] != _LABEL[i]:
            return False
    return True
