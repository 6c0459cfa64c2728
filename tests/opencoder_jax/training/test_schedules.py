"""Learning rates at the steps that the paper names."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training.schedules import (
    ExponentialDecay,
    WarmupCosine,
    WarmupStable,
    WarmupStableDecay,
)


def test_pretraining_warms_up_over_2000_steps_and_then_stays():
    schedule = WarmupStable(peak=3e-4, warmup_steps=2000)
    assert float(schedule(0)) == pytest.approx(3e-4 / 2000)
    assert float(schedule(999)) == pytest.approx(1.5e-4)
    assert float(schedule(1999)) == pytest.approx(3e-4)
    assert float(schedule(476_836)) == pytest.approx(3e-4)


def test_a_phase_without_warmup_starts_at_the_peak():
    assert float(WarmupStable(peak=3e-4, warmup_steps=0)(0)) == pytest.approx(3e-4)


def test_annealing_meets_the_peak_and_ends_at_1e_5_by_a_constant_factor():
    schedule = ExponentialDecay(peak=3e-4, final=1e-5, decay_steps=23_842)
    assert float(schedule(0)) == pytest.approx(3e-4)
    assert float(schedule(23_842)) == pytest.approx(1e-5, rel=1e-5)
    assert float(schedule(11_921)) == pytest.approx((3e-4 * 1e-5) ** 0.5, rel=1e-5)
    assert float(schedule(30_000)) == pytest.approx(1e-5, rel=1e-5)


def test_sft_warms_up_over_100_steps_and_falls_as_half_a_cosine():
    schedule = WarmupCosine(peak=5e-5, warmup_steps=100, total_steps=2150)
    assert float(schedule(0)) == pytest.approx(5e-7)
    assert float(schedule(99)) == pytest.approx(5e-5)
    assert float(schedule(100)) == pytest.approx(5e-5)
    assert float(schedule(1125)) == pytest.approx(2.5e-5)
    assert float(schedule(2150)) == pytest.approx(0, abs=1e-12)


STABLE = WarmupStable(peak=3e-4, warmup_steps=100)


@pytest.mark.parametrize(
    ("decay", "middle"),
    [
        ("exponential", (3e-4 * 1e-5) ** 0.5),
        ("linear", 1.55e-4),
        ("one_minus_sqrt", 3e-4 - 2.9e-4 * 0.5**0.5),
        ("cosine", 1.55e-4),
    ],
)
def test_wsd_in_one_run_warms_up_stays_and_decays_to_final(decay, middle):
    schedule = WarmupStableDecay(STABLE, final=1e-5, decay_steps=200, total_steps=1000, decay=decay)
    assert [float(schedule(step)) for step in (0, 99, 799, 800)] == pytest.approx(
        [3e-6, 3e-4, 3e-4, 3e-4]
    )
    assert float(schedule(900)) == pytest.approx(middle, rel=1e-4)
    assert float(schedule(1000)) == pytest.approx(1e-5, rel=1e-4)
    rates = [float(schedule(step)) for step in range(800, 1001, 25)]
    assert rates == sorted(rates, reverse=True)


def test_the_two_phases_of_the_paper_are_wsd_in_one_run():
    whole = WarmupStableDecay(STABLE, final=1e-5, decay_steps=200, total_steps=1000)
    annealing = ExponentialDecay(peak=3e-4, final=1e-5, decay_steps=200)
    for step in (0, 1, 50, 199):
        assert float(whole(800 + step)) == pytest.approx(float(annealing(step)))


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("decay is 'cubic', expected one of exponential, linear", {"decay": "cubic"}),
        ("final is 0.0, expected more than 0", {"final": 0.0}),
        ("final is 0.1, above the peak 0.0003", {"final": 0.1}),
        ("final is -1.0, expected at least 0", {"final": -1.0, "decay": "linear"}),
        ("100 and decay_steps 950 are more than total_steps 1000", {"decay_steps": 950}),
        ("decay_steps is 0, expected at least 1", {"decay_steps": 0}),
    ],
)
def test_an_impossible_wsd_is_refused(message, make):
    with pytest.raises(InputError, match=message):
        WarmupStableDecay(
            STABLE, **{"final": 1e-5, "decay_steps": 200, "total_steps": 1000, **make}
        )


def test_a_decay_that_rises_is_refused():
    with pytest.raises(InputError, match="above the peak"):
        ExponentialDecay(peak=1e-3, final=1e-2, decay_steps=10)
