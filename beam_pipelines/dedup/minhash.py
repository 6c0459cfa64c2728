"""MinHash band keys: two texts that share one are candidates for near duplicates.

A permutation is `a·x + b mod 2^32` over the upper half of a shingle's hash, with a and b
drawn by SHA-256 from the seed. The minima of `rows` permutations make a band, and a
64-bit hash of them its key, so 2048 permutations in 16 bands (paper §2.1.1) leave 128
bytes a document; the 8 KB signature exists nowhere. Signature and keys are one compiled
pass: libraries hand their signatures out as Python integers, which costs more than the
hashing itself (`docs/dedup.md`). Next: `near`.
"""

import dataclasses
import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from opencoder_jax.errors import InputError

_LARGEST = np.uint32(0xFFFFFFFF)
_KEY_PRIME = np.uint64(0x9E3779B97F4A7C15)


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


def band_keys(shingles: NDArray[np.uint64], banding: Banding) -> NDArray[np.uint64]:
    """uint64[bands] of a set of shingles; uint64[0] for the empty set.

    Equal sets have equal keys. The band's index is part of its key, so keys of different
    bands do not meet.
    """
    if not shingles.size:
        return np.empty(0, np.uint64)
    keys = np.empty(banding.bands, np.uint64)
    multipliers, offsets = permutations(banding)
    _band_keys((shingles >> np.uint64(32)).astype(np.uint32), multipliers, offsets, keys)
    return keys


@functools.lru_cache(maxsize=8)
def permutations(banding: Banding) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Multipliers (odd) and offsets, each uint32[bands, rows]."""
    drawn = np.empty((2, banding.bands * banding.rows), np.uint32)
    for i in range(drawn.shape[1]):
        digest = hashlib.sha256(f"minhash {banding.seed} {i}".encode()).digest()
        drawn[:, i] = np.frombuffer(digest[:8], "<u4")
    multipliers, offsets = drawn.reshape(2, banding.bands, banding.rows)
    return multipliers | np.uint32(1), offsets.copy()


@compiled
def _band_keys(
    hashes: NDArray[np.uint32],
    multipliers: NDArray[np.uint32],
    offsets: NDArray[np.uint32],
    keys: NDArray[np.uint64],
) -> None:
    """Minima of each band, folded into its key.

    Rows are the inner loop, four shingles at a time: a band's 128 minima stay in the
    first-level cache and LLVM vectorises over them, for short texts as for long ones.
    """
    bands, rows = multipliers.shape
    minima = np.empty(rows, np.uint32)
    fours = hashes.size // 4 * 4
    for band in range(bands):
        a = multipliers[band]
        b = offsets[band]
        minima[:] = _LARGEST
        for i in range(0, fours, 4):
            x0, x1, x2, x3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
            for r in range(rows):
                low = min(np.uint32(a[r] * x0 + b[r]), np.uint32(a[r] * x1 + b[r]))
                high = min(np.uint32(a[r] * x2 + b[r]), np.uint32(a[r] * x3 + b[r]))
                minima[r] = min(minima[r], min(low, high))
        for i in range(fours, hashes.size):
            x = hashes[i]
            for r in range(rows):
                minima[r] = min(minima[r], np.uint32(a[r] * x + b[r]))
        key = np.uint64(band + 1)
        for r in range(rows):
            key = (key ^ np.uint64(minima[r])) * _KEY_PRIME
            key ^= key >> np.uint64(29)
        keys[band] = key
