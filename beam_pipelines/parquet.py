"""Records as parquet files, for people who look with DuckDB or pandas.

A column is a field of the record's dataclass. Rows are the records of the ArrayRecord
shard beside it, in its order, written in row groups of bounded size; the bytes depend on
the records and on pyarrow's version alone. Next: `sinks.WriteShards` writes both.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

# A row group is held as Python objects and as Arrow's before it is written.
_ROW_GROUP_BYTES = 32 << 20
_ROW_GROUP_ROWS = 10_000
_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    float: pa.float64(),
    float | None: pa.float64(),
}


@dataclasses.dataclass(frozen=True)
class Table:
    """Parquet files of one set.

    Attributes:
      folder: path or url of the files.
      record: dataclass of the records; its fields are the columns.
      decode: serialized record to `record`.
    """

    folder: str
    record: type
    decode: Callable[[bytes], Any]

    def write(self, path: str | os.PathLike, records: Sequence[bytes]) -> None:
        """Writes one file under a temporary name, then moves it into place."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        schema = pa.schema(
            [(name, _TYPES[kind]) for name, kind in get_type_hints(self.record).items()]
        )
        try:
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for group in _row_groups(records):
                    decoded = [self.decode(record) for record in group]
                    columns = {
                        name: [getattr(row, name) for row in decoded] for name in schema.names
                    }
                    writer.write_table(pa.table(columns, schema))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        temporary.replace(path)


def _row_groups(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start, size = 0, 0
    for index, record in enumerate(records):
        full = size + len(record) > _ROW_GROUP_BYTES or index - start == _ROW_GROUP_ROWS
        if full and index > start:
            yield records[start:index]
            start, size = index, 0
        size += len(record)
    if start < len(records):
        yield records[start:]
