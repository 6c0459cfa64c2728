"""How different the instructions of made sets are, and a map of them.

Nothing is downloaded: an embedding is the TF-IDF of a question's words and pairs of words,
among those that most questions have, made shorter by a truncated SVD (latent semantic
analysis). It knows what questions are about, not what they mean. Cosines in it give neighbours,
k-means gives clusters with words as their names, two principal components give the map. All
of it is a function of the records alone: hash samples, seeds and signs are fixed.
Next: `made_sets_page` draws the map.
"""

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from opencoder_jax.report.made_sets import MadeSet

# A word, or a character of a script without spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:_[^\W_]+)*")
_TERMS = 4096
_DIMENSIONS = 64
# Of a question: documents are long, and questions are told by their beginning.
_WORDS = 400
# Of Jaccard similarity of words' 3-grams, as in the option that drops such questions.
NEAR = 0.7
_NEAR_NGRAM = 3
_NEIGHBOURS = 5
_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_NGRAMS = (1, 2, 3)
_SHOWN_CHARACTERS = 320
_CLUSTER_WORDS = 5

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """A question on the map, x and y in [0, 1].

    `set_number` and `cluster` count from 0; `kind` is what a reader may colour by.
    """

    x: float
    y: float
    set_number: int
    cluster: int
    language: str
    provenance: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """Questions with much in common: its commonest words, and how many of each set's sample."""

    words: tuple[str, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SetDiversity:
    """Figures of one set; all but the entropies are of its sample.

    Attributes:
      sampled: questions.
      words: that the shares of distinct n-grams are of, the same number for all sets.
      distinct: n to the different n-grams among all.
      neighbours: quantile to the cosine of a question to the nearest other one of its set.
      near: share of the questions that have a near-equal one in the sample.
      languages, provenance, clusters: how many equally large ones would be as mixed
        (two to the power of the entropy).
    """

    sampled: int
    words: int
    distinct: dict[int, float]
    neighbours: dict[float, float]
    near: float
    languages: float
    provenance: float
    clusters: float


@dataclasses.dataclass(frozen=True, slots=True)
class Diversity:
    """Of all sets of a page; `explained` is what the map shows of the embedding's variance."""

    sets: tuple[SetDiversity, ...]
    points: tuple[Point, ...]
    clusters: tuple[Cluster, ...]
    explained: float


def measure_diversity(sets: Sequence[MadeSet], map_points: int, clusters: int) -> Diversity:
    """Embeds the samples of all sets together.

    Args:
      sets: read with samples; may be empty ones.
      map_points: on the map, of all sets together; the same number of each.
      clusters: that k-means looks for.
    """
    words = [[_words(record.asked) for record in made.sample] for made in sets]
    numbers = np.array([n for n, texts in enumerate(words) for _ in texts], np.int64)
    everything = [text for texts in words for text in texts]
    terms, matrix = _tf_idf(everything)
    vectors = _shorter(matrix)
    centres, cluster = _k_means(vectors, clusters)
    flat, explained = _plane(vectors)
    common = min((sum(map(len, texts)) for texts in words if texts), default=0)
    figures = []
    for number, made in enumerate(sets):
        own = np.flatnonzero(numbers == number)
        similar = _neighbours(matrix[own])
        figures.append(
            SetDiversity(
                sampled=len(own),
                words=common,
                distinct=_distinct(words[number], common),
                neighbours=_quantiles(similar),
                near=_near_share(words[number], similar),
                languages=effective_number(count for _, count in made.languages),
                provenance=effective_number(count for _, count in made.provenance),
                clusters=effective_number(np.bincount(cluster[own]).tolist()),
            )
        )
    return Diversity(
        sets=tuple(figures),
        points=tuple(_points(sets, numbers, flat, cluster, map_points)),
        clusters=tuple(
            Cluster(
                words=_names(terms, matrix, cluster == place),
                counts=tuple(int(np.sum(numbers[cluster == place] == n)) for n in range(len(sets))),
            )
            for place in range(len(centres))
        ),
        explained=explained,
    )


def effective_number(counts: Iterable[int]) -> float:
    """Two to the power of the entropy: of n equal parts n, of one part 1, of nothing 0."""
    there = [count for count in counts if count]
    total = sum(there)
    return 2 ** -sum(c / total * math.log2(c / total) for c in there) if there else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())[:_WORDS]


def _tf_idf(texts: Sequence[list[str]]) -> tuple[list[str], Floats]:
    """The terms, and float32[texts, terms] with rows of length 1 (0 where no term occurs).

    A term that one question alone has says nothing of others, one that all have nothing either.
    """
    counted = [collections.Counter(_terms(words)) for words in texts]
    frequency: collections.Counter[str] = collections.Counter()
    for counts in counted:
        frequency.update(counts.keys())
    there = [(-n, term) for term, n in frequency.items() if n > 1]
    terms = [term for _, term in sorted(there)[:_TERMS]]
    place = {term: number for number, term in enumerate(terms)}
    matrix = np.zeros((len(texts), len(terms)), np.float32)
    for row, counts in enumerate(counted):
        for term, count in counts.items():
            column = place.get(term)
            if column is not None:
                rarity = math.log((1 + len(texts)) / (1 + frequency[term]))
                matrix[row, column] = (1 + math.log(count)) * (rarity + 0.01)
    return terms, _unit(matrix)


def _terms(words: list[str]) -> Iterator[str]:
    yield from words
    yield from (f"{a} {b}" for a, b in itertools.pairwise(words))


def _unit(matrix: Floats) -> Floats:
    lengths = np.sqrt((matrix * matrix).sum(axis=1, keepdims=True))
    return np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)


def _shorter(matrix: Floats) -> Floats:
    """float32[texts, <= _DIMENSIONS]: the truncated SVD by subspace iteration, rows of length 1."""
    rank = min(_DIMENSIONS, *matrix.shape)
    if rank == 0:
        return np.zeros((matrix.shape[0], 1), np.float32)
    random = np.random.default_rng(0)
    basis = random.standard_normal((matrix.shape[1], rank)).astype(np.float32)
    for _ in range(6):
        basis, _ = np.linalg.qr(matrix.T @ (matrix @ basis))
    left, sizes, _ = np.linalg.svd(matrix @ basis, full_matrices=False)
    return _unit(_signed(left) * sizes)


def _signed(left: Floats) -> Floats:
    """Columns whose largest part is positive: an SVD leaves their signs open."""
    largest = np.argmax(np.abs(left), axis=0)
    signs = np.where(left[largest, np.arange(left.shape[1])] < 0, -1, 1)
    return left * signs.astype(np.float32)


def _plane(vectors: Floats) -> tuple[Floats, float]:
    """float32[texts, 2] of the principal components, and their share of the variance."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32), 0.0
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    flat = (_signed(left) * sizes)[:, :2]
    total = float((sizes**2).sum())
    explained = float((sizes[:2] ** 2).sum()) / total if total else 0.0
    if flat.shape[1] < 2:
        flat = np.hstack([flat, np.zeros_like(flat)])
    return flat, explained


def _k_means(vectors: Floats, clusters: int) -> tuple[Floats, NDArray[np.int64]]:
    """Centres and the nearest one of each row; begins far apart, so without chance."""
    clusters = min(clusters, len(np.unique(np.round(vectors, 4), axis=0)))
    if not clusters:
        return np.zeros((0, vectors.shape[1]), np.float32), np.zeros(0, np.int64)
    chosen = [int(np.argmax(vectors @ vectors.mean(axis=0)))]
    while len(chosen) < clusters:
        chosen.append(int(np.argmin((vectors @ vectors[chosen].T).max(axis=1))))
    centres = vectors[chosen]
    nearest = np.argmax(vectors @ centres.T, axis=1)
    for _ in range(50):
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, vectors)
        centres = _unit(sums)
        again = np.argmax(vectors @ centres.T, axis=1)
        if (again == nearest).all():
            break
        nearest = again
    there = np.unique(nearest)
    order = there[np.argsort(-np.bincount(nearest)[there], kind="stable")]
    place = {int(old): new for new, old in enumerate(order)}
    return centres[order], np.array([place[int(n)] for n in nearest], np.int64)


def _neighbours(matrix: Floats) -> list[list[tuple[float, int]]]:
    """For each row its nearest others, (cosine, row), nearest first."""
    found: list[list[tuple[float, int]]] = []
    for start in range(0, len(matrix), 512):
        cosines = matrix[start : start + 512] @ matrix.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -1
        count = min(_NEIGHBOURS, len(matrix) - 1)
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        found += [
            [(float(cosines[row, other]), int(other)) for other in nearest[row]] for row in rows
        ]
    return found


def _quantiles(similar: Sequence[Sequence[tuple[float, int]]]) -> dict[float, float]:
    nearest = [others[0][0] for others in similar if others]
    if not nearest:
        return {}
    return {q: min(max(float(np.quantile(nearest, q)), 0.0), 1.0) for q in _QUANTILES}


def _near_share(
    words: Sequence[list[str]], similar: Sequence[Sequence[tuple[float, int]]]
) -> float:
    """Share of the texts of which one of the nearest others is a near duplicate."""
    if not words:
        return 0.0
    grams = [set(_ngrams(text, _NEAR_NGRAM)) or {tuple(text)} for text in words]
    near = sum(
        any(
            words[row] and len(grams[row] & grams[o]) >= NEAR * len(grams[row] | grams[o])
            for _, o in others
        )
        for row, others in enumerate(similar)
    )
    return near / len(words)


def _distinct(texts: Sequence[list[str]], words: int) -> dict[int, float]:
    """Share of different n-grams among those of the first `words` words, texts kept apart."""
    shares = {}
    for n in _NGRAMS:
        seen: set[tuple[str, ...]] = set()
        total, left = 0, words
        for text in texts:
            part = text[: max(left, 0)]
            left -= len(part)
            for gram in _ngrams(part, n):
                seen.add(gram)
                total += 1
        shares[n] = len(seen) / total if total else 0.0
    return shares


def _ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[k:] for k in range(n)), strict=False)


def _names(terms: Sequence[str], matrix: Floats, members: NDArray[np.bool_]) -> tuple[str, ...]:
    """The terms that tell a cluster's questions from the others, words alone first told once."""
    if not terms or not members.any():
        return ()
    others = matrix[~members].mean(axis=0) if (~members).any() else 0
    weight = matrix[members].mean(axis=0) - others
    names: list[str] = []
    for place in np.argsort(-weight, kind="stable"):
        term = terms[int(place)]
        if weight[place] <= 0 or len(names) == _CLUSTER_WORDS:
            break
        if len(term) > 2 and not any(set(term.split()) & set(name.split()) for name in names):
            names.append(term)
    return tuple(names)


def _points(
    sets: Sequence[MadeSet],
    numbers: NDArray[np.int64],
    flat: Floats,
    cluster: NDArray[np.int64],
    map_points: int,
) -> Iterator[Point]:
    if not len(flat):
        return
    low, high = flat.min(axis=0), flat.max(axis=0)
    scaled = (flat - low) / np.where(high > low, high - low, 1)
    each = max(1, map_points // max(1, len(sets)))
    row = 0
    for number, made in enumerate(sets):
        for place, record in enumerate(made.sample):
            if place < each:
                yield Point(
                    x=round(float(scaled[row, 0]), 3),
                    y=round(float(scaled[row, 1]), 3),
                    set_number=number,
                    cluster=int(cluster[row]),
                    language=record.language,
                    provenance=record.provenance,
                    text=" ".join(record.asked.split())[:_SHOWN_CHARACTERS],
                )
            row += 1
