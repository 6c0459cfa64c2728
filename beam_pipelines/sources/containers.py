"""Files that hold many documents: listed at launch, cut into ranges and read in workers.

A format (`jsonl`, `parquet`, `tar`, `arrayrecord`) says how its files are cut and read, a
`ContainerSource` which files there are; `ReadContainers` spreads first the files, then the
ranges, so that one huge file does not hold one worker. What a container does not give any
more becomes one `RawFile` with the obstacle `damaged_source`, with the file, the position,
what was expected and what came.
A store that fails for the moment is no damage: its error goes to the runner, which tries
the range again. Next: `fields` makes raw files of records, `compression` unpacks streams.
"""

import dataclasses
import glob
import hashlib
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.sources.entry import RawFile, file_id, readable
from beam_pipelines.sources.listed import Listed
from beam_pipelines.sources.local import digest_number, open_regular, short_digest
from beam_pipelines.stores import is_remote
from opencoder_jax.errors import InputError

_PIECE = 1 << 20
_WILD = frozenset("*?[")


class Container(NamedTuple):
    """A listed file: where it is, its name below the folder of all, bytes, last change."""

    location: str
    name: str
    size: int
    changed: float = 0.0


class Range(NamedTuple):
    """Part of a container, in what its format counts (bytes, row groups, records)."""

    start: int
    stop: int


class Format(Protocol):
    """How one kind of container is cut and read; has to be picklable."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the names of such files."""

    @property
    def provenance(self) -> str:
        """The source's name in records."""

    def split(self, container: Container) -> Iterator[Range]:
        """Ranges that can be read apart from each other.

        Raises:
          DamagedError, UnreadableError: it cannot be opened.
        """

    def read(self, container: Container, part: Range, max_file_bytes: int) -> Iterator[Any]:
        """The files in a range.

        Raises:
          DamagedError, UnreadableError: after what could be read before.
        """

    def check(self, containers: Sequence[Container]) -> None:
        """Looks at the first containers, on the launcher.

        Raises:
          InputError: they are sound and lack what is needed.
        """


class DamagedError(Exception):
    """From a position on a container cannot be read."""

    def __init__(self, position: str, expected: str, got: object) -> None:
        super().__init__(position, expected, got)
        self.position = position
        self.detail = f"{position}: expected {expected}, got {one_line(got)}"


class UnreadableError(Exception):
    """A container that cannot be opened or read at all, with the drop reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class ContainerSource:
    """A source of containers of one format; what a kind adds to it says how they are read.

    Attributes:
      files: a path, pattern (`*`, `**`) or folder, or several; local, `gs://`, `s3://`.
    """

    files: str | Sequence[str]

    def form(self) -> Format:
        """How its files are cut and read."""
        raise NotImplementedError

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        reading = ReadContainers(self.files, self.form(), max_file_bytes)
        return pipeline | type(self).__name__ >> reading

    def settings(self) -> dict[str, Any]:
        options = dataclasses.asdict(self)
        del options["files"]
        return {"type": type(self).__name__, **options}

    def fingerprint(self) -> str:
        """Of names, sizes and contents; of remote files the store's metadata.

        Raises:
          InputError: nothing matches.
        """
        return fingerprint(self.files, self.form().suffixes)


class ReadContainers(beam.PTransform):
    """Pipeline to PCollection of what `form.read` yields, and of `RawFile` obstacles."""

    def __init__(self, files: str | Sequence[str], form: Format, max_file_bytes: int) -> None:
        """Args:
        files: paths, patterns or folders, local or of Beam's filesystems.
        form: how they are read.
        max_file_bytes: larger contents are not handed over.

        Raises:
          InputError: nothing matches, or the first files lack what is needed.
        """
        super().__init__()
        self._containers = list_containers(files, form.suffixes)
        form.check(self._containers)
        self._form = form
        self._max_file_bytes = max_file_bytes

    @no_annotations
    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Containers" >> Listed(self._containers, Container)
            | "Cut" >> beam.ParDo(_Cut(self._form)).with_output_types(tuple)
            | "SpreadRanges" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._form, self._max_file_bytes))
        )


def list_containers(files: str | Sequence[str], suffixes: Sequence[str]) -> list[Container]:
    """The files that paths, patterns (`*`, `**`) or folders name, by name, each once.

    Of a folder those whose names end in one of `suffixes`, at any depth. Names are
    relative to the deepest folder that all patterns share.

    Raises:
      InputError: one of them matches nothing, or a store cannot be listed.
    """
    patterns = [files] if isinstance(files, str) else list(files)
    if not patterns:
        raise InputError("no input files are named")
    base = _shared_folder(patterns)
    found: dict[str, Container] = {}
    for pattern in patterns:
        matched = _match(pattern, tuple(suffixes))
        if not matched:
            raise InputError(f"input files {pattern}: nothing matches")
        for location, size, changed in matched:
            name = readable(location.removeprefix(base).lstrip("/"))
            found[location] = Container(location, name, size, changed)
    return sorted(found.values(), key=lambda container: (container.name, container.location))


def fingerprint(files: str | Sequence[str], suffixes: Sequence[str]) -> str:
    """16 hex digits of names and sizes, and of contents; of remote files of their last change.

    Raises:
      InputError: nothing matches.
    """
    total = 0
    for container in list_containers(files, suffixes):
        remote = is_remote(container.location)
        state = str(container.changed) if remote else _sha256(container)
        total += digest_number(f"{container.name}\0{container.size}\0{state}")
    return short_digest(total)


def open_container(container: Container) -> io.RawIOBase:
    """The bytes of a container as they are stored, seekable.

    Raises:
      UnreadableError: it is not there (any more), may not be read, or is no regular file.
    """
    return _Guarded(container.location)


def obstacle_file(
    provenance: str,
    container: Container,
    position: str,
    reason: str,
    detail: str,
    repo: str = "",
    path: str = "",
) -> RawFile:
    """What stands for a record, or the rest of a container, that gives no document."""
    return RawFile(
        repo=repo or container.name,
        path=path or position,
        content=b"",
        size=0,
        id=file_id(provenance, container.name, "#" + position),
        provenance=provenance,
        obstacle=reason,
        detail=f"{container.name}: {detail}",
    )


def one_line(got: object, longest: int = 200) -> str:
    """An error or a value in a few words."""
    text = str(got) or type(got).__name__
    return " ".join(text.split())[:longest].encode("utf-8", "backslashreplace").decode()


class _Guarded(io.RawIOBase):
    """A file whose store's errors cannot be taken for errors of what it holds."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self._remote = is_remote(location)
        try:
            if self._remote:
                # A `.gz` stays one here; `compression` knows more of damage than Beam does.
                self._file = FileSystems.open(
                    location, compression_type=CompressionTypes.UNCOMPRESSED
                )
            else:
                descriptor = open_regular(os.fsencode(os.path.realpath(location)))
                self._file = open(descriptor, "rb", buffering=0)  # noqa: SIM115
        except (OSError, BeamIOError) as error:
            self._raise(error)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            piece = self._file.read(len(view))
        except OSError as error:
            self._raise(error)
        view[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()

    def _raise(self, error: Exception) -> None:
        text = one_line(getattr(error, "strerror", None) or error)
        gone = isinstance(error, FileNotFoundError) or "not found" in text.lower()
        if self._remote and not gone:
            raise error
        reason = "not_a_file" if text == "not a regular file" else "unreadable"
        raise UnreadableError(reason, text) from error


class _Cut(beam.DoFn):
    """Container to (container, range, None) or (container, None, obstacle)."""

    def __init__(self, form: Format) -> None:
        self._form = form

    @no_annotations
    def process(self, container: Container) -> Iterator[tuple]:
        try:
            for part in self._form.split(container):
                yield container, part, None
        except (DamagedError, UnreadableError) as error:
            yield container, None, _obstacle(self._form, container, error, "start")


class _Read(beam.DoFn):
    def __init__(self, form: Format, max_file_bytes: int) -> None:
        self._form = form
        self._max_file_bytes = max_file_bytes

    @no_annotations
    def process(self, piece: tuple) -> Iterator[Any]:
        container, part, obstacle = piece
        if obstacle is not None:
            yield obstacle
            return
        try:
            yield from self._form.read(container, part, self._max_file_bytes)
        except (DamagedError, UnreadableError) as error:
            yield _obstacle(self._form, container, error, f"range {part.start}")


def _obstacle(
    form: Format, container: Container, error: DamagedError | UnreadableError, position: str
) -> RawFile:
    if isinstance(error, DamagedError):
        reason, position = "damaged_source", error.position
    else:
        reason = error.reason
    return obstacle_file(form.provenance, container, position, reason, error.detail)


def _match(pattern: str, suffixes: tuple[str, ...]) -> list[tuple[str, int, float]]:
    """(location, size, last change) of what a path, pattern or folder names."""
    if is_remote(pattern):
        is_folder = pattern.endswith("/")
        try:
            (result,) = FileSystems.match([pattern + "**" if is_folder else pattern])
        except (BeamIOError, ValueError) as error:
            raise InputError(f"input files {pattern}: cannot be listed: {error}") from error
        return [
            (file.path, file.size_in_bytes, file.last_updated_in_seconds or 0.0)
            for file in result.metadata_list
            if not is_folder or file.path.endswith(suffixes)
        ]
    pattern = os.path.abspath(pattern)
    if os.path.isdir(pattern):
        names = glob.glob(os.path.join(glob.escape(pattern), "**"), recursive=True)
        names = [name for name in names if name.endswith(suffixes)]
    elif os.path.lexists(pattern):
        names = [pattern]
    else:
        names = glob.glob(pattern, recursive=True)
    return [(name, _size(name), 0.0) for name in names if not os.path.isdir(name)]


def _size(location: str) -> int:
    try:
        return os.stat(location).st_size
    except OSError:
        return 0


def _shared_folder(patterns: Sequence[str]) -> str:
    """The deepest folder that all patterns share; what is above it names no container."""
    folders = []
    for pattern in patterns:
        literal = pattern if is_remote(pattern) else os.path.abspath(pattern)
        if not is_remote(pattern) and os.path.isdir(literal):
            literal += "/"
        wild = [index for index, character in enumerate(literal) if character in _WILD]
        folders.append(posixpath.dirname(literal[: wild[0]] if wild else literal))
    if len({is_remote(folder) for folder in folders}) > 1:
        raise InputError(f"input files {patterns}: local and remote files in one source")
    return posixpath.commonpath(folders) if not is_remote(folders[0]) else _common(folders)


def _common(folders: Sequence[str]) -> str:
    """`commonpath` of urls, which keeps their `//`."""
    shared = folders[0].split("/")
    for folder in folders[1:]:
        parts = folder.split("/")
        same = [a == b for a, b in zip(shared, parts, strict=False)]
        shared = shared[: same.index(False) if False in same else len(same)]
    return "/".join(shared)


def _sha256(container: Container) -> str:
    digest = hashlib.sha256()
    try:
        with open_container(container) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except UnreadableError as error:
        return error.reason
    return digest.hexdigest()
