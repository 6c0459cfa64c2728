"""Tar archives as a source: `.tar`, `.tar.gz`, `.tar.zst`, `.tar.xz`, `.tar.bz2`.

An archive is one repository, named after it, or each of its first-level folders is one.
Archives are read as streams, one worker each, a member at a time; nothing is written to
disk, so a name like `../../etc/passwd` is a name and no more. Links and devices are
handed over as obstacles. Python's reader takes a damaged header for the end; here an
archive ends with its end mark, or is damaged. Next: `compression`.
"""

import dataclasses
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self, cast

from beam_pipelines.sources import containers
from beam_pipelines.sources.compression import PieceReader, compression_of, unpacked
from beam_pipelines.sources.containers import Container, DamagedError, Range
from beam_pipelines.sources.entry import (
    NOT_SOURCE_FOLDERS,
    RawFile,
    decided_unread,
    file_id,
)
from beam_pipelines.sources.fields import shown

_PROVENANCE = "tar"
_PIECE = 1 << 18
# Of a long name or extended header; a lying size would be read into memory.
_LONGEST_HEADER = 1 << 20
_SHORT = {".tgz": ".tar.gz", ".tzst": ".tar.zst", ".txz": ".tar.xz", ".tbz2": ".tar.bz2"}
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclasses.dataclass(frozen=True)
class Tar(containers.ContainerSource):
    """Archives of source files.

    Attributes:
      repository: what is one: each `archive`, or each `first_folder` in them.
    """

    repository: Literal["archive", "first_folder"] = "archive"

    def form(self) -> containers.Format:
        return TarFormat(self.repository)


@dataclasses.dataclass(frozen=True)
class TarFormat:
    """How archives are read."""

    repository: str
    provenance: str = _PROVENANCE
    suffixes: ClassVar[tuple[str, ...]] = (
        ".tar",
        *(f".tar{kind}" for kind in (".gz", ".zst", ".xz", ".bz2")),
        *_SHORT,
    )

    def split(self, container: Container) -> Iterator[Range]:
        yield Range(0, -1)

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[RawFile]:
        stem, kind = _stem(container.name)
        with containers.open_container(container) as file:
            stream = PieceReader(unpacked(file, kind))
            for archive, member in _members(stream):
                if NOT_SOURCE_FOLDERS.intersection(member.name.split("/")):
                    continue
                path = member.name.lstrip("/").removeprefix("./")
                repo = stem
                if self.repository == "first_folder":
                    first, separator, rest = path.partition("/")
                    repo, path = (first, rest) if separator else (".", first)
                yield self._file(archive, member, repo, path, max_file_bytes)

    def check(self, containers: Sequence[Container]) -> None:
        """Archives have no schema."""

    def _file(
        self,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        repo: str,
        path: str,
        max_file_bytes: int,
    ) -> RawFile:
        content, obstacle, detail = b"", "", ""
        if member.issym() or member.islnk():
            obstacle, detail = "link", f"to {shown(member.linkname)}"
        elif not member.isreg():
            obstacle, detail = "not_a_file", f"type {member.type!r} of tar"
        elif not decided_unread(shown(path), member.size, max_file_bytes):
            content = _content(archive, member)
        return RawFile(
            repo=shown(repo),
            path=shown(path),
            content=content,
            size=member.size if not obstacle else 0,
            id=file_id(self.provenance, repo, path),
            provenance=self.provenance,
            obstacle=obstacle,
            detail=detail,
        )


class _Member(tarfile.TarInfo):
    """A member whose header is sound, or a `DamagedError`."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            position = f"from byte {archive.offset}"
            raise DamagedError(position, "a tar header or the end mark", error) from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _LONGEST_HEADER:
            raise DamagedError(
                f"from byte {archive.offset}",
                f"a header of at most {_LONGEST_HEADER} bytes",
                f"{self.size} bytes",
            )
        return super()._proc_member(archive)  # type: ignore[misc]


def _members(stream: PieceReader) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Every member that is no folder, each to be read before the next is asked for.

    Raises:
      DamagedError: the archive, or the stream that it is in, is damaged or cut short.
    """
    try:
        # The stream mode never seeks back; what it has passed over is not kept.
        archive = tarfile.open(fileobj=cast(Any, stream), mode="r|", tarinfo=_Member)  # noqa: SIM115
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DamagedError("from byte 0", "a tar archive", error) from error
    with archive:
        while True:
            try:
                member = archive.next()
            except (tarfile.TarError, ValueError, EOFError, OSError) as error:
                position = f"from byte {archive.offset}"
                raise DamagedError(position, "a tar header or the end mark", error) from error
            if member is None:
                break
            # Else it keeps every member that it has seen.
            archive.members = []  # type: ignore[attr-defined]
            if not member.isdir():
                yield archive, member
    # Padding; to its end, so that the checksum of a packed stream is compared.
    while piece := stream.read(_PIECE):
        if piece.strip(b"\0"):
            raise DamagedError(
                "after the end mark", "nothing more", "data, perhaps another archive"
            )


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = archive.extractfile(member)
        content = file.read() if file else b""
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise DamagedError(
            f"in member {shown(member.name)!r}", f"{member.size} bytes", error
        ) from error
    if len(content) != member.size:
        raise DamagedError(
            f"in member {shown(member.name)!r}", f"{member.size} bytes", f"{len(content)} bytes"
        )
    return content


def _stem(name: str) -> tuple[str, str]:
    """An archive's name without its suffixes, and its compression."""
    for short, long in _SHORT.items():
        if name.endswith(short):
            name = name.removesuffix(short) + long
    kind = compression_of(name)
    return name.removesuffix(kind).removesuffix(".tar"), kind
