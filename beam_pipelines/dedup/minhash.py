"""MinHash band keys: two texts that share one are candidates for near duplicates.

A permutation is `a·x mod 2^32` over the odd number made of the upper half of a shingle's
hash, with an odd a drawn by SHA-256 from the seed. The minima of `rows` permutations make
a band, and a 64-bit hash of them its key, so 2048 permutations in 16 bands (paper §2.1.1)
leave 128 bytes a document; the 8 KB signature goes nowhere.

`text_band_keys` is one compiled pass from the bytes of a text to its keys, a block of
shingles at a time, so its memory does not grow with the text. A minimum does not mind
repeats: nothing is sorted, and shingles seen a moment ago are skipped. `text_minima` and
`keys_of_minima` are its halves, for texts in several parts (`repository`).
`docs/dedup.md` has the figures, beside those of libraries. Next: `near`.
"""

import dataclasses
import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.dedup.shingles import scan_block, scan_state, utf8_bytes
from opencoder_jax.errors import InputError

_LARGEST = np.uint32(0xFFFFFFFF)
_KEY_PRIME = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 4096  # shingles: with a band's multipliers and minima they fit the first-level cache
_RECENT = 4096  # entries of the table of shingles seen last; a power of two


@dataclasses.dataclass(frozen=True)
class Banding:
    """How many bands of how many rows.

    Raises:
      InputError: one of them is below 1.
    """

    bands: int = 16
    rows: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bands < 1 or self.rows < 1:
            raise InputError(
                f"near deduplication with {self.bands} bands of {self.rows} rows: "
                "both have to be at least 1"
            )

    @property
    def threshold(self) -> float:
        """The Jaccard similarity at which a pair is as likely as not to share a band, about.

        (1/bands)^(1/rows), the steepest point of the S-curve; 0.979 for 16 × 128.
        """
        return (1 / self.bands) ** (1 / self.rows)


def text_band_keys(text: str, ngram: int, banding: Banding) -> NDArray[np.uint64]:
    """uint64[bands] of a text; uint64[0] where it has no word.

    The same as `band_keys(shingle_hashes(text, ngram), banding)`, without the set.
    """
    minima = text_minima(text, ngram, banding)
    return np.empty(0, np.uint64) if minima is None else keys_of_minima(minima)


def text_minima(text: str, ngram: int, banding: Banding) -> NDArray[np.uint32] | None:
    """uint32[bands, rows]: each permutation's minimum over the shingles of a text.

    The minima of a union of texts are the smaller ones of each pair. None for a text
    without a word.
    """
    minima = _no_minima(banding)
    found = _fold_text(utf8_bytes(text), scan_state(ngram), multipliers(banding), minima)
    return minima if found else None


def band_keys(shingles: NDArray[np.uint64], banding: Banding) -> NDArray[np.uint64]:
    """uint64[bands] of a set of shingles; uint64[0] for the empty set.

    Equal sets have equal keys. The band's index is part of its key, so keys of different
    bands do not meet.
    """
    if not shingles.size:
        return np.empty(0, np.uint64)
    minima = _no_minima(banding)
    hashes = (shingles >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    _fold(hashes, hashes.size, multipliers(banding), minima)
    return keys_of_minima(minima)


def keys_of_minima(minima: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """uint64[bands]: a hash of each band's row of minima."""
    keys = np.empty(minima.shape[0], np.uint64)
    _hash_bands(minima, keys)
    return keys


@functools.lru_cache(maxsize=8)
def multipliers(banding: Banding) -> NDArray[np.uint32]:
    """uint32[bands, rows], all odd."""
    drawn = np.empty(banding.bands * banding.rows, np.uint32)
    for i in range(drawn.size):
        digest = hashlib.sha256(f"minhash {banding.seed} {i}".encode()).digest()
        drawn[i] = np.frombuffer(digest[:4], "<u4")[0]
    return drawn.reshape(banding.bands, banding.rows) | np.uint32(1)


def _no_minima(banding: Banding) -> NDArray[np.uint32]:
    return np.full((banding.bands, banding.rows), _LARGEST)


@compiled
def _fold_text(
    data: NDArray[np.uint8],
    state: NDArray[np.uint64],
    factors: NDArray[np.uint32],
    minima: NDArray[np.uint32],
) -> int:
    """Folds the shingles of UTF-8 text into `minima`; returns how many there were."""
    shingles = np.empty(_BLOCK, np.uint64)
    hashes = np.empty(_BLOCK, np.uint32)
    recent = np.zeros(_RECENT, np.uint32)  # no hash is 0: they are odd
    found = at = 0
    while at <= data.size:
        at, count = scan_block(data, at, state, shingles)
        found += count
        fresh = 0
        for i in range(count):
            x = np.uint32(shingles[i] >> np.uint64(32)) | np.uint32(1)
            place = shingles[i] & np.uint64(_RECENT - 1)
            if recent[place] != x:
                recent[place] = x
                hashes[fresh] = x
                fresh += 1
        _fold(hashes, fresh, factors, minima)
    return found


@compiled
def _fold(
    hashes: NDArray[np.uint32],
    count: int,
    factors: NDArray[np.uint32],
    minima: NDArray[np.uint32],
) -> None:
    """Lowers `minima` to what the first `count` hashes give.

    Rows are the inner loop, eight hashes at a time: LLVM turns it into the widest vectors
    that the processor has (64 bytes with AVX-512), for short texts as for long ones. Only
    integers modulo 2^32: every width gives the same.
    """
    bands, rows = factors.shape
    eights = count // 8 * 8
    for band in range(bands):
        a = factors[band]
        low = minima[band]
        for i in range(0, eights, 8):
            x0, x1, x2, x3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
            x4, x5, x6, x7 = hashes[i + 4], hashes[i + 5], hashes[i + 6], hashes[i + 7]
            for r in range(rows):
                m01 = min(np.uint32(a[r] * x0), np.uint32(a[r] * x1))
                m23 = min(np.uint32(a[r] * x2), np.uint32(a[r] * x3))
                m45 = min(np.uint32(a[r] * x4), np.uint32(a[r] * x5))
                m67 = min(np.uint32(a[r] * x6), np.uint32(a[r] * x7))
                low[r] = min(low[r], min(min(m01, m23), min(m45, m67)))
        for i in range(eights, count):
            x = hashes[i]
            for r in range(rows):
                low[r] = min(low[r], np.uint32(a[r] * x))


@compiled
def _hash_bands(minima: NDArray[np.uint32], keys: NDArray[np.uint64]) -> None:
    for band in range(minima.shape[0]):
        key = np.uint64(band + 1)
        for r in range(minima.shape[1]):
            key = (key ^ np.uint64(minima[band, r])) * _KEY_PRIME
            key ^= key >> np.uint64(29)
        keys[band] = key
