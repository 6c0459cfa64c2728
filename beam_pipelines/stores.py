"""Folders that Beam's filesystems open: `gs://`, `s3://`, `hdfs://`, whatever is registered.

Each store raises exceptions of its own, some without a common base; here they become
`OSError` with the url. Object stores have no folders, no renaming at once, and show an
object when it is closed. Next: `output` finishes a job's folder there, `sources/remote`
reads from there.
"""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

_PIECE = 1 << 24


def is_remote(folder: str | os.PathLike) -> bool:
    """Whether Beam's filesystems, not the operating system, open `folder`."""
    return "://" in os.fspath(folder)


def is_pattern(url: str) -> bool:
    """Whether Beam's filesystems may take a name for a pattern: some do when they remove it."""
    return glob.has_magic(url)


def list_below(folder: str) -> Iterator[tuple[str, FileMetadata]]:
    """(path below the folder, metadata) of every file, by path; nothing where there is none.

    Raises:
      OSError: it cannot be listed.
    """
    root = folder.rstrip("/") + "/"
    try:
        # A folder may be named like a pattern.
        (found,) = FileSystems.match([glob.escape(root) + "**"])
    except Exception as error:
        raise _failure(folder, error) from error
    for file in sorted(found.metadata_list, key=lambda file: file.path):
        # Stores show folders that somebody made as empty objects.
        if not file.path.endswith("/"):
            yield file.path.removeprefix(root), file


def exists(url: str) -> bool:
    """Whether there is such a file.

    Raises:
      OSError: the store cannot tell.
    """
    try:
        return FileSystems.exists(url)
    except Exception as error:
        raise _failure(url, error) from error


def read(url: str, limit: int = -1) -> bytes:
    """The bytes of a file as they are stored, at most `limit`.

    Raises:
      OSError: it cannot be read.
    """
    try:
        # A `.gz` stays one: what a file holds is not for its name to say.
        with FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read(limit) if limit >= 0 else file.read()
    except Exception as error:
        raise _failure(url, error) from error


@contextlib.contextmanager
def fetched(place: str) -> Iterator[Path]:
    """A file on this machine: itself where it is local, else a copy that goes afterwards.

    Raises:
      OSError: it cannot be read.
    """
    if not is_remote(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="fetched-") as folder:
        copy = Path(folder) / place.rpartition("/")[2]
        try:
            with (
                FileSystems.open(place, compression_type=CompressionTypes.UNCOMPRESSED) as stored,
                copy.open("wb") as target,
            ):
                shutil.copyfileobj(stored, target, _PIECE)
        except Exception as error:
            raise _failure(place, error) from error
        yield copy


def write(url: str, content: bytes) -> None:
    """Raises: OSError: it cannot be written."""
    try:
        with _create(url) as target:
            target.write(content)
    except Exception as error:
        raise _failure(url, error) from error


def upload(local: Path, url: str) -> None:
    """Copies a local file in pieces; stores show it when it is whole.

    Raises:
      OSError: it cannot be read or written.
    """
    try:
        with local.open("rb") as source, _create(url) as target:
            while piece := source.read(_PIECE):
                target.write(piece)
    except Exception as error:
        raise _failure(url, error) from error


def move(urls: Sequence[tuple[str, str]]) -> None:
    """Moves files, (from, to) each, over what is there.

    Raises:
      OSError: one cannot be moved.
    """
    if urls:
        sources, targets = zip(*urls, strict=True)
        try:
            FileSystems.rename(list(sources), list(targets))
        except Exception as error:
            raise _failure(sources[0], error) from error


def remove(urls: Sequence[str]) -> None:
    """Removes files.

    Raises:
      OSError: one cannot be removed.
    """
    if urls:
        try:
            FileSystems.delete(list(urls))
        except Exception as error:
            raise _failure(urls[0], error) from error


def _create(url: str) -> Any:
    return FileSystems.create(
        url, "application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED
    )


def _failure(url: str, error: Exception) -> OSError:
    return OSError(f"{url}: {type(error).__name__}: {error}")
