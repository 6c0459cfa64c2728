"""Saves come after so many steps and after so much time, with few questions to process 0."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training.checkpoints import SaveCheckpointConfig, occasions
from opencoder_jax.training.checkpoints.occasions import Occasions


class Clock:
    """A clock that the test moves: a step takes what it says."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def saves(found: Occasions, clock: Clock, steps: range, seconds_per_step: float) -> list[int]:
    """After which steps a run would save, whose saves take no time."""
    saved = []
    for step in steps:
        clock.seconds += seconds_per_step
        if found.now(step):
            saved.append(step)
            found.saved(step)
    return saved


def test_a_period_of_steps_counts_from_zero_wherever_a_run_begins():
    clock = Clock()
    assert saves(Occasions(10, None, 13, clock), clock, range(14, 45), 1.0) == [20, 30, 40]
    assert saves(Occasions(0, None, 0, clock), clock, range(1, 45), 1.0) == []


def test_a_period_of_time_is_kept_to_the_step_whatever_the_pace():
    clock = Clock()
    found = Occasions(0, 1.0, 0, clock)
    assert saves(found, clock, range(1, 181), 1.0) == [60, 120, 180]
    assert saves(found, clock, range(181, 190), 30.0) == [182, 184, 186, 188]


def test_a_first_step_that_only_seemed_fast_delays_no_save():
    clock = Clock()
    found = Occasions(0, 1.0, 0, clock)
    # The host has handed it to its devices, and waits for them from the second step on.
    assert saves(found, clock, range(1, 2), 0.001) == []
    assert saves(found, clock, range(2, 70), 1.0) == [61]


def test_steps_that_become_slower_delay_a_save_by_less_steps_than_were_made():
    clock = Clock()
    found = Occasions(0, 1.0, 0, clock)
    assert saves(found, clock, range(1, 11), 1.0) == []
    assert saves(found, clock, range(11, 21), 60.0)[0] < 20


def test_steps_that_take_twice_as_long_from_some_moment_on_delay_a_save_by_a_step():
    clock = Clock()
    found = Occasions(0, 1.0, 0, clock)
    # Of 60 s, 45 are gone; seven steps of 2 s fit into the rest, and the eighth ends it.
    assert saves(found, clock, range(1, 46), 1.0) == []
    assert saves(found, clock, range(46, 70), 2.0)[0] == 53


def test_a_period_shorter_than_a_step_saves_after_each():
    clock = Clock()
    assert saves(Occasions(0, 1e-9, 0, clock), clock, range(1, 5), 1.0) == [1, 2, 3, 4]


def test_whichever_period_is_over_first_and_each_save_counts_for_both():
    clock = Clock()
    found = Occasions(50, 1.0, 0, clock)
    assert saves(found, clock, range(1, 201), 1.5) == [40, 50, 90, 100, 140, 150, 190, 200]


def test_few_questions_are_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(occasions, "from_primary", lambda compute: asked.append(1) or compute())
    clock = Clock()
    found = Occasions(0, 30.0, 0, clock)
    assert saves(found, clock, range(1, 14_401), 0.125) == [14_400]
    assert len(asked) < 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"period": -1}, "SaveCheckpointConfig.period is -1, expected at least 0"),
        ({"period": 1, "keep": 0}, "SaveCheckpointConfig.keep is 0"),
        ({"period": 1, "keep_period": 0}, "SaveCheckpointConfig.keep_period is 0"),
        ({"period": 1, "period_minutes": 0.0}, "SaveCheckpointConfig.period_minutes is 0.0"),
    ],
)
def test_impossible_periods_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SaveCheckpointConfig(**settings)
