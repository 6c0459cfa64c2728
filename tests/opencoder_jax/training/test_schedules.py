"""Learning rates at the steps that the paper names."""

import pytest

from opencoder_jax.training.schedules import ExponentialDecay, WarmupCosine, WarmupStable


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
