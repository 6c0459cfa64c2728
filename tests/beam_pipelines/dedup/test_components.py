import itertools
import random

import apache_beam as beam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.dedup.components import ConnectedComponents
from beam_pipelines.runner import pipeline
from tests.beam_pipelines.dedup.running import run

Edges = list[tuple[str, str]]


def reference_components(edges: Edges) -> dict[str, str]:
    """Union-find with the smallest node as the root."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            node = parent[node]
        return node

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return {node: find(node) for node in parent}


def components(edges: Edges, rounds: int = 10) -> dict[str, str]:
    labels = run(edges, ConnectedComponents(rounds))["all"]
    assert len(labels) == len(dict(labels)), "a node came out twice"
    return dict(labels)


NODES = st.integers(0, 30).map(lambda i: f"n{i:02d}")
EDGES = st.lists(st.tuples(NODES, NODES).filter(lambda e: e[0] != e[1]), max_size=40)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EDGES)
def test_components_are_those_of_union_find(edges: Edges) -> None:
    assert components(edges, rounds=5) == reference_components(edges)


def test_a_long_path_becomes_one_component_whatever_the_order_of_its_names() -> None:
    """The longest path between two nodes is 5,000 links, far from what a round reaches."""
    names = [f"n{i:04d}" for i in range(5_001)]
    random.Random(0).shuffle(names)
    labels = components(list(itertools.pairwise(names)), rounds=16)
    assert set(labels.values()) == {"n0000"}
    assert labels.keys() == set(names)


def test_large_random_graphs_have_the_components_of_union_find() -> None:
    """Where they are about to grow together: many sizes and long detours."""
    rng = random.Random(1)
    edges = [(f"n{rng.randrange(4000)}", f"n{rng.randrange(4000)}") for _ in range(2000)]
    edges = [(a, b) for a, b in edges if a != b]
    expected = reference_components(edges)
    assert 500 < len(set(expected.values())) < 3000
    assert components(edges, rounds=12) == expected


def star(leaves: int) -> Edges:
    return [(f"n{i:06d}", "n000500") for i in range(leaves) if i != 500]


def test_a_big_star_is_settled_in_two_rounds() -> None:
    assert set(components(star(5_000), rounds=3).values()) == {"n000000"}


@pytest.mark.slow
def test_a_bucket_of_two_hundred_thousand_documents_is_one_component() -> None:
    labels = components(star(200_000), rounds=16)
    assert (len(labels), set(labels.values())) == (200_000, {"n000000"})


def test_rounds_after_convergence_see_no_element() -> None:
    names = [f"n{i:03d}" for i in range(100)]
    with pipeline([]) as p:
        _ = p | beam.Create(list(itertools.pairwise(names))) | ConnectedComponents(12)
    counters = p.result.metrics().query()["counters"]
    nodes = {
        int(c.key.metric.name.removeprefix("nodes of round ")): c.committed
        for c in counters
        if c.key.metric.namespace == "components"
    }
    busy = [nodes.get(i, 0) for i in range(1, 13)]
    assert busy[0] == 100
    assert busy[-3:] == [0, 0, 0]
    assert busy == sorted(busy, reverse=True)


def test_too_few_rounds_are_an_error_that_names_the_setting() -> None:
    names = [f"n{i:04d}" for i in range(100)]
    with pytest.raises(Exception, match="raise component_rounds to 4"):
        components(list(itertools.pairwise(names)), rounds=2)


def test_repeated_edges_change_nothing() -> None:
    edges = [("a", "b"), ("b", "c"), ("x", "y")]
    repeated = edges * 5 + [(b, a) for a, b in edges]
    assert components(repeated, rounds=2) == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}


def test_no_edges_give_no_labels() -> None:
    assert components([]) == {}
