import numpy as np
import pytest
from numpy.typing import NDArray

from beam_pipelines.dedup.minhash import (
    Banding,
    band_keys,
    keys_of_minima,
    multipliers,
    text_band_keys,
    text_minima,
)
from beam_pipelines.dedup.shingles import shingle_hashes
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
    hashes = (shingles >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    return np.array([[(hashes * a).min() for a in band] for band in multipliers(banding)])


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 63, 1000])
def test_keys_agree_exactly_where_all_minima_of_the_band_agree(size: int) -> None:
    rng = np.random.default_rng(size)
    banding = Banding(bands=40, rows=3)
    a = random_set(rng, size)
    b = np.sort(np.concatenate([a[: size // 2 + 1], random_set(rng, size // 2)]))
    same_minima = (reference_signature(a, banding) == reference_signature(b, banding)).all(axis=1)
    assert np.array_equal(band_keys(a, banding) == band_keys(b, banding), same_minima)


def program(seed: int, words: int) -> str:
    """Text that repeats itself, as code does."""
    rng = np.random.default_rng(seed)
    return " ".join(f"name_{i}(" for i in rng.integers(0, max(2, words // 3), words))


@pytest.mark.parametrize("words", [0, 1, 4, 5, 6, 100, 4095, 4100, 4101, 30_000])
def test_a_text_has_the_keys_of_its_set_of_shingles(words: int) -> None:
    """In blocks and with repeats; 4,100 words fill the first block of 5-grams exactly."""
    for ngram in (1, 5):
        text = program(words, words)
        expected = band_keys(shingle_hashes(text, ngram), Banding())
        assert np.array_equal(text_band_keys(text, ngram, Banding()), expected)


def test_minima_are_those_of_one_permutation_at_a_time() -> None:
    banding = Banding(bands=3, rows=21)
    minima = text_minima(program(0, 500), 5, banding)
    assert minima is not None
    assert np.array_equal(minima, reference_signature(shingle_hashes(program(0, 500)), banding))


def test_the_smaller_minima_of_two_texts_are_those_of_both() -> None:
    banding = Banding(bands=8, rows=16)
    parts = [program(1, 300), program(2, 200)]
    minima = [text_minima(part, 5, banding) for part in parts]
    union = np.union1d(*(shingle_hashes(part) for part in parts))
    assert np.array_equal(keys_of_minima(np.minimum(*minima)), band_keys(union, banding))


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


def test_the_error_of_the_estimate_is_that_of_independent_permutations() -> None:
    """One multiplication by an odd number is no random permutation; its error has to be alike."""
    rng = np.random.default_rng(4)
    banding = Banding(bands=2048, rows=1)
    for similarity, size in ((0.5, 400), (0.95, 400), (0.8, 40)):
        errors = []
        for _ in range(150):
            a, b = pair_of_similarity(rng, similarity, size)
            common = np.intersect1d(a, b).size
            exact = common / (a.size + b.size - common)
            errors.append(np.mean(band_keys(a, banding) == band_keys(b, banding)) - exact)
        theory = (exact * (1 - exact) / 2048) ** 0.5
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(theory, rel=0.25)


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
    assert keys.tolist() == [6030419937182081166, 13041631487930496349]


def test_a_banding_without_bands_or_rows_is_refused() -> None:
    with pytest.raises(InputError, match="0 bands of 128 rows"):
        Banding(bands=0)
