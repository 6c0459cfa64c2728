"""`sets.json`: a folder of packed sets that lie elsewhere.

Everybody who wants the set NAME of a `packed_dir` asks `set_folder`: that is `packed_dir/NAME`,
or what the folder's `sets.json` says (`opencoder_jax.gather_sets` writes it). Places are
relative to the folder, so both can be moved together.
"""

import functools
import json
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path

from opencoder_jax.data import stores
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME, write_json

SETS_NAME = "sets.json"


def set_folder(packed_dir: str | os.PathLike, name: str) -> str:
    """Where the set `name` of `packed_dir` lies; it need not be there.

    Raises:
      InputError: the folder's `sets.json` is damaged.
    """
    folder = os.fspath(packed_dir).rstrip("/")
    return gathered(folder).get(name, f"{folder}/{name}")


def gathered(packed_dir: str | os.PathLike) -> dict[str, str]:
    """Name to folder of the sets that `sets.json` tells of; empty where there is none.

    Raises:
      InputError: it is damaged.
    """
    folder = os.fspath(packed_dir).rstrip("/")
    content = _content(folder)
    if content is None:
        return {}
    try:
        return {name: _joined(folder, place) for name, place in json.loads(content).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{folder}/{SETS_NAME} is damaged ({error}); gather the sets again") from (
            error
        )


def set_folders(packed_dir: str | os.PathLike) -> dict[str, Path]:
    """Name to folder of the finished sets here, by name; of a store those in its `sets.json`."""
    below: list[Path] = []
    if not stores.is_remote(packed_dir):
        below = [path.parent for path in Path(packed_dir).glob(f"*/{MANIFEST_NAME}")]
    folders = {path.name: path for path in below}
    folders |= {name: Path(folder) for name, folder in gathered(packed_dir).items()}
    return dict(sorted(folders.items()))


def write_sets(folder: str | os.PathLike, folders: Mapping[str, str]) -> dict[str, str]:
    """Writes `sets.json`; returns name to place in it.

    Args:
      folder: that gets it, here or in a store.
      folders: set name to the set's own folder.

    Raises:
      InputError: a folder has no finished set.
    """
    folder = os.fspath(folder).rstrip("/")
    places = {}
    for name, place in sorted(folders.items()):
        stores.read_manifest(place)
        places[name] = _relative(place.rstrip("/"), folder)
    if stores.is_remote(folder):
        stores.write_object(f"{folder}/{SETS_NAME}", json.dumps(places, indent=1).encode())
        _remote_content.cache_clear()
    else:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / SETS_NAME, places)
    return places


def _content(folder: str) -> bytes | None:
    if stores.is_remote(folder):
        return _remote_content(folder)
    try:
        return (Path(folder) / SETS_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


@functools.lru_cache(maxsize=64)
def _remote_content(folder: str) -> bytes | None:
    """Kept: each of a mixture's sets asks for it."""
    return stores.read_object(f"{folder}/{SETS_NAME}")


def _relative(place: str, folder: str) -> str:
    """`place` from `folder`; whole where they are in different stores."""
    if not stores.is_remote(place) and not stores.is_remote(folder):
        return os.path.relpath(place, folder)
    store, path = _split(place)
    of_store, of_path = _split(folder)
    return posixpath.relpath(path, of_path) if store == of_store else place


def _joined(folder: str, place: str) -> str:
    if stores.is_remote(place):
        return place
    if not stores.is_remote(folder):
        return os.path.normpath(os.path.join(folder, place))
    store, path = _split(folder)
    return f"{store}{posixpath.normpath(posixpath.join(path, place))}"


def _split(place: str) -> tuple[str, str]:
    """`gs://bucket` and `/path`; of a local path an empty store."""
    if not stores.is_remote(place):
        return "", os.path.abspath(place)
    scheme, _, rest = place.partition("://")
    bucket, slash, path = rest.partition("/")
    return f"{scheme}://{bucket}", slash + path
