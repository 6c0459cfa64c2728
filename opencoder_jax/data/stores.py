"""Folders of packed sets, on this machine or in an object store (`gs://`, `s3://`).

A store is read through tensorstore, which a training host has anyway (Orbax writes
checkpoints with it): it finds Google's credentials by itself, tries again what failed for a
moment, and reads ranges of an object. Nothing here lists or opens more than one folder at a
time. Next: `records` reads single records of the shards in such a folder.
"""

import functools
import os
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME, ManifestError, parse_manifest
from opencoder_jax.formats.manifest import read_manifest as read_local_manifest


def is_remote(place: str | os.PathLike) -> bool:
    """Whether `place` is a url and not a path of the operating system."""
    return "://" in os.fspath(place)


def read_manifest(folder: str) -> dict[str, Any]:
    """As `formats.manifest.read_manifest`, in a store too.

    Raises:
      ManifestError: the folder is missing, unfinished, or its manifest is damaged.
      InputError: the store cannot be read.
    """
    if not is_remote(folder):
        return read_local_manifest(folder)
    url = f"{folder}/{MANIFEST_NAME}"
    content = read_object(url)
    if content is None:
        raise ManifestError(
            f"{folder} has no {MANIFEST_NAME}: there is no such set, or it was not copied whole"
        )
    return parse_manifest(content, url)


def file_sizes(folder: str) -> dict[str, int | None]:
    """Name to bytes of the files that lie in `folder`; None where a store does not say.

    Raises:
      InputError: the folder cannot be listed.
    """
    if not is_remote(folder):
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    try:
        keys = _store(folder).list().result()
    except Exception as error:  # Each store raises what its client raises.
        raise _unreadable(folder, error) from error
    names = (key.decode("utf-8") for key in keys)
    return {name: None for name in names if "/" not in name}


def read_object(url: str, start: int = 0, stop: int | None = None) -> bytes | None:
    """Bytes `start` to `stop` of an object in a store; None where there is no such object.

    Raises:
      InputError: the store cannot be read, or the object is shorter than that.
    """
    folder, name = url.rsplit("/", 1)
    whole = start == 0 and stop is None
    try:
        store = _store(folder)
        read = store.read(name) if whole else store.read(name, byte_range=slice(start, stop))
        found = read.result()
    except Exception as error:  # Each store raises what its client raises.
        raise _unreadable(url, error) from error
    return found.value if found.state == "value" else None


def write_object(url: str, content: bytes) -> None:
    """Writes an object of a store, whole or not at all.

    Raises:
      InputError: the store cannot be written.
    """
    folder, name = url.rsplit("/", 1)
    try:
        _store(folder).write(name, content).result()
    except Exception as error:  # Each store raises what its client raises.
        raise InputError(f"{url} cannot be written: {error}") from error


def read_file(place: str) -> bytes | None:
    """A file of this machine or an object of a store; None where there is none.

    Raises:
      InputError: the store cannot be read.
      OSError: the file cannot.
    """
    if is_remote(place):
        return read_object(place)
    try:
        return Path(place).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_file(place: str, content: bytes) -> None:
    """Writes a file of this machine, with its folder, or an object; whole or not at all.

    Raises:
      InputError: the store cannot be written.
      OSError: the file cannot.
    """
    if is_remote(place):
        write_object(place, content)
        return
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def open_store(folder: str) -> Any:
    """The tensorstore `KvStore` of a folder in a store.

    An S3 that is not Amazon's is found as Amazon's clients find one: `AWS_ENDPOINT_URL` and
    `AWS_REGION`. Conditional writes are what their condition says, or fail.

    Raises:
      Exception: whatever the store's client raises.
    """
    # Half a second to import, and of no use for folders on this machine.
    import tensorstore

    store = tensorstore.KvStore.open(f"{folder}/").result()
    specification = store.spec().to_json()
    if specification["driver"] != "s3":
        return store
    # Else only Amazon's own are asked for it, others are read first and written to then.
    specification["use_conditional_write"] = True
    for name, variable in (("endpoint", "AWS_ENDPOINT_URL"), ("aws_region", "AWS_REGION")):
        if variable in os.environ:
            specification[name] = os.environ[variable]
    return tensorstore.KvStore.open(specification).result()


@functools.lru_cache(maxsize=256)
def _store(folder: str) -> Any:
    return open_store(folder)


def _unreadable(place: str, error: Exception) -> InputError:
    return InputError(f"{place} cannot be read: {error}")
