"""RefineCode's released metadata as a source: its rows, with contents that the user has.

The paper's raw code was released as names only (repository, path, language; no text), for
the part that The Stack v2 has too. Rows meet the files of any other source by repository
and path, with or without a leading slash. The corpus is what the metadata lists: a row
without a file is a drop `no_content`, a file without a row a drop `not_in_metadata`, so
rows and files both add up. Next: `join`, `parquet`, `jsonl`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.sources import containers
from beam_pipelines.sources.entry import RawFile, Source, decided_unread
from beam_pipelines.sources.fields import Fields
from beam_pipelines.sources.join import JoinContents, Sides, name_key
from beam_pipelines.sources.jsonl import JsonLinesFormat
from beam_pipelines.sources.parquet import ParquetFormat
from opencoder_jax.errors import InputError

_PROVENANCE = "refinecode"


@dataclasses.dataclass(frozen=True)
class RefineCodeMetadata:
    """Names of files from `files`, their contents from `contents`.

    Attributes:
      files: parquet or JSON lines with a row a file; local, `gs://`, `s3://`.
      contents: the source that has the files, e.g. `StackV2` or `Folder`.
      fields: which column of the metadata keeps what.
    """

    files: str | Sequence[str]
    contents: Source
    fields: Fields = dataclasses.field(default_factory=Fields)

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        reading = containers.ReadContainers(self.files, self._form(), max_file_bytes)
        sides = Sides(
            pipeline | "Metadata" >> reading, self.contents.read(pipeline, max_file_bytes)
        )
        return sides | "Join" >> JoinContents(
            name_key, name_key, _filled, _without_content, _unlisted
        )

    def settings(self) -> dict[str, Any]:
        return {
            "type": "RefineCodeMetadata",
            "fields": dataclasses.asdict(self.fields),
            "contents": self.contents.settings(),
        }

    def fingerprint(self) -> str:
        """Of the metadata and of the contents.

        Raises:
          InputError: nothing matches.
        """
        own = containers.fingerprint(self.files, self._form().suffixes)
        return f"{own}-{self.contents.fingerprint()}"

    def _form(self) -> ParquetFormat | JsonLinesFormat:
        suffixes = ParquetFormat.suffixes + JsonLinesFormat.suffixes
        listed = containers.list_containers(self.files, suffixes)
        parquet = [file.name.endswith(ParquetFormat.suffixes) for file in listed]
        if not any(parquet):
            return JsonLinesFormat(self.fields, _PROVENANCE, with_content=False)
        if all(parquet):
            return ParquetFormat(self.fields, _PROVENANCE, with_content=False)
        raise InputError(
            f"input files {self.files}: parquet and other files in one set of metadata"
        )


def _filled(row: RawFile, content: RawFile) -> RawFile:
    # What its source did not hand over, for the reason that it had then.
    unread = None
    if content.size and not content.content:
        unread = decided_unread(content.path, content.size, None, content.language)
    return dataclasses.replace(
        content,
        repo=row.repo,
        path=row.path,
        id=row.id,
        provenance=row.provenance,
        language=row.language or content.language,
        obstacle=unread[0] if unread else "",
        detail=unread[1] if unread else "",
    )


def _without_content(row: RawFile) -> RawFile:
    return dataclasses.replace(row, obstacle="no_content", detail="no file of that name")


def _unlisted(content: RawFile, reason: str) -> RawFile:
    detail = (
        "no row of the metadata names it" if reason == "not_in_metadata" else "another is better"
    )
    return dataclasses.replace(content, content=b"", obstacle=reason, detail=detail)
