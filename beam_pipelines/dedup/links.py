"""From band keys to edges: every member of a bucket is linked to one other, as a star.

A bucket of a million copies thus gives a million edges, not their pairs. `StarEdges` is
for components, where any connected set of links does; `links_to_best` is for verifying
pairs, where every worker has to find the same ones.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.dedup.keep_order import KeepOrder

Edge = tuple[str, str]
_MAX_BUCKETS = 1 << 16  # a worker's memory: about 10 MB
_Edges = TaggedOutput[Literal["edges"], Edge]


class StarEdges(beam.PTransform):
    """PCollection of (band key, id) to PCollection of edges (id, other id), each once.

    Members of one bucket end up connected, those of different ones are not linked. A
    worker links what it sees of a bucket in a bundle itself and sends on one member only,
    as a combiner would: of a hot bucket little more than one id a bundle is shuffled. Which
    links there are thus depends on the bundles, what they connect does not.
    """

    def expand(self, keyed: beam.PCollection) -> beam.PCollection:
        local = keyed | "LinkInBundle" >> beam.ParDo(_LinkInBundle()).with_outputs(
            "edges", main="first"
        )
        between = (
            local.first
            | "GroupByBand" >> beam.GroupByKey()
            | "LinkBucket" >> beam.FlatMap(_link_to_smallest).with_output_types(Edge)
        )
        return (local.edges, between) | beam.Flatten() | "DistinctEdges" >> beam.Distinct()


class _LinkInBundle(beam.DoFn):
    def start_bundle(self) -> None:
        self._first: dict[bytes, str] = {}

    def process(self, keyed: tuple[bytes, str]) -> Iterator[tuple[bytes, str] | _Edges]:
        key, member = keyed
        first = self._first.setdefault(key, member)
        if first != member:
            yield _Edges("edges", (member, first))
        elif len(self._first) > _MAX_BUCKETS:
            yield from self._first.items()
            self._first = {}

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for keyed in self._first.items():
            yield GlobalWindows.windowed_value(keyed)


def _link_to_smallest(bucket: tuple[bytes, Iterable[str]]) -> Iterator[Edge]:
    """Reads the bucket twice, as the iterable that Beam hands out."""
    _, members = bucket
    smallest = min(members)
    for member in members:
        if member != smallest:
            yield member, smallest


def links_to_best(bucket: tuple[bytes, Iterable[KeepOrder]]) -> Iterator[Edge]:
    """(id, id of the best of the bucket) for all others; reads the bucket twice."""
    _, members = bucket
    best = min(members)[-1]
    for *_, member in members:
        if member != best:
            yield member, best
