"""The fit of a loss to compute: known laws come back, what cannot be told is not."""

import numpy as np
import pytest

from opencoder_jax.sweep.results import power_law

SIZES = [1e15, 4e15, 1.6e16, 6.4e16, 2.6e17]


def losses(noise: float, seeds: int = 3) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(4)
    compute = [size for size in SIZES for _ in range(seeds)]
    values = [1.1 + 0.8 * (c / 1e16) ** -0.3 + generator.normal(0, noise) for c in compute]
    return compute, values


def test_a_law_comes_back_from_its_own_points() -> None:
    law = power_law.fit(*losses(0.0))
    assert law is not None
    assert law.floor == pytest.approx(1.1, rel=1e-4)
    assert law.exponent == pytest.approx(0.3, rel=1e-4)
    assert law.at(1e16) == pytest.approx(1.9, rel=1e-4)


def test_with_noise_the_truth_lies_within_some_errors() -> None:
    law = power_law.fit(*losses(0.01))
    assert law is not None
    assert abs(law.floor - 1.1) < 4 * law.floor_error
    assert abs(law.exponent - 0.3) < 4 * law.exponent_error
    assert 0 < law.exponent_error < 0.2
    assert "over 15 runs" in str(law)


@pytest.mark.parametrize("sizes", [[1e15, 2e15, 4e15], [1e15, 1.1e15, 1.2e15, 1.3e15], [1e15] * 6])
def test_few_or_close_sizes_are_not_fitted(sizes: list[float]) -> None:
    assert power_law.fit(sizes, [2.0 - k / 10 for k in range(len(sizes))]) is None


def test_a_loss_that_does_not_fall_has_no_exponent_to_speak_of() -> None:
    law = power_law.fit(SIZES, [2.0, 2.01, 1.99, 2.0, 2.01])
    assert law is None or law.exponent < 3 * law.exponent_error
