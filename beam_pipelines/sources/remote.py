"""Files that Beam's filesystems open: `gs://`, `s3://`, `hdfs://` and whatever is registered.

A store is listed by one worker, with its own paging, and the files go to all. The
fingerprint is made of names, sizes and times of last change, as the store lists them:
nothing is read on the launcher. Millions of small objects are slow to open one by one;
`docs/cleaning.md` says which containers are better. Next: `folder`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam

from beam_pipelines import stores
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


def list_files(root: str) -> Iterator[RemoteFile]:
    """All files below a remote folder, version control's own left out.

    Raises:
      InputError: it cannot be listed, or holds no file.
    """
    found = False
    try:
        for path, file in stores.list_below(root):
            found = True
            if not NOT_SOURCE_FOLDERS.intersection(path.split("/")[:-1]):
                changed = file.last_updated_in_seconds or 0
                yield RemoteFile(file.path, path, file.size_in_bytes, changed)
    except OSError as error:
        raise InputError(f"source folder {root}: cannot be listed: {error}") from error
    if not found:
        raise InputError(f"source folder {root} holds no files")


def fingerprint(root: str) -> str:
    """16 hex digits of names, sizes and times of last change.

    Raises:
      InputError: it cannot be listed, or holds no file.
    """
    lines = (f"{file.path}\0{file.size}\0{file.changed}" for file in list_files(root))
    return short_digest(sum(map(digest_number, lines)))


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
                content = stores.read(file.url, self._max_file_bytes + 1)
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
