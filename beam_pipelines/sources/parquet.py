"""Parquet as a source, each row a file: row groups in parallel, one row at a time.

Only the columns that are used are read, page by page, so memory holds a page of each (twice
where it has a dictionary) and one row, whatever the size of a row group; of a content that
is much too large Python never sees more than the length. Text columns are taken as bytes:
parquet does not promise that they are UTF-8, and `transforms/read.py` decides.
Dictionaries, large and binary columns mean the same as plain ones.
Next: `fields` for what a row may hold, `stack_v2` for contents that are kept apart.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_pipelines.sources import containers
from beam_pipelines.sources.containers import Container, DamagedError, Range, UnreadableError
from beam_pipelines.sources.fields import (
    BadRecordError,
    Fields,
    Omitted,
    bad_record_file,
    lacking,
    name_yours,
    raw_file,
)
from opencoder_jax.errors import InputError

_PROVENANCE = "parquet"
# 800 MB/s with rows of 5 KB; more at once are faster, and each may be as large as a page allows.
_ROWS = 1
_BUFFER = 1 << 20
# Of what may be handed over: no encoding takes more than four times the bytes of UTF-8.
_LONGEST_CONTENT = 4
_CHECKED_FILES = 20
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, EOFError)


@dataclasses.dataclass(frozen=True)
class Parquet(containers.ContainerSource):
    """Parquet files with the content in a column.

    Attributes:
      fields: which column keeps what a document needs.
    """

    fields: Fields = dataclasses.field(default_factory=Fields)

    def form(self) -> containers.Format:
        return ParquetFormat(self.fields)


@dataclasses.dataclass(frozen=True)
class ParquetFormat:
    """How parquet is cut and read; without content for rows whose content is elsewhere."""

    fields: Fields
    provenance: str = _PROVENANCE
    with_content: bool = True
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".parq")

    @property
    def required(self) -> tuple[str, ...]:
        return ("content", "path") if self.with_content else ("path",)

    def split(self, container: Container) -> Iterator[Range]:
        with opened(container) as file:
            columns = file.schema_arrow.names
            if missing := lacking(self.fields, columns, self.required):
                got = f"the columns {', '.join(columns)}"
                raise DamagedError("all rows", missing, got)
            groups = file.num_row_groups
        for group in range(groups):
            yield Range(group, group + 1)

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[Any]:
        longest = _LONGEST_CONTENT * max_file_bytes
        given = rows(container, part, self.fields, self.with_content, longest)
        for position, row, is_text in given:
            try:
                if isinstance(row, BadRecordError):
                    raise row
                yield self.value(row, container, position, max_file_bytes, is_text)
            except BadRecordError as error:
                yield bad_record_file(self.provenance, container, position, error)

    def value(
        self,
        row: Mapping[str, Any],
        container: Container,
        position: str,
        max_file_bytes: int,
        is_text: bool,
    ) -> Any:
        """What a row becomes.

        Raises:
          BadRecordError: it gives no file.
        """
        return raw_file(
            row,
            self.fields,
            self.provenance,
            container.name,
            max_file_bytes,
            is_text=is_text,
            with_content=self.with_content,
        )

    def check(self, containers: Sequence[Container]) -> None:
        missing, columns = "", []
        for container in containers[:_CHECKED_FILES]:
            try:
                with opened(container) as file:
                    columns = file.schema_arrow.names
            except (DamagedError, UnreadableError):
                continue
            missing = lacking(self.fields, columns, self.required)
            if not missing:
                return
        if missing:
            raise InputError(
                f"{containers[0].location}: expected {missing}, its columns are "
                f"{', '.join(columns)}; {name_yours(self.fields)}"
            )


@contextlib.contextmanager
def opened(container: Container) -> Iterator[pq.ParquetFile]:
    """A parquet file whose footer is sound.

    Raises:
      DamagedError: it is none.
      UnreadableError: it cannot be opened or read.
    """
    with containers.open_container(container) as stored:
        try:
            file = pq.ParquetFile(
                stored, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
            )
        except _DAMAGE as error:
            raise DamagedError("all rows", "a parquet file", error) from error
        yield file


def rows(
    container: Container, part: Range, fields: Fields, with_content: bool, longest: int
) -> Iterator[tuple[str, Mapping[str, Any] | BadRecordError, bool]]:
    """(position, row, whether its content column is text) of row groups.

    Args:
      container: the file.
      part: the row groups.
      fields: which columns are read.
      with_content: whether contents are.
      longest: bytes of a content; one that has more is an `Omitted`.

    Raises:
      DamagedError: a page is damaged; rows before it have been given.
      UnreadableError: the file cannot be opened or read.
    """
    with opened(container) as file:
        schema = file.schema_arrow
        columns = fields.present(schema.names)
        if not with_content:
            columns = [column for column in columns if column not in fields.content]
        is_text = any(
            name in columns and _is_text(schema.field(name).type) for name in fields.content
        )
        for group in range(part.start, part.stop):
            number = 0
            batches = file.iter_batches(
                batch_size=_ROWS, row_groups=[group], columns=columns, use_threads=False
            )
            while True:
                try:
                    batch = next(batches, None)
                    given = [] if batch is None else _rows_of(batch, fields.content, longest)
                except _DAMAGE as error:
                    position = f"row group {group} from row {number}"
                    raise DamagedError(position, "parquet data", error) from error
                if batch is None:
                    break
                for row in given:
                    yield f"row group {group} row {number}", row, is_text
                    number += 1


def _rows_of(
    batch: pa.RecordBatch, contents: Sequence[str], longest: int
) -> list[dict[str, Any] | BadRecordError]:
    names = batch.schema.names
    try:
        values = [
            _values(column, longest if name in contents else None)
            for name, column in zip(names, batch.columns, strict=True)
        ]
    except (ValueError, OverflowError, pa.ArrowException) as error:
        if batch.num_rows == 1:
            return [BadRecordError(f"a value cannot be read: {containers.one_line(error)}")]
        rows = (batch.slice(index, 1) for index in range(batch.num_rows))
        return [row for one in rows for row in _rows_of(one, contents, longest)]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _values(column: pa.Array, longest: int | None) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    # Before anything is copied.
    if longest is not None and column.nbytes > longest and _has_length(column.type):
        lengths = pc.binary_length(column).to_pylist()
        return [
            Omitted(length)
            if length is not None and length > longest
            else _values(column.slice(index, 1), None)[0]
            for index, length in enumerate(lengths)
        ]
    if _is_text(column.type):
        column = column.cast(pa.large_binary())
    return column.to_pylist()


def _has_length(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
