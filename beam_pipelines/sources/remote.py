"""Files that Beam's filesystems open: `gs://`, `s3://`, `hdfs://` and whatever is registered.

A store is listed by one worker, with its own paging, and the files go to all. The
fingerprint is made of names, sizes and times of last change, as the store lists them:
nothing is read on the launcher. Millions of small objects are slow to open one by one;
`docs/cleaning.md` says which containers are better. Next: `folder`.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_pipelines.sources.entry import (
    NOT_SOURCE_FOLDERS,
    RawFile,
    decided_unread,
    file_id,
    readable,
)
from beam_pipelines.sources.local import digest_number, short_digest
from opencoder_jax.errors import InputError


class RemoteFile(NamedTuple):
    """A listed object: its url, its path below the root, its bytes, its time of last change."""

    url: str
    path: str
    size: int
    changed: float


def is_remote(path: str | os.PathLike) -> bool:
    """Whether Beam's filesystems, not the operating system, open `path`."""
    return "://" in os.fspath(path)


def list_files(root: str) -> Iterator[RemoteFile]:
    """All files below a remote folder, version control's own left out.

    Raises:
      InputError: it cannot be listed, or holds no file.
    """
    root = root.rstrip("/") + "/"
    try:
        (found,) = FileSystems.match([root + "**"])
    except (BeamIOError, ValueError) as error:
        raise InputError(f"source folder {root}: cannot be listed: {error}") from error
    if not found.metadata_list:
        raise InputError(f"source folder {root} holds no files")
    for file in found.metadata_list:
        path = file.path.removeprefix(root)
        hidden = NOT_SOURCE_FOLDERS.intersection(path.split("/")[:-1])
        # Stores show folders that somebody made as empty objects.
        if not hidden and not path.endswith("/"):
            yield RemoteFile(file.path, path, file.size_in_bytes, file.last_updated_in_seconds or 0)


def fingerprint(root: str) -> str:
    """16 hex digits of names, sizes and times of last change.

    Raises:
      InputError: it cannot be listed, or holds no file.
    """
    lines = (f"{file.path}\0{file.size}\0{file.changed}" for file in list_files(root))
    return short_digest(sum(map(digest_number, lines)))


def read_url(url: str, limit: int = -1) -> bytes:
    """The bytes of a remote file as they are stored, at most `limit`.

    Raises:
      OSError: it cannot be read, whatever its filesystem raised.
    """
    try:
        # A `.gz` stays one: what a file holds is not for its name to say.
        with FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read(limit) if limit >= 0 else file.read()
    except OSError:
        raise
    except Exception as error:  # Each store has exceptions of its own, some without a base class.
        raise OSError(f"{type(error).__name__}: {error}") from error


class ReadFolder(beam.PTransform):
    """PCollection of remote folders to PCollection[RawFile], a repository a first-level folder."""

    def __init__(self, provenance: str, max_file_bytes: int) -> None:
        super().__init__()
        self._provenance = provenance
        self._max_file_bytes = max_file_bytes

    def expand(self, roots: beam.PCollection) -> beam.PCollection[RawFile]:
        return (
            roots
            | "List" >> beam.FlatMap(list_files).with_output_types(RemoteFile)
            | "Spread" >> beam.Reshuffle()
            | "Open"
            >> beam.ParDo(_Open(self._provenance, self._max_file_bytes)).with_output_types(RawFile)
        )


class _Open(beam.DoFn):
    def __init__(self, provenance: str, max_file_bytes: int) -> None:
        self._provenance = provenance
        self._max_file_bytes = max_file_bytes

    def process(self, file: RemoteFile) -> Iterator[RawFile]:
        first, separator, rest = file.path.partition("/")
        repo, path = (first, rest) if separator else (".", first)
        content, obstacle, detail = b"", "", ""
        if not decided_unread(path, file.size, self._max_file_bytes):
            try:
                content = read_url(file.url, self._max_file_bytes + 1)
            except OSError as error:
                obstacle, detail = "unreadable", str(error)
        yield RawFile(
            repo=readable(repo),
            path=readable(path),
            content=content,
            size=file.size,
            id=file_id(self._provenance, repo, path),
            provenance=self._provenance,
            obstacle=obstacle,
            detail=detail,
        )
