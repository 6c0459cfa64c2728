"""One file of a source's list, before it is read, and what every source offers.

Paths of a file system are bytes, records are UTF-8: an entry keeps the bytes to open
the file with and a readable path for people. Its id is made from the bytes, so two
odd names never become one document.
"""

import dataclasses
import os
import stat
from typing import Any, Protocol

from opencoder_jax.formats.document import document_id

# Kept by version control and by Python itself beside the sources: no documents.
NOT_SOURCE_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__"})


@dataclasses.dataclass(frozen=True, slots=True)
class FileEntry:
    """A file that a source offers.

    Attributes:
      id: of the document that it becomes.
      repo: repository or package, with its version where it has one.
      path: inside the repository, forward slashes; bytes that are no UTF-8 as `\\xNN`.
      location: the absolute path as the operating system has it.
      size: bytes, as listed.
      licence: as the source declares it.
      stars: of the repository; 0 where unknown.
      commit_time: seconds since the epoch; 0 where unknown.
      provenance: the source's name.
      obstacle: why it cannot be read, as a drop reason; empty for a regular file.
      detail: of the obstacle.
    """

    id: str
    repo: str
    path: str
    location: bytes
    size: int
    licence: str = ""
    stars: int = 0
    commit_time: int = 0
    provenance: str = ""
    obstacle: str = ""
    detail: str = ""


class Source(Protocol):
    """What the cleaning job reads from."""

    def entries(self) -> list[FileEntry]:
        """Every file, in an order that depends on names alone.

        Raises:
          InputError: the source is missing or empty.
        """

    def settings(self) -> dict[str, Any]:
        """What distinguishes its output from another source's, for the manifest: no paths."""


def make_entry(
    provenance: str,
    repo: str,
    path: str,
    location: str,
    *,
    follow_links: bool,
    licence: str = "",
) -> FileEntry:
    """The entry of one path of the file system, whatever is there.

    Args:
      provenance: the source's name.
      repo: repository or package.
      path: inside the repository, as `os` gives it (undecodable bytes as surrogates).
      location: absolute path.
      follow_links: whether a link to a file counts as that file.
      licence: as the source declares it.
    """
    size, obstacle, detail = _inspect(location, follow_links)
    return FileEntry(
        id=document_id(provenance, repo, path),
        repo=readable(repo),
        path=readable(path),
        location=os.fsencode(os.path.realpath(location) if follow_links else location),
        size=size,
        licence=licence,
        provenance=provenance,
        obstacle=obstacle,
        detail=detail,
    )


def readable(name: str) -> str:
    """A file name as text that UTF-8 can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def open_regular(location: bytes) -> int:
    """A descriptor of a regular file that is no link; never waits, not even for a pipe.

    Raises:
      OSError: it cannot be opened, or is something else.
    """
    descriptor = os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


def _inspect(location: str, follow_links: bool) -> tuple[int, str, str]:
    """(size, obstacle, detail) of a path."""
    try:
        status = os.lstat(location)
        if stat.S_ISLNK(status.st_mode):
            target = readable(os.readlink(location))
            try:
                status = os.stat(location)
            except OSError as error:
                return 0, "dangling_link", f"to {target}: {error.strerror}"
            if not follow_links:
                return 0, "link", f"to {target}"
    except OSError as error:
        return 0, "unreadable", error.strerror or str(error)
    if not stat.S_ISREG(status.st_mode):
        return 0, "not_a_file", stat.filemode(status.st_mode)
    return status.st_size, "", ""
