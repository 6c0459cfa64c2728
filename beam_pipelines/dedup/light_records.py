"""Light records on their way to where they meet, many to an element.

Deduplication compares ids, hashes and keys of a few bytes, several a document. Sent one by
one they would be most of the elements of a job, and an element costs a runner more than
such a record is long. So a bundle packs what it has by a part of the hash that decides
where records meet, and the worker that gets a part tells its records apart. Memory is that
of one part: `parts` is chosen for the corpus, and changes nothing in the results.
"""

import marshal
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

# Of a job that does not say: up to some ten million documents.
PARTS = 256
_MOST_PACKED = 1 << 17  # records that a bundle holds; about 20 MB

# (part, its records)
Packed = tuple[int, bytes]


class Packs:
    """The records of a bundle by part."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._records: dict[int, list[Any]] = {}
        self._count = 0

    def add(self, digest: int, *record: Any) -> None:
        """Takes a record of what `marshal` knows: numbers, strings, bytes, tuples."""
        self._records.setdefault(digest % self._parts, []).append(record)
        self._count += 1

    def take_many(self) -> Iterator[Packed]:
        """What was added, if it is much by now."""
        if self._count >= _MOST_PACKED:
            yield from self.take()

    def take(self) -> Iterator[Packed]:
        """All that was added."""
        for part, records in self._records.items():
            yield part, marshal.dumps(records)
        self._records = {}
        self._count = 0


class PackingDoFn(beam.DoFn):
    """A DoFn whose `process` adds to `packs`, and gives what they hold when that is much."""

    def __init__(self, parts: int) -> None:
        self._parts = parts

    def start_bundle(self) -> None:
        self.packs = Packs(self._parts)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        return map(GlobalWindows.windowed_value, self.packs.take())


def unpack(packs: Iterable[bytes]) -> Iterator[Any]:
    """The records of one part, one pack in memory at a time."""
    for pack in packs:
        yield from marshal.loads(pack)


def digest_of(text: str) -> int:
    """A number that decides the part of a text: the same in every process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
