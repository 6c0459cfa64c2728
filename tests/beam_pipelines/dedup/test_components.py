import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.dedup.components import ConnectedComponents
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
    names = [f"n{i:04d}" for i in range(500)]
    path = list(itertools.pairwise(names))
    assert set(components(path).values()) == {"n0000"}
    random.Random(0).shuffle(names)
    shuffled = list(itertools.pairwise(names))
    assert set(components(shuffled).values()) == {"n0000"}


def test_too_few_rounds_are_an_error_that_names_the_setting() -> None:
    names = [f"n{i:04d}" for i in range(100)]
    with pytest.raises(Exception, match="raise component_rounds of NearDedup to 4"):
        components(list(itertools.pairwise(names)), rounds=2)


def test_repeated_edges_change_nothing() -> None:
    edges = [("a", "b"), ("b", "c"), ("x", "y")]
    repeated = edges * 5 + [(b, a) for a, b in edges]
    assert components(repeated, rounds=2) == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}


def test_no_edges_give_no_labels() -> None:
    assert components([]) == {}
