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
    """What meets, as PCollections; both may have `RawFile`s with an obstacle among them.

    Attributes:
      rows: any light value.
      contents: RawFile, with its content.
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

    What has an obstacle comes out as it is. Every row comes out once: with the content of
    its key or without. A content whose key no row has, and of several contents of a key all
    but the first by stars, time and hash, come out as `unlisted` makes them.
    """

    def __init__(
        self,
        row_key: Callable[[Any], bytes],
        content_key: Callable[[RawFile], bytes],
        merge: Merge,
        without_content: Callable[[Any], RawFile],
        unlisted: Callable[[RawFile, str], RawFile],
    ) -> None:
        """Args:
        row_key: what a row has in common with its content.
        content_key: the same of a content.
        merge: a row and its content as a file.
        without_content: a row that no content has.
        unlisted: a content that becomes no file, with the drop reason.
        """
        super().__init__()
        self._keys = (row_key, content_key)
        self._functions = (merge, without_content, unlisted)

    @no_annotations
    def expand(self, sides: Sides) -> beam.PCollection:
        row_key, content_key = self._keys
        rows = sides.rows | "PartRows" >> PartObstacles()
        contents = sides.contents | "PartContents" >> PartObstacles()
        tagged = (
            rows.sound
            | "Rows"
            >> beam.Map(_tagged, "row", row_key).with_output_types(tuple[bytes, tuple[str, Any]]),
            contents.sound
            | "Contents"
            >> beam.Map(_tagged, "content", content_key).with_output_types(
                tuple[bytes, tuple[str, Any]]
            ),
        )
        met = (
            tagged
            | "Sides" >> beam.Flatten()
            | beam.GroupByKey()
            | "Meet" >> beam.FlatMap(_meet, *self._functions).with_output_types(RawFile)
        )
        return (met, rows.obstacles, contents.obstacles) | "Files" >> beam.Flatten()


def name_key(file: RawFile) -> bytes:
    """16 bytes for a file by repository and path; a leading slash does not count."""
    path = file.path.lstrip("/").removeprefix("./")
    text = f"{file.repo}\0{path}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:16]


def _has_obstacle(value: Any) -> bool:
    return isinstance(value, RawFile) and bool(value.obstacle)


def _tagged(value: Any, tag: str, key: Callable[[Any], bytes]) -> tuple[bytes, tuple[str, Any]]:
    return key(value), (tag, value)


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
