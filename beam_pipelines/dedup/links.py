"""From band keys to edges: every member of a bucket is linked to one other, as a star.

A bucket of a million copies thus gives a million edges, not their pairs. `StarEdges` is
for components, where any connected set of links does; `links_to_best` is for verifying
pairs, where every worker has to find the same ones.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.dedup.keep_order import KeepOrder
from beam_pipelines.dedup.light_records import PARTS, Packed, PackingDoFn, unpack

Edge = tuple[str, str]
KEY_BYTES = 8
_Edges = TaggedOutput[Literal["edges"], Edge]


class StarEdges(beam.PTransform):
    """PCollection of (id, band keys) to PCollection of edges (id, other id), each once.

    The keys of an id are one string of bytes, `KEY_BYTES` each.

    Members of one bucket end up connected, those of different ones are not linked. A
    worker links what it sees of a bucket in a bundle itself and sends on one member only,
    as a combiner would: of a hot bucket little more than one id a bundle is shuffled. Which
    links there are thus depends on the bundles, what they connect does not.
    """

    def __init__(self, parts: int = PARTS) -> None:
        """Args:
        parts: that the keys are divided into; a worker holds the keys of one.
        """
        super().__init__()
        self._parts = parts

    def expand(self, keyed: beam.PCollection) -> beam.PCollection:
        local = keyed | "LinkInBundle" >> beam.ParDo(_LinkInBundle(self._parts)).with_outputs(
            "edges", main="packed"
        )
        between = (
            local.packed
            | "GroupByPart" >> beam.GroupByKey()
            | "LinkBuckets" >> beam.FlatMap(_link_buckets).with_output_types(Edge)
        )
        return (local.edges, between) | beam.Flatten() | "DistinctEdges" >> beam.Distinct()


class _LinkInBundle(PackingDoFn):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._first: dict[bytes, str] = {}

    def process(self, keyed: tuple[str, bytes]) -> Iterator[Packed | _Edges]:
        member, keys = keyed
        for start in range(0, len(keys), KEY_BYTES):
            key = keys[start : start + KEY_BYTES]
            first = self._first.setdefault(key, member)
            if first is member:
                self.packs.add(int.from_bytes(key[:4], "little"), key, member)
            elif first != member:
                yield _Edges("edges", (member, first))
        for packed in self.packs.take_many():
            self._first = {}
            yield packed


def _link_buckets(part: tuple[int, Iterable[bytes]]) -> Iterator[Edge]:
    """Links every member of a bucket to the first one that came."""
    first: dict[bytes, str] = {}
    for key, member in unpack(part[1]):
        other = first.setdefault(key, member)
        if other != member:
            yield member, other


def links_to_best(bucket: tuple[bytes, Iterable[KeepOrder]]) -> Iterator[Edge]:
    """(id, id of the best of the bucket) for all others; reads the bucket twice."""
    _, members = bucket
    best = min(members)[-1]
    for *_, member in members:
        if member != best:
            yield member, best
