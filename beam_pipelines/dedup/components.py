"""Connected components of a graph that fits no machine.

Alternating large-star and small-star rounds (Kiveris et al., "Connected Components in
MapReduce and Beyond", SoCC 2014): each node links its neighbours to the smallest of them,
until every component is a star around its smallest node. A round at least about halves
the distance to the centre, so `rounds` covers diameters up to about 2^rounds.

Beam has no loops, so the rounds are unrolled, but one that is not needed costs nothing:
each counts the links that it changed, and where that is none its edges go straight to
the output and the rounds after it see no element (a counter of Beam, `nodes of round N`,
shows where that was). If the last round still changes something the job stops with an
error. The counts are one number a bundle, a side input of the next round: to add them up
first would more than double the transforms of a graph that is mostly rounds.

A neighbourhood is read twice, as the iterable that Beam hands out, never made into a
list. Finding its minimum with a combiner first would not save a reading: to link the
neighbours they have to meet the minimum, in a second shuffle of the same edges.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from opencoder_jax.errors import InputError

Edge = tuple[str, str]
_Settled = TaggedOutput[Literal["settled"], Edge]


class NotConvergedError(InputError):
    """More rounds are needed than were configured."""


class ConnectedComponents(beam.PTransform):
    """PCollection of edges (a, b), a ≠ b, to PCollection of (node, smallest node).

    Every node of an edge comes out once; the smallest node of a component names it.

    Raises (in the job):
      NotConvergedError: `rounds` were too few for a component's diameter.
    """

    def __init__(self, rounds: int = 16) -> None:
        super().__init__()
        if rounds < 1:
            raise InputError(f"component_rounds is {rounds}, expected at least 1")
        self._rounds = rounds

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        settled = []
        changed: beam.PCollection | None = None
        for i in range(1, self._rounds + 1):
            if changed is None:
                both_ways = edges | f"BothWays{i}" >> beam.FlatMap(_both_ways).with_output_types(
                    Edge
                )
            else:
                gate = edges | f"BothWays{i}" >> beam.ParDo(_Gate(), AsIter(changed)).with_outputs(
                    "settled", main="edges"
                )
                settled.append(gate.settled)
                both_ways = gate.edges
            large = (
                both_ways
                | f"GroupAll{i}" >> beam.GroupByKey()
                | f"LargeStar{i}" >> beam.ParDo(_LargeStar(i)).with_outputs("changed", main="edges")
            )
            small = (
                large.edges
                | f"GroupSmaller{i}" >> beam.GroupByKey()
                | f"SmallStar{i}" >> beam.ParDo(_SmallStar()).with_outputs("changed", main="edges")
            )
            edges = small.edges
            changed = (large.changed, small.changed) | f"Changes{i}" >> beam.Flatten()
        assert changed is not None  # there is at least one round
        last = edges | "Converged" >> beam.ParDo(
            _RequireConverged(self._rounds), AsIter(changed)
        ).with_output_types(Edge)
        return (
            (*settled, last)
            | "Stars" >> beam.Flatten()
            | "Label" >> beam.FlatMap(_label).with_output_types(Edge)
            | "OnceEach" >> beam.CombinePerKey(min)
        )


def _both_ways(edge: Edge) -> Iterator[Edge]:
    a, b = edge
    yield a, b
    yield b, a


class _Gate(beam.DoFn):
    """Edges of the last round: into the next one, or past it where nothing changed."""

    def process(self, edge: Edge, changed: Iterable[int]) -> Iterator[Edge | _Settled]:
        if any(changed):
            yield from _both_ways(edge)
        else:
            yield _Settled("settled", edge)


class _Star(beam.DoFn):
    """Counts the links that it changes and tells once a bundle."""

    def start_bundle(self) -> None:
        self._changed = 0

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        if self._changed:
            yield TaggedOutput("changed", GlobalWindows.windowed_value(self._changed))


class _LargeStar(_Star):
    """Links every larger neighbour to the smallest of the neighbourhood; (larger, smaller)."""

    def __init__(self, number: int) -> None:
        self._nodes = Metrics.counter("components", f"nodes of round {number}")

    def process(self, group: tuple[str, Iterable[str]]) -> Iterator[Edge]:
        self._nodes.inc()
        node, neighbours = group
        smallest = min(node, min(neighbours))
        for neighbour in neighbours:
            if neighbour > node:
                yield neighbour, smallest
                self._changed += smallest != node


class _SmallStar(_Star):
    """Links the node and its smaller neighbours to the smallest; (larger, smaller)."""

    def process(self, group: tuple[str, Iterable[str]]) -> Iterator[Edge]:
        node, smaller = group
        smallest = min(smaller)
        yield node, smallest
        for neighbour in smaller:
            if neighbour != smallest:
                yield neighbour, smallest
                self._changed += 1


class _RequireConverged(beam.DoFn):
    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    def process(self, edge: Edge, changed: Iterable[int]) -> Iterator[Edge]:
        if count := sum(changed):
            raise NotConvergedError(
                f"connected components did not converge in {self._rounds} rounds ({count} links "
                f"changed in the last one, near {edge[0]!r}): raise component_rounds to "
                f"{2 * self._rounds}"
            )
        yield edge


def _label(edge: Edge) -> Iterator[Edge]:
    larger, smaller = edge
    yield larger, smaller
    yield smaller, smaller
