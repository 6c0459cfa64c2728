"""JSON lines as a source: `.jsonl`, plain or `.gz`, `.zst`, `.xz`, `.bz2`.

Plain files are cut into ranges of bytes; compressed ones are read as one stream each, so
many files of some hundred megabytes serve many workers better than a few huge ones. A
line is held in memory, never a file, and a line that is longer than any allowed content
could make it is passed over without being held. Positions are byte offsets in the
(unpacked) file. Next: `fields` for what a line may hold.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from beam_pipelines.sources import containers
from beam_pipelines.sources.compression import compression_of, unpacked
from beam_pipelines.sources.containers import Container, DamagedError, Range, UnreadableError
from beam_pipelines.sources.fields import (
    BadRecordError,
    Fields,
    bad_record_file,
    lacking,
    name_yours,
    raw_file,
)
from opencoder_jax.errors import InputError
from opencoder_jax.formats.json_object import parse_object

_PROVENANCE = "jsonl"
_RANGE_BYTES = 1 << 26
_PIECE = 1 << 18
# Of a line: escapes make a character longer, and there are other fields.
_ESCAPED = 4
_OTHER_FIELDS = 1 << 20
_CHECKED_FILES = 5
_CHECKED_LINES = 20
_OTHER_KINDS = {
    b"PAR1": "parquet",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\xff\xfe": "UTF-16 or UTF-32",
    b"\xfe\xff": "UTF-16",
}
_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class JsonLines(containers.ContainerSource):
    """Files of one JSON object a line.

    Attributes:
      fields: where each object keeps what a document needs.
    """

    fields: Fields = dataclasses.field(default_factory=Fields)

    def form(self) -> containers.Format:
        return JsonLinesFormat(self.fields)


@dataclasses.dataclass(frozen=True)
class JsonLinesFormat:
    """How JSON lines are cut and read; without content for records whose content is elsewhere."""

    fields: Fields
    provenance: str = _PROVENANCE
    with_content: bool = True
    suffixes: ClassVar[tuple[str, ...]] = tuple(
        f".{name}{packed}"
        for name in ("jsonl", "ndjson", "json")
        for packed in ("", ".gz", ".zst", ".xz", ".bz2")
    )

    @property
    def required(self) -> tuple[str, ...]:
        return ("content", "path") if self.with_content else ("path",)

    def split(self, container: Container) -> Iterator[Range]:
        if not compression_of(container.name):
            with containers.open_container(container) as file:
                next(_of_text(unpacked(file, "")), b"")
        if compression_of(container.name) or container.size <= _RANGE_BYTES:
            yield Range(0, -1)
            return
        for start in range(0, container.size, _RANGE_BYTES):
            yield Range(start, min(start + _RANGE_BYTES, container.size))

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[Any]:
        for offset, line, length in lines_of(container, part, longest_line(max_file_bytes)):
            position = f"line at byte {offset}"
            try:
                if line is None:
                    raise BadRecordError(
                        f"a line of {length} bytes, at most {longest_line(max_file_bytes)}",
                        "too_large",
                    )
                record = parse_object(line, BadRecordError)
                yield self.value(record, container, position, max_file_bytes)
            except BadRecordError as error:
                yield bad_record_file(self.provenance, container, position, error)

    def value(
        self, record: Mapping[str, Any], container: Container, position: str, max_file_bytes: int
    ) -> Any:
        """What a record becomes.

        Raises:
          BadRecordError: it gives no file.
        """
        return raw_file(
            record,
            self.fields,
            self.provenance,
            container.name,
            max_file_bytes,
            is_text=True,
            with_content=self.with_content,
        )

    def check(self, containers: Sequence[Container]) -> None:
        seen: dict[str, None] = {}
        for container in containers[:_CHECKED_FILES]:
            for record in _first_records(container):
                if not lacking(self.fields, record, self.required):
                    return
                seen |= dict.fromkeys(record)
        if seen:
            what = lacking(self.fields, seen, self.required) or "all required fields in one record"
            raise InputError(
                f"{containers[0].location}: expected {what}, its records have {', '.join(seen)}; "
                f"{name_yours(self.fields)}"
            )


def longest_line(max_file_bytes: int) -> int:
    """Bytes of the longest line that is read."""
    return _ESCAPED * max_file_bytes + _OTHER_FIELDS


def lines_of(
    container: Container, part: Range, longest: int
) -> Iterator[tuple[int, bytes | None, int]]:
    """(offset, line or None if it is too long, length) of the lines that begin in a range.

    Raises:
      DamagedError, UnreadableError: after what could be read before.
    """
    kind = compression_of(container.name)
    with containers.open_container(container) as file:
        # The byte before the range tells whether a line begins at its start.
        begin = max(part.start - 1, 0)
        file.seek(begin)
        pieces = unpacked(file, kind)
        if not part.start:
            pieces = _of_text(pieces)
        found = split_lines(pieces, begin, longest)
        if part.start:
            next(found, None)
        for offset, line, length in found:
            if 0 <= part.stop <= offset:
                return
            if line is None or line.strip():
                yield offset, line, length


def split_lines(
    pieces: Iterator[bytes], offset: int, longest: int
) -> Iterator[tuple[int, bytes | None, int]]:
    """(offset, line without its end, length) of each line of a stream in pieces.

    Of a line longer than `longest` only the length is known; it is never held whole.
    """
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        *complete, rest = piece.split(b"\n")
        for end in complete:
            length += len(end)
            yield offset, b"".join([*held, end]) if length <= longest else None, length
            offset += length + 1
            held, length = [], 0
        length += len(rest)
        held = [*held, rest] if length <= longest else []
    if length:
        yield offset, b"".join(held) if length <= longest else None, length


def _of_text(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, where they begin as text may.

    Raises:
      DamagedError: they are of another kind of file.
    """
    start = next(pieces, b"")
    got = next((kind for magic, kind in _OTHER_KINDS.items() if start.startswith(magic)), "")
    if not got and b"\0" in start[:_PIECE]:
        got = f"NUL at byte {start.index(0)}"
    if got:
        raise DamagedError("from byte 0", "JSON lines", got)
    # Blanks, so that offsets stay those of the file.
    yield b"   " + start[3:] if start.startswith(_BOM) else start
    yield from pieces


def _first_records(container: Container) -> Iterator[dict[str, Any]]:
    lines = lines_of(container, Range(0, -1), longest_line(_OTHER_FIELDS))
    try:
        for _, line, _ in itertools.islice(lines, _CHECKED_LINES):
            try:
                if line is not None:
                    yield parse_object(line, BadRecordError)
            except BadRecordError:
                continue
    except (DamagedError, UnreadableError):
        return
