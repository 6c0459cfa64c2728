"""Connected components of a graph that fits no machine.

Alternating large-star and small-star rounds (Kiveris et al., "Connected Components in
MapReduce and Beyond", SoCC 2014): each node links its neighbours to the smallest of them,
until every component is a star around its smallest node. A round at least about halves
the distance to the centre, so `rounds` covers diameters up to about 2^rounds. Beam has no
loops: the rounds are unrolled, and the last step checks that they sufficed. A
neighbourhood is read twice, as the iterable that Beam hands out, never made into a list.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam

from opencoder_jax.errors import InputError

Edge = tuple[str, str]
_IS_CENTRE = ""


class NotConvergedError(InputError):
    """More rounds are needed than were configured."""


class ConnectedComponents(beam.PTransform):
    """PCollection of edges (a, b), a ≠ b, to PCollection of (node, smallest node).

    Every node of an edge comes out once; the smallest node of a component names it.

    Raises (in the job):
      NotConvergedError: `rounds` were too few for a component's diameter.
    """

    def __init__(self, rounds: int = 10) -> None:
        super().__init__()
        if rounds < 1:
            raise InputError(f"component_rounds is {rounds}, expected at least 1")
        self._rounds = rounds

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        for i in range(1, self._rounds + 1):
            edges = (
                edges
                | f"BothWays{i}" >> beam.FlatMap(_both_ways).with_output_types(Edge)
                | f"GroupAll{i}" >> beam.GroupByKey()
                | f"LargeStar{i}" >> beam.FlatMap(_large_star).with_output_types(Edge)
                | f"GroupSmaller{i}" >> beam.GroupByKey()
                | f"SmallStar{i}" >> beam.FlatMap(_small_star).with_output_types(Edge)
            )
        return (
            edges
            | "Roles" >> beam.FlatMap(_roles).with_output_types(Edge)
            | "GroupRoles" >> beam.GroupByKey()
            | "Label" >> beam.ParDo(_Label(self._rounds)).with_output_types(tuple[str, str])
        )


def _both_ways(edge: Edge) -> Iterator[Edge]:
    a, b = edge
    yield a, b
    yield b, a


def _large_star(group: tuple[str, Iterable[str]]) -> Iterator[Edge]:
    """Links every larger neighbour to the smallest of the neighbourhood; (larger, smaller)."""
    node, neighbours = group
    smallest = min(node, min(neighbours))
    for neighbour in neighbours:
        if neighbour > node:
            yield neighbour, smallest


def _small_star(group: tuple[str, Iterable[str]]) -> Iterator[Edge]:
    """Links the node and its smaller neighbours to the smallest; (larger, smaller)."""
    node, smaller = group
    smallest = min(smaller)
    yield node, smallest
    for neighbour in smaller:
        if neighbour != smallest:
            yield neighbour, smallest


def _roles(edge: Edge) -> Iterator[tuple[str, str]]:
    larger, smaller = edge
    yield larger, smaller
    yield smaller, _IS_CENTRE


class _Label(beam.DoFn):
    """Names each node's component; a node that is no leaf of one star is an error."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    def process(self, group: tuple[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
        node, roles = group
        first = None
        for role in roles:
            if first is None:
                first = role
            elif role != first:
                raise NotConvergedError(
                    f"connected components did not converge in {self._rounds} rounds (near "
                    f"{node!r}): raise component_rounds of NearDedup to {2 * self._rounds}"
                )
        yield node, first or node
