"""Files of the operating system: listed without opening, opened without waiting.

`LocalFile` is what travels between the worker that lists and the one that reads. Nothing
that is no regular file is ever opened: a link, pipe or device becomes a `RawFile` with an
obstacle. `fingerprint` reads contents, so that an edit that keeps the size cannot pass for
the same input. Next: `folder` and `installed`, the sources that list such files.
"""

import dataclasses
import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_pipelines.sources.entry import RawFile, decided_unread, file_id, readable

_PIECE = 1 << 20
_PACK = 32


@dataclasses.dataclass(frozen=True, slots=True)
class LocalFile:
    """A listed file; the fields that `RawFile` has too mean the same.

    Attributes:
      location: the absolute path as the operating system has it.
    """

    id: str
    repo: str
    path: str
    location: bytes
    size: int
    licence: str = ""
    provenance: str = ""
    obstacle: str = ""
    detail: str = ""


def list_file(
    provenance: str,
    repo: str,
    path: str,
    location: str,
    *,
    follow_links: bool,
    licence: str = "",
) -> LocalFile:
    """One path of the file system, whatever is there.

    Args:
      provenance: the source's name.
      repo: repository or package.
      path: inside the repository, as `os` gives it (undecodable bytes as surrogates).
      location: absolute path.
      follow_links: whether a link to a file counts as that file.
      licence: as the source declares it.
    """
    size, obstacle, detail = _inspect(location, follow_links)
    return LocalFile(
        id=file_id(provenance, repo, path),
        repo=readable(repo),
        path=readable(path),
        location=os.fsencode(os.path.realpath(location) if follow_links else location),
        size=size,
        licence=licence,
        provenance=provenance,
        obstacle=obstacle,
        detail=detail,
    )


def read_file(file: LocalFile, max_file_bytes: int) -> RawFile:
    """The file with its content, where anybody will look at it.

    Of a file that has grown since it was listed at most one byte above the cap is read.
    """
    content, obstacle, detail = b"", file.obstacle, file.detail
    if not obstacle and not decided_unread(file.path, file.size, max_file_bytes):
        try:
            with open(open_regular(file.location), "rb") as opened:
                content = opened.read(max_file_bytes + 1)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "")
            obstacle, detail = "unreadable", f"{name} {error.strerror or error}".strip()
    return RawFile(
        repo=file.repo,
        path=file.path,
        content=content,
        size=file.size,
        id=file.id,
        licence=file.licence,
        provenance=file.provenance,
        obstacle=obstacle,
        detail=detail,
    )


def packs(files: Iterable[LocalFile]) -> Iterator[list[LocalFile]]:
    """The files as they are handed from worker to worker: so many elements fewer."""
    for pack in itertools.batched(files, _PACK):
        yield list(pack)


class ReadLocal(beam.DoFn):
    """A pack of `LocalFile`s to `RawFile`s."""

    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes

    def process(self, files: list[LocalFile]) -> Iterator[RawFile]:
        for file in files:
            yield read_file(file, self._max_file_bytes)


def fingerprint(files: Iterable[LocalFile]) -> tuple[str, int]:
    """16 hex digits of every id, size, licence and content, and the number of files.

    Where the files stand, when they were written and in which order they come does not
    count. Of files that are dropped by their names nothing is read.
    """
    total, count = 0, 0
    for file in files:
        content = file.obstacle or (decided_unread(file.path, file.size, None) or ("",))[0]
        if not content:
            try:
                content = _content_sha256(file.location)
            except OSError as error:
                content = f"unreadable {error.errno}"
        total += digest_number(f"{file.id} {file.size} {file.licence} {content}")
        count += 1
    return short_digest(total), count


def digest_number(line: str) -> int:
    """A line as a number, for fingerprints of sets: numbers add up in any order."""
    return int.from_bytes(hashlib.sha256(line.encode("utf-8", "surrogatepass")).digest(), "big")


def short_digest(total: int) -> str:
    """16 hex digits of a sum of `digest_number`s."""
    return hashlib.sha256(str(total).encode()).hexdigest()[:16]


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


def _content_sha256(location: bytes) -> str:
    digest = hashlib.sha256()
    with open(open_regular(location), "rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


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
