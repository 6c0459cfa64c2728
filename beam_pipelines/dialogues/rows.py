"""Rows of files whose records are not source files: JSON lines, a JSON array, parquet, Arrow.

In the frame of `beam_pipelines/sources/containers.py`: files are listed at launch and read in
workers, lines and row groups in parallel, and what cannot be read is an obstacle with its
position. All fields of a row are kept; `layouts` knows which ones it needs. The kind of a file
is told by its name, an array in a `.json` file by its first character.
"""

import codecs
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from beam_pipelines.sources import containers, parquet
from beam_pipelines.sources.compression import compression_of, unpacked
from beam_pipelines.sources.containers import Container, DamagedError, Range, UnreadableError
from beam_pipelines.sources.fields import BadRecordError, bad_record_file
from beam_pipelines.sources.jsonl import lines_of, longest_line
from opencoder_jax.errors import InputError
from opencoder_jax.formats.json_object import parse_object

_PROVENANCE = "rows"
_RANGE_BYTES = 1 << 26
_FIRST_ROWS = 20
_FIRST_FILES = 5
_JSON = tuple(
    f".{name}{packed}"
    for name in ("jsonl", "ndjson", "json")
    for packed in ("", ".gz", ".zst", ".xz", ".bz2")
)
_PARQUET = (".parquet", ".parq")
_ARROW = (".arrow",)
_READ = json.JSONDecoder().raw_decode
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, EOFError)


class Row(NamedTuple):
    """A record.

    Attributes:
      file: name of its file below the folder of all.
      position: in the file.
      values: field to value, as JSON has them.
    """

    file: str
    position: str
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """How such files are cut and read.

    Attributes:
      required: of each of these groups of fields a row needs all of one.
    """

    required: tuple[tuple[str, ...], ...]
    provenance: ClassVar[str] = _PROVENANCE
    suffixes: ClassVar[tuple[str, ...]] = (*_JSON, *_PARQUET, *_ARROW)

    def split(self, container: Container) -> Iterator[Range]:
        if container.name.endswith(_PARQUET):
            with parquet.opened(container) as file:
                groups = file.num_row_groups
            yield from (Range(group, group + 1) for group in range(groups))
        elif (
            container.name.endswith(_ARROW)
            or compression_of(container.name)
            or container.size <= _RANGE_BYTES
            or _is_array(container)
        ):
            yield Range(0, -1)
        else:
            for start in range(0, container.size, _RANGE_BYTES):
                yield Range(start, min(start + _RANGE_BYTES, container.size))

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[Any]:
        """`Row`s, and `RawFile`s with an obstacle for records that give none."""
        for position, values in _values(container, part, longest_line(max_file_bytes)):
            if isinstance(values, BadRecordError):
                yield bad_record_file(self.provenance, container, position, values)
            else:
                yield Row(container.name, position, values)

    def check(self, containers: Sequence[Container]) -> None:
        seen: dict[str, None] = {}
        for container in containers[:_FIRST_FILES]:
            for names in _first_fields(container):
                if any(names >= set(group) for group in self.required):
                    return
                seen |= dict.fromkeys(sorted(names))
        if seen:
            wanted = " or ".join(" and ".join(group) for group in self.required)
            raise InputError(
                f"{containers[0].location}: expected fields {wanted}; "
                f"its records have {', '.join(seen)} (docs/instructions.md)"
            )


def _first_fields(container: Container) -> Iterator[set[str]]:
    """Names of the fields of the first rows; of none where the file cannot be read."""
    try:
        part = Range(0, 1 if container.name.endswith(_PARQUET) else -1)
        for _, (_, values) in zip(
            range(_FIRST_ROWS), _values(container, part, longest_line(1 << 24)), strict=False
        ):
            if not isinstance(values, BadRecordError):
                yield set(values)
    except (DamagedError, UnreadableError):
        return


def _values(
    container: Container, part: Range, longest: int
) -> Iterator[tuple[str, dict[str, Any] | BadRecordError]]:
    if container.name.endswith(_PARQUET):
        yield from _of_parquet(container, part)
    elif container.name.endswith(_ARROW):
        yield from _of_arrow(container)
    elif _is_array(container):
        yield from _of_array(container, longest)
    else:
        yield from _of_lines(container, part, longest)


def _of_lines(
    container: Container, part: Range, longest: int
) -> Iterator[tuple[str, dict[str, Any] | BadRecordError]]:
    for offset, line, length in lines_of(container, part, longest):
        position = f"line at byte {offset}"
        if line is None:
            detail = f"a line of {length} bytes, at most {longest}"
            yield position, BadRecordError(detail, "too_large")
            continue
        try:
            yield position, parse_object(line, BadRecordError)
        except BadRecordError as error:
            yield position, error


def _is_array(container: Container) -> bool:
    with containers.open_container(container) as file:
        pieces = unpacked(file, compression_of(container.name))
        try:
            start = next(pieces, b"")
        except DamagedError:
            return False
    return start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def _of_array(
    container: Container, longest: int
) -> Iterator[tuple[str, dict[str, Any] | BadRecordError]]:
    """Elements of one JSON array, of which only one is held at a time.

    Raises:
      DamagedError: it ends too early, or an element is no JSON: what follows cannot be told.
    """
    with containers.open_container(container) as file:
        text = _Text(unpacked(file, compression_of(container.name)))
        text.skip("[")
        number = 0
        while True:
            position = f"item {number}"
            if number:
                text.skip(",")
            if text.skip("]"):
                return
            value = text.value(longest, position)
            if isinstance(value, dict):
                yield position, value
            else:
                yield position, BadRecordError(f"a {type(value).__name__}, expected an object")
            number += 1


class _Text:
    """What is left of a stream of UTF-8, of which no more is held than is asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._held = ""
        self._ended = False

    def skip(self, sign: str) -> bool:
        """Passes blanks and, where it comes next, `sign`; whether it did."""
        while True:
            self._held = self._held.lstrip(" \t\r\n")
            if self._held or self._ended:
                break
            self._more(1)
        found = self._held.startswith(sign)
        self._held = self._held.removeprefix(sign)
        return found

    def value(self, longest: int, position: str) -> Any:
        """The JSON value that comes next.

        Raises:
          DamagedError: none does.
        """
        while True:
            try:
                found, stop = _READ(self._held)
            except (ValueError, RecursionError) as error:
                if self._ended or len(self._held) > longest:
                    raise DamagedError(position, "JSON in an array", error) from error
                # Twice as much, so that a long one is not tried often.
                self._more(2 * max(len(self._held), 1))
            else:
                self._held = self._held[stop:]
                return found

    def _more(self, wanted: int) -> None:
        while len(self._held) < wanted and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            try:
                self._held += self._decoder.decode(piece or b"", final=self._ended)
            except UnicodeDecodeError as error:
                raise DamagedError("the array", "UTF-8", error) from error


def _of_parquet(
    container: Container, part: Range
) -> Iterator[tuple[str, dict[str, Any] | BadRecordError]]:
    with parquet.opened(container) as file:
        for group in range(part.start, part.stop):
            number = 0
            batches = file.iter_batches(batch_size=64, row_groups=[group], use_threads=False)
            while True:
                position = f"row group {group} from row {number}"
                try:
                    batch = next(batches, None)
                except _DAMAGE as error:
                    raise DamagedError(position, "parquet data", error) from error
                if batch is None:
                    break
                for values in _rows(batch):
                    yield f"row group {group} row {number}", values
                    number += 1


def _of_arrow(container: Container) -> Iterator[tuple[str, dict[str, Any] | BadRecordError]]:
    """Of Arrow's stream format, as Hugging Face's `datasets` saves it, or of its file format."""
    number = 0
    with containers.open_container(container) as stored:
        try:
            reader = _arrow_reader(stored)
            for batch in reader:
                for values in _rows(batch):
                    yield f"row {number}", values
                    number += 1
        except _DAMAGE as error:
            raise DamagedError(f"row {number}", "Arrow data", error) from error


def _arrow_reader(stored: Any) -> Iterator[pa.RecordBatch]:
    magic = stored.read(6)
    stored.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(stored)
        yield from (file.get_batch(index) for index in range(file.num_record_batches))
    else:
        yield from pa.ipc.open_stream(stored)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | BadRecordError]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        if batch.num_rows == 1:
            yield BadRecordError(f"a value cannot be read: {containers.one_line(error)}")
            return
        for index in range(batch.num_rows):
            yield from _rows(batch.slice(index, 1))
