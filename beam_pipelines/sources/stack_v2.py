"""The Stack v2 as a source: its parquet files, with contents inside or kept apart.

`the-stack-v2` lists blobs (`blob_id`, the SHA-1 of the bytes, and `src_encoding`), its
`-dedup` and `-train-smol` relatives do too; teams keep the contents in a column, in a
folder or bucket of files named by blob id (as Software Heritage's, gzip or plain), or in
another data set. Blobs are bytes in their original encoding and become UTF-8 here; a
content column is UTF-8 already, whatever `src_encoding` says.
Next: `parquet` reads the rows, `join` brings rows and contents together.
"""

import dataclasses
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines.sources import containers
from beam_pipelines.sources.containers import Container, UnreadableError
from beam_pipelines.sources.entry import RawFile, Source, decided_unread
from beam_pipelines.sources.fields import BadRecordError, Fields, decoded, first, text_of
from beam_pipelines.sources.join import JoinContents, PartObstacles, Sides
from beam_pipelines.sources.parquet import ParquetFormat
from opencoder_jax.errors import InputError

_PROVENANCE = "stack_v2"
_BLOB = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class StackV2:
    """Parquet files in the layout of The Stack v2.

    Attributes:
      files: a path, pattern or folder of parquet, or several; local, `gs://`, `s3://`.
      blobs: folder of files named by `blob_id`, gzip or plain; each is opened where its
        row is. Empty: contents are in a column, or in `contents`.
      contents: any source whose paths end in the blob id (a `Folder` of blobs; parquet or
        JSONL with `Fields.path = ("blob_id",)`); joined in the job.
      fields: which column keeps what a document needs.
    """

    files: str | Sequence[str]
    blobs: str = ""
    contents: Source | None = None
    fields: Fields = dataclasses.field(default_factory=Fields)

    def __post_init__(self) -> None:
        if self.blobs and self.contents is not None:
            raise InputError("StackV2: contents are in `blobs` or in `contents`, not in both")

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        if not self.blobs and self.contents is None:
            form = ParquetFormat(self.fields, _PROVENANCE)
            return pipeline | "StackV2" >> containers.ReadContainers(
                self.files, form, max_file_bytes
            )
        rows = pipeline | "StackV2" >> containers.ReadContainers(
            self.files, BlobRows(self.fields, _PROVENANCE, with_content=False), max_file_bytes
        )
        if self.contents is not None:
            sides = Sides(rows, self.contents.read(pipeline, max_file_bytes))
            return sides | "Join" >> JoinContents(
                _row_key, _content_key, _filled, _without_content, _unlisted
            )
        listed = rows | "Obstacles" >> PartObstacles()
        # Opening takes longer than listing: blobs go to all workers.
        files = (
            listed.sound
            | "SpreadRows" >> beam.Reshuffle()
            | "Open" >> beam.Map(_open_blob, self.blobs, max_file_bytes).with_output_types(RawFile)
        )
        return (files, listed.obstacles) | "StackFiles" >> beam.Flatten()

    def settings(self) -> dict[str, Any]:
        contents = None if self.contents is None else self.contents.settings()
        return {
            "type": "StackV2",
            "fields": dataclasses.asdict(self.fields),
            "contents": "blobs" if self.blobs else contents,
        }

    def fingerprint(self) -> str:
        """Of names, sizes and contents; blobs of a folder are what their ids say.

        Raises:
          InputError: nothing matches.
        """
        listed = containers.fingerprint(self.files, ParquetFormat.suffixes)
        return listed if self.contents is None else f"{listed}-{self.contents.fingerprint()}"


class BlobRow(NamedTuple):
    """A row whose content is elsewhere."""

    file: RawFile
    blob: str
    encoding: str


@dataclasses.dataclass(frozen=True)
class BlobRows(ParquetFormat):
    """Rows as `BlobRow`."""

    @property
    def required(self) -> tuple[str, ...]:
        return ("blob", "path")

    def value(
        self,
        row: Mapping[str, Any],
        container: Container,
        position: str,
        max_file_bytes: int,
        is_text: bool,
    ) -> BlobRow:
        file = super().value(row, container, position, max_file_bytes, is_text)
        try:
            blob = text_of(first(row, self.fields.blob), "blob_id")
            if not _BLOB.fullmatch(blob):
                raise BadRecordError(f"blob_id {containers.one_line(blob, 60)!r} is no SHA-1")
            encoding = text_of(first(row, self.fields.encoding) or "", "src_encoding")
        except BadRecordError as error:
            error.repo, error.path = file.repo, file.path
            raise
        return BlobRow(file, blob, encoding)


def _open_blob(row: BlobRow, blobs: str, max_file_bytes: int) -> RawFile:
    """The row with its blob, which has to be the one that the row names."""
    if decided_unread(row.file.path, 0, None, row.file.language):
        return row.file
    location = blobs.rstrip("/") + "/" + row.blob
    try:
        with containers.open_container(Container(location, row.blob, 0)) as file:
            stored = file.read(max_file_bytes + 1)
    except UnreadableError as error:
        reason = (
            "no_content" if "o such" in error.detail or "ot found" in error.detail else error.reason
        )
        return dataclasses.replace(
            row.file, obstacle=reason, detail=f"blob {row.blob}: {error.detail}"
        )
    if not _is_blob(stored, row.blob):
        unzip = zlib.decompressobj(wbits=31)
        try:
            stored = unzip.decompress(stored, max_file_bytes + 1)
        except zlib.error:
            detail = f"blob {row.blob}: expected bytes of that SHA-1, got others"
            return dataclasses.replace(row.file, obstacle="damaged_source", detail=detail)
        if len(stored) <= max_file_bytes and not _is_blob(stored, row.blob):
            detail = f"blob {row.blob}: expected bytes of that SHA-1, got others in gzip"
            return dataclasses.replace(row.file, obstacle="damaged_source", detail=detail)
    return _with_bytes(row, stored, len(stored))


def _is_blob(content: bytes, blob: str) -> bool:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest() == blob


def _filled(row: BlobRow, content: RawFile) -> RawFile:
    # What is not the blob has been made text by whoever keeps it.
    if content.content and not _is_blob(content.content, row.blob):
        return dataclasses.replace(row.file, content=content.content, size=content.size)
    return _with_bytes(row, content.content, content.size)


def _with_bytes(row: BlobRow, content: bytes, size: int) -> RawFile:
    try:
        text = decoded(content, row.encoding) if row.encoding else content
    except BadRecordError as error:
        return dataclasses.replace(row.file, size=size, obstacle=error.reason, detail=error.detail)
    return dataclasses.replace(row.file, content=text, size=len(text) or size)


def _without_content(row: BlobRow) -> RawFile:
    return dataclasses.replace(
        row.file, obstacle="no_content", detail=f"blob {row.blob} is nowhere"
    )


def _unlisted(content: RawFile, reason: str) -> RawFile:
    return dataclasses.replace(content, content=b"", obstacle=reason, detail="content by blob id")


def _row_key(row: BlobRow) -> bytes:
    return bytes.fromhex(row.blob)


def _content_key(content: RawFile) -> bytes:
    name = content.path.rpartition("/")[2]
    return bytes.fromhex(name) if _BLOB.fullmatch(name) else name.encode()
