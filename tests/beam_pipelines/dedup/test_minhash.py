import numpy as np
import pytest
from numpy.typing import NDArray

from beam_pipelines.dedup.minhash import Banding, band_keys, permutations
from opencoder_jax.errors import InputError


def random_set(rng: np.random.Generator, size: int) -> NDArray[np.uint64]:
    return np.unique(rng.integers(0, 2**64, size, dtype=np.uint64))


def pair_of_similarity(
    rng: np.random.Generator, similarity: float, size: int = 400
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two sets of `size` elements that share so many that their Jaccard is `similarity`."""
    common = round(2 * size * similarity / (1 + similarity))
    pool = random_set(rng, 2 * size)
    rng.shuffle(pool)
    a, b = pool[:size], np.concatenate([pool[:common], pool[size : 2 * size - common]])
    return np.sort(a), np.sort(b)


def reference_signature(shingles: NDArray[np.uint64], banding: Banding) -> NDArray[np.uint32]:
    """uint32[bands, rows]: each permutation's minimum, one at a time."""
    hashes = (shingles >> np.uint64(32)).astype(np.uint32)
    multipliers, offsets = permutations(banding)
    return np.array(
        [
            [(hashes * a + b).min() for a, b in zip(*band, strict=True)]
            for band in zip(multipliers, offsets, strict=True)
        ]
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 1000])
def test_keys_agree_exactly_where_all_minima_of_the_band_agree(size: int) -> None:
    rng = np.random.default_rng(size)
    banding = Banding(bands=40, rows=3)
    a = random_set(rng, size)
    b = np.sort(np.concatenate([a[: size // 2 + 1], random_set(rng, size // 2)]))
    same_minima = (reference_signature(a, banding) == reference_signature(b, banding)).all(axis=1)
    assert np.array_equal(band_keys(a, banding) == band_keys(b, banding), same_minima)


def test_keys_depend_on_the_set_only() -> None:
    shingles = random_set(np.random.default_rng(0), 77)
    assert np.array_equal(
        band_keys(shingles, Banding()), band_keys(shingles[::-1].copy(), Banding())
    )


def test_a_single_shingle_gives_no_two_bands_the_same_key() -> None:
    keys = band_keys(random_set(np.random.default_rng(1), 1), Banding())
    assert np.unique(keys).size == 16


def test_minima_agree_as_often_as_the_sets_are_similar() -> None:
    """With one row a band, the share of equal keys estimates Jaccard (error 1/sqrt(2048))."""
    rng = np.random.default_rng(2)
    banding = Banding(bands=2048, rows=1)
    for similarity in (0.2, 0.5, 0.8, 0.95):
        estimates = [
            np.mean(band_keys(a, banding) == band_keys(b, banding))
            for a, b in (pair_of_similarity(rng, similarity) for _ in range(10))
        ]
        assert np.mean(estimates) == pytest.approx(similarity, abs=0.015)


def test_pairs_meet_in_a_band_as_often_as_theory_says() -> None:
    """P(meet) = 1 - (1 - J^rows)^bands, which is what makes 16 × 128 a threshold of 0.979."""
    rng = np.random.default_rng(3)
    banding = Banding()
    for size, similarity in ((3000, 0.9), (3000, 0.98), (3000, 0.99)):
        pairs = [pair_of_similarity(rng, similarity, size) for _ in range(40)]
        met = np.mean([np.any(band_keys(a, banding) == band_keys(b, banding)) for a, b in pairs])
        theory = 1 - (1 - similarity**banding.rows) ** banding.bands
        assert met == pytest.approx(theory, abs=0.2)
    assert banding.threshold == pytest.approx(0.9786, abs=1e-4)


def test_the_empty_set_has_no_keys() -> None:
    assert band_keys(np.empty(0, np.uint64), Banding()).size == 0


def test_keys_are_the_same_in_every_process() -> None:
    keys = band_keys(np.arange(1, 9, dtype=np.uint64) << np.uint64(40), Banding(2, 4))
    assert keys.tolist() == [7092158981552506322, 14222399679180791396]


def test_a_banding_without_bands_or_rows_is_refused() -> None:
    with pytest.raises(InputError, match="0 bands of 128 rows"):
        Banding(bands=0)
