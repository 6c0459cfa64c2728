"""Small files by which workers agree, in a folder that all see or in an object store.

One operation carries everything: `create` makes a file that was not there, whole, for exactly
one of those who try. In a folder it is a hard link, which is atomic on network file systems too;
in a store a write on the condition that there is no such object. Next: `leases`.
"""

import contextlib
import errno
import itertools
import os
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from opencoder_jax.data import stores
from opencoder_jax.errors import InputError, StorageError

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK)
_counter = itertools.count()


class Records(Protocol):
    """Files of one folder by names such as `KEY/done.json`. Reading and writing raise OSError."""

    def create(self, name: str, content: bytes) -> bool:
        """Whether the file was made by this call, or by an earlier one with this content."""

    def write(self, name: str, content: bytes) -> None:
        """Makes or replaces a file; readers see the old content or the new."""

    def read(self, name: str) -> bytes | None:
        """Its content; None where there is no such file."""

    def remove(self, name: str) -> None:
        """Removes a file that may be there."""

    def names(self, folders: Iterable[str]) -> dict[str, frozenset[str]]:
        """Folder to the names of the files in it."""


def open_records(place: str) -> Records:
    """The records at a path or url; the folder need not be there.

    Raises:
      InputError: a store needs a package that is not installed.
    """
    return _InStore(place) if stores.is_remote(place) else _InFolder(Path(place))


class _InFolder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, name: str, content: bytes) -> bool:
        path = self._root / name
        with _finished_file(path, content) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                # The first answer of a network file system may have been lost.
                return self.read(name) == content
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise InputError(
                    f"{self._root} is on a file system without hard links, by which workers "
                    "agree; give a bucket by its url (gs://, s3://), or another folder"
                ) from error
        return True

    def write(self, name: str, content: bytes) -> None:
        path = self._root / name
        with _finished_file(path, content) as temporary:
            os.replace(temporary, path)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def names(self, folders: Iterable[str]) -> dict[str, frozenset[str]]:
        return {folder: frozenset(_listed(self._root / folder)) for folder in folders}


class _InStore:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        try:
            import tensorstore
        except ImportError as error:
            raise InputError(
                f"{url}: records in a store need tensorstore (pip install opencoder-jax[train], "
                "or tensorstore alone)"
            ) from error
        self._ranges = tensorstore.KvStore.KeyRange
        with self._failures():
            self._store: Any = stores.open_store(self._url)

    def create(self, name: str, content: bytes) -> bool:
        with self._failures():
            found = self._store.read(name).result()
            if found.state == "value":
                return found.value == content
            # The generation of what is missing is the condition that it still is.
            absent = found.stamp.generation
            if self._store.write(name, content, if_equal=absent).result().generation:
                return True
        # A request that was tried again may have met its own first success.
        return self.read(name) == content

    def write(self, name: str, content: bytes) -> None:
        with self._failures():
            self._store.write(name, content).result()

    def read(self, name: str) -> bytes | None:
        with self._failures():
            found = self._store.read(name).result()
        return found.value if found.state == "value" else None

    def remove(self, name: str) -> None:
        with self._failures():
            self._store.write(name, None).result()

    def names(self, folders: Iterable[str]) -> dict[str, frozenset[str]]:
        wanted = sorted(folders)
        found: dict[str, set[str]] = {folder: set() for folder in wanted}
        if not wanted:
            return {}
        # One listing in place of hundreds; `0` follows `/`.
        with self._failures():
            keys = self._store.list(self._ranges(f"{wanted[0]}/", f"{wanted[-1]}0")).result()
        for key in keys:
            folder, _, name = key.decode().rpartition("/")
            if folder in found:
                found[folder].add(name)
        return {folder: frozenset(names) for folder, names in found.items()}

    @contextlib.contextmanager
    def _failures(self):
        try:
            yield
        except Exception as error:  # Each store raises what its client raises.
            raise StorageError(f"{self._url} cannot be read or written: {error}") from error


@contextlib.contextmanager
def _finished_file(path: Path, content: bytes):
    """A file beside `path` with this content, gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}.{next(_counter)}"
    temporary = path.with_name(f".{path.name}.{mark}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _listed(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []
