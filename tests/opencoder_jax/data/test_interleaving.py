import collections

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencoder_jax.data.interleaving import Interleaving

SLOW_MACHINE = [HealthCheck.too_slow]
ANNEALING = [83.94, 12.44, 2.71, 0.91]  # paper Table 3
rates = st.lists(st.floats(0.001, 1000), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(rates, st.integers(0, 10**12))
def test_rows_walk_through_each_source_in_order(rates, first):
    interleaving = Interleaving(rates)
    expected = interleaving.counts(first)

    for row in range(first, first + 50):
        source, index = interleaving[row]
        assert index == expected[source]
        expected[source] += 1
    assert interleaving.counts(first + 50) == expected


@pytest.mark.parametrize("rows", [100, 1000, 10**6, 10**12])
def test_any_number_of_rows_has_the_asked_shares(rows):
    counts = Interleaving(ANNEALING).counts(rows)

    assert sum(counts) == rows
    for count, rate in zip(counts, ANNEALING, strict=True):
        assert abs(count - rows * rate / 100) <= len(ANNEALING) + rows * 1e-9


def test_sources_are_spread_evenly_not_in_blocks():
    interleaving = Interleaving([3, 1])
    sources = [interleaving[row][0] for row in range(400)]

    blocks = [collections.Counter(sources[i : i + 8]) for i in range(0, 400, 8)]
    assert all(block == {0: 6, 1: 2} for block in blocks)
