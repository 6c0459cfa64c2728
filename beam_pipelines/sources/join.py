"""Light rows meet the contents that they name, under a key that both have.

Each content passes one shuffle, whole; of a row only its facts do. A key may be shared by
any number of rows (the same licence file in a million repositories): groups are walked
twice, never listed. What has no counterpart is handed over with an obstacle, so that
rows and contents are all accounted for.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.sources.entry import RawFile

Merge = Callable[[Any, RawFile], RawFile]


class Sides(NamedTuple):
    """What meets, as PCollections of (key, value).

    Attributes:
      rows: (key, row), any light value.
      contents: (key, RawFile), with its content.
    """

    rows: beam.PCollection
    contents: beam.PCollection


class Parts(NamedTuple):
    """What can be joined, and the `RawFile`s with an obstacle, as PCollections."""

    sound: beam.PCollection
    obstacles: beam.PCollection


class PartObstacles(beam.PTransform):
    """PCollection of rows or `RawFile`s to `Parts`."""

    @no_annotations
    def expand(self, values: beam.PCollection) -> Parts:
        return Parts(
            values | "Sound" >> beam.Filter(lambda value: not _has_obstacle(value)),
            values | "Obstacles" >> beam.Filter(_has_obstacle).with_output_types(RawFile),
        )


class JoinContents(beam.PTransform):
    """`Sides` to PCollection[RawFile].

    Contents that have an obstacle must not come in. Every row comes out once: with the
    content of its key or without. A content whose key
    no row has, and of several contents of a key all but the first by stars, time and hash,
    come out as `unlisted` makes them.
    """

    def __init__(
        self,
        merge: Merge,
        without_content: Callable[[Any], RawFile],
        unlisted: Callable[[RawFile, str], RawFile],
    ) -> None:
        """Args:
        merge: a row and its content as a file.
        without_content: a row that no content has.
        unlisted: a content that becomes no file, with the drop reason.
        """
        super().__init__()
        self._functions = (merge, without_content, unlisted)

    @no_annotations
    def expand(self, sides: Sides) -> beam.PCollection:
        rows = sides.rows | "Rows" >> beam.Map(_tagged, "row").with_output_types(
            tuple[bytes, tuple[str, Any]]
        )
        contents = sides.contents | "Contents" >> beam.Map(_tagged, "content").with_output_types(
            tuple[bytes, tuple[str, Any]]
        )
        return (
            (rows, contents)
            | beam.Flatten()
            | beam.GroupByKey()
            | "Meet" >> beam.FlatMap(_meet, *self._functions).with_output_types(RawFile)
        )


def name_key(repo: str, path: str) -> bytes:
    """16 bytes for a file by repository and path; a leading slash does not count."""
    path = path.lstrip("/").removeprefix("./")
    text = f"{repo}\0{path}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:16]


def _has_obstacle(value: Any) -> bool:
    return isinstance(value, RawFile) and bool(value.obstacle)


def _tagged(keyed: tuple[bytes, Any], tag: str) -> tuple[bytes, tuple[str, Any]]:
    return keyed[0], (tag, keyed[1])


def _meet(
    group: tuple[bytes, Iterable[tuple[str, Any]]],
    merge: Merge,
    without_content: Callable[[Any], RawFile],
    unlisted: Callable[[RawFile, str], RawFile],
) -> Iterator[RawFile]:
    best: RawFile | None = None
    has_rows = False
    for tag, value in group[1]:
        if tag == "row":
            has_rows = True
        elif best is None or _order(value) < _order(best):
            best = value
    passed = False
    for tag, value in group[1]:
        if tag == "row":
            yield merge(value, best) if best is not None else without_content(value)
        elif not has_rows:
            yield unlisted(value, "not_in_metadata")
        elif not passed and best is not None and _order(value) == _order(best):
            passed = True
        else:
            yield unlisted(value, "duplicate_id")


def _order(content: RawFile) -> tuple:
    """The better content first; what is equal in it is the same."""
    digest = hashlib.sha256(content.content).digest()
    return -content.stars, -content.commit_time, digest, content.id
