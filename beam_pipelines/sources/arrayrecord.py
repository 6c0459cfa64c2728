"""ArrayRecord as a source: a corpus of ours again, or Examples with named features.

Without `fields` the records are `Document`s as the cleaning job writes them; ids, stars
and licences stay what they were. With `fields` they are `tf.train.Example`s whose
features are found by name, as parquet columns are. Ranges of records go to workers, a few
records in memory at a time; a damaged record costs only itself. The library opens local
files only, so a remote one is copied to the worker first and read by one worker.
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from beam_pipelines.sources import containers
from beam_pipelines.sources.containers import Container, DamagedError, Range, UnreadableError
from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.fields import BadRecordError, Fields, bad_record_file, lacking, raw_file
from beam_pipelines.stores import is_remote
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.example import RecordError, decode_example
from opencoder_jax.formats.shards import open_shard

_PROVENANCE = "arrayrecord"
_RANGE_RECORDS = 4096
_RECORDS = 8
_CHECKED_FILES = 5


@dataclasses.dataclass(frozen=True)
class ArrayRecords(containers.ContainerSource):
    """ArrayRecord files of documents or Examples.

    Attributes:
      fields: which feature keeps what; None: `Document` records.
    """

    fields: Fields | None = None

    def form(self) -> containers.Format:
        return ArrayRecordFormat(self.fields)


@dataclasses.dataclass(frozen=True)
class ArrayRecordFormat:
    """How ArrayRecord is cut and read; `is_typed`: documents keep their language."""

    fields: Fields | None
    provenance: str = _PROVENANCE
    is_typed: bool = False
    suffixes: ClassVar[tuple[str, ...]] = (".arrayrecord", ".array_record")

    def split(self, container: Container) -> Iterator[Range]:
        with _opened(container) as reader:
            total = reader.num_records()
        step = total if is_remote(container.location) else _RANGE_RECORDS
        for start in range(0, total, step or 1):
            yield Range(start, min(start + step, total))

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[RawFile]:
        with _opened(container) as reader:
            for start in range(part.start, part.stop, _RECORDS):
                for number, record in _records(reader, start, min(start + _RECORDS, part.stop)):
                    yield self._file(container, number, record, max_file_bytes)

    def check(self, containers: Sequence[Container]) -> None:
        for container in containers[:_CHECKED_FILES]:
            try:
                with _opened(container) as reader:
                    ((_, record),) = _records(reader, 0, min(reader.num_records(), 1))
                    features = decode_example(record) if record is not None else {}
            except (DamagedError, UnreadableError, RecordError, ValueError):
                continue
            missing = ""
            if self.fields is None:
                missing = "" if {"id", "text", "path"} <= features.keys() else "Document records"
            else:
                missing = lacking(self.fields, features, ("content", "path"))
            if missing:
                raise InputError(
                    f"{container.location}: expected {missing}, its records have "
                    f"{', '.join(sorted(features))}; name yours in `fields` (docs/cleaning.md)"
                )
            return

    def _file(
        self, container: Container, number: int, record: bytes | None, max_file_bytes: int
    ) -> RawFile:
        position = f"record {number}"
        try:
            if record is None:
                raise BadRecordError("expected a record, got damaged data", "damaged_source")
            if self.fields is None:
                return _document_file(record, self.is_typed)
            features = {
                name: values[0] if len(values) == 1 else values or None
                for name, values in decode_example(record).items()
            }
            return raw_file(features, self.fields, self.provenance, container.name, max_file_bytes)
        except (BadRecordError, RecordError) as error:
            bad = error if isinstance(error, BadRecordError) else BadRecordError(str(error))
            return bad_record_file(self.provenance, container, position, bad)


def _document_file(record: bytes, is_typed: bool) -> RawFile:
    document = decode_document(record)
    content = document.text.encode("utf-8")
    return RawFile(
        repo=document.repo,
        path=document.path,
        content=content,
        size=len(content),
        id=document.id,
        licence=document.licence,
        stars=document.stars,
        commit_time=document.commit_time,
        provenance=document.provenance,
        language=document.language,
        is_typed=is_typed,
    )


@contextlib.contextmanager
def _opened(container: Container) -> Iterator[Any]:
    """A reader of a container whose index is sound.

    Raises:
      DamagedError: it is no ArrayRecord, or cut short.
      UnreadableError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        path = container.location
        stored = stack.enter_context(containers.open_container(container))
        if is_remote(path):
            copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".arrayrecord"))
            shutil.copyfileobj(stored, copy, 1 << 20)
            copy.flush()
            path = copy.name
        try:
            reader = stack.enter_context(open_shard(path))
        except RecordError as error:
            message = str(error).removeprefix(f"{path}: ")
            raise DamagedError("all records", "an ArrayRecord file", message) from error
        yield reader


def _records(reader: Any, start: int, stop: int) -> Iterator[tuple[int, bytes | None]]:
    """(number, record or None where it is damaged)."""
    try:
        records = reader.read(start, stop) if start < stop else []
    except (RuntimeError, ValueError, IndexError):
        records = []
    if len(records) == stop - start:
        yield from enumerate(records, start=start)
    elif stop - start == 1:
        yield start, None
    else:
        for number in range(start, stop):
            yield from _records(reader, number, number + 1)
