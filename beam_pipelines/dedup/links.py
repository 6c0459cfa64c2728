"""From band keys to edges: every member of a bucket is linked to one other, as a star.

A bucket of a million copies thus gives a million edges, not their pairs. `StarEdges` is
for components, where any connected set of links does; `links_to_best` is for verifying
pairs, where every worker has to find the same ones.
"""

import marshal
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines.dedup.keep_order import KeepOrder

Edge = tuple[str, str]
KEY_BYTES = 8
_MAX_BUCKETS = 1 << 17  # a worker's memory: about 20 MB
# A worker holds the keys of one part: of 300 million documents with 16 each 600,000, 120 MB.
_PARTS = 1 << 13
_Edges = TaggedOutput[Literal["edges"], Edge]


class StarEdges(beam.PTransform):
    """PCollection of (id, band keys) to PCollection of edges (id, other id), each once.

    The keys of an id are one string of bytes, `KEY_BYTES` each.

    Members of one bucket end up connected, those of different ones are not linked. A
    worker links what it sees of a bucket in a bundle itself and sends on one member only,
    as a combiner would: of a hot bucket little more than one id a bundle is shuffled. Which
    links there are thus depends on the bundles, what they connect does not.

    Sixteen elements a document would be most of a job's. So the keys of a document come
    together, and what a bundle sends on is packed by the first bits of the keys; the buckets
    of one part are told apart where they meet.
    """

    def expand(self, keyed: beam.PCollection) -> beam.PCollection:
        local = keyed | "LinkInBundle" >> beam.ParDo(_LinkInBundle()).with_outputs(
            "edges", main="packed"
        )
        between = (
            local.packed
            | "GroupByPart" >> beam.GroupByKey()
            | "LinkBuckets" >> beam.FlatMap(_link_buckets).with_output_types(Edge)
        )
        return (local.edges, between) | beam.Flatten() | "DistinctEdges" >> beam.Distinct()


class _LinkInBundle(beam.DoFn):
    def start_bundle(self) -> None:
        self._first: dict[bytes, str] = {}

    def process(self, keyed: tuple[str, bytes]) -> Iterator[tuple[int, bytes] | _Edges]:
        member, keys = keyed
        for start in range(0, len(keys), KEY_BYTES):
            first = self._first.setdefault(keys[start : start + KEY_BYTES], member)
            if first != member:
                yield _Edges("edges", (member, first))
        if len(self._first) > _MAX_BUCKETS:
            yield from _packed(self._first)
            self._first = {}

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for part in _packed(self._first):
            yield GlobalWindows.windowed_value(part)


def _packed(members: Mapping[bytes, str]) -> Iterator[tuple[int, bytes]]:
    """(part, its keys and members, in turn)."""
    parts: dict[int, list[bytes | str]] = {}
    for key, member in members.items():
        part = int.from_bytes(key[:2], "little") % _PARTS
        parts.setdefault(part, []).extend((key, member))
    for part, pairs in parts.items():
        yield part, marshal.dumps(pairs)


def _link_buckets(part: tuple[int, Iterable[bytes]]) -> Iterator[Edge]:
    """Links every member of a bucket to the first one that came."""
    first: dict[bytes, str] = {}
    for packed in part[1]:
        pairs = marshal.loads(packed)
        for key, member in zip(pairs[::2], pairs[1::2], strict=True):
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
