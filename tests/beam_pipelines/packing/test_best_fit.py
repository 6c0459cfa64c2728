import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.packing.best_fit import best_fit

SLOW_MACHINE = [HealthCheck.too_slow]
CAPACITY = 33
piece_lengths = st.lists(st.integers(1, CAPACITY), max_size=200)


def slow_best_fit(lengths, capacity):
    """The definition, group by group: the fullest that still has room."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
            rooms.append(min(fitting) - length)
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(piece_lengths)
def test_every_piece_is_in_one_group_and_no_group_overflows(lengths):
    groups = best_fit(lengths, CAPACITY)

    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= CAPACITY for group in groups)


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(piece_lengths)
def test_groups_are_those_of_the_definition_of_best_fit(lengths):
    rooms = sorted(CAPACITY - sum(lengths[i] for i in g) for g in best_fit(lengths, CAPACITY))

    assert rooms == slow_best_fit(lengths, CAPACITY)


def test_a_hundred_thousand_pieces_leave_less_than_half_a_percent_of_room():
    lengths = np.random.default_rng(0).integers(1, 4098, 100_000)

    groups = best_fit(lengths, 4097)

    assert lengths.sum() / (len(groups) * 4097) > 0.995


@pytest.mark.parametrize("length", [0, CAPACITY + 1])
def test_a_piece_that_fits_nowhere_is_a_defect(length):
    with pytest.raises(ValueError, match="expected 1 to 33"):
        best_fit([5, length], CAPACITY)
