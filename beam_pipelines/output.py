"""The folder that a job leaves: whole or unfinished, on this machine or in an object store.

Work is done in `OUTPUT/.incomplete`; what is there moves up when all of it is written,
`manifest.json` last, so that a killed job leaves nothing that looks finished. In a store
moving is copying, object by object, done by the store; the launcher reads nothing but
manifests and statistics. Next: `runner.working_folder` is the local half, `stores` the
calls to Beam's filesystems.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from beam_pipelines import runner, stores
from opencoder_jax.errors import InputError
from opencoder_jax.formats import manifest, shards
from opencoder_jax.formats.manifest import MANIFEST_NAME

_SHARD = re.compile(r"(?P<set>.+)-\d{5}-of-(?P<count>\d{5})\.(?P<kind>arrayrecord|parquet)")


class Work(NamedTuple):
    """An unfinished folder.

    Attributes:
      folder: path or url that workers write below.
      local: where the launcher puts small files of its own, `manifest.json` among them; the
        same folder where that is local.
    """

    folder: str
    local: Path

    def place(self, name: str) -> str:
        """Path or url of a file."""
        return f"{self.folder}/{name}"

    def read(self, name: str) -> bytes:
        """A small file that a worker wrote.

        Raises:
          OSError: it cannot be read.
        """
        place = self.place(name)
        return stores.read(place) if stores.is_remote(place) else Path(place).read_bytes()

    def take(self, name: str) -> bytes:
        """Reads a small file and removes it.

        Raises:
          OSError: it cannot be read or removed.
        """
        content = self.read(name)
        if stores.is_remote(self.folder):
            stores.remove([self.place(name)])
        else:
            Path(self.place(name)).unlink()
        return content


def read_text(output_dir: str, name: str) -> str:
    """A small file of a finished folder.

    Raises:
      OSError: it cannot be read.
    """
    if stores.is_remote(output_dir):
        return stores.read(f"{output_dir.rstrip('/')}/{name}").decode("utf-8")
    return (Path(output_dir) / name).read_text(encoding="utf-8")


def read_manifest(output_dir: str) -> dict[str, Any]:
    """As `opencoder_jax.formats.manifest.read_manifest`, from a store too.

    Raises:
      InputError: the folder is missing, unfinished or damaged, or the store cannot tell.
    """
    if not stores.is_remote(output_dir):
        return manifest.read_manifest(output_dir)
    url = f"{output_dir.rstrip('/')}/{MANIFEST_NAME}"
    if not _exists(url):
        raise manifest.ManifestError(
            f"{output_dir} has no {MANIFEST_NAME}: its job has not finished; run that again"
        )
    return manifest.parse_manifest(stores.read(url), url)


def list_shards(folder: str, name: str) -> list[str]:
    """As `opencoder_jax.formats.shards.list_shards`, in a store too: paths or urls.

    Raises:
      MissingShardsError: there are none, or one of the set is missing.
      OSError: the store cannot be listed.
    """
    if not stores.is_remote(folder):
        return [os.fspath(path) for path in shards.list_shards(folder, name)]
    names = (path for path, _ in stores.list_below(folder))
    return [f"{folder}/{file}" for file in shards.whole_set(names, name, folder)]


def already_done(
    output_dir: str, *, job: str, config: Mapping[str, Any], inputs: Mapping[str, str]
) -> dict[str, Any] | None:
    """As `opencoder_jax.formats.manifest.already_done`, in a store too.

    Raises:
      ManifestError: the folder was finished by another job, configuration or input.
      InputError: the store cannot be listed.
    """
    if not stores.is_remote(output_dir):
        return manifest.already_done(output_dir, job=job, config=config, inputs=inputs)
    url = f"{output_dir.rstrip('/')}/{MANIFEST_NAME}"
    if not _exists(url):
        return None
    there = manifest.parse_manifest(stores.read(url), url)
    manifest.check_same_work(output_dir, there, job=job, config=config, inputs=inputs)
    return there


@contextlib.contextmanager
def working_folder(output_dir: str | os.PathLike) -> Iterator[Work]:
    """`output_dir/.incomplete`, empty; moved up into `output_dir` if the body succeeds.

    What another, unfinished run left there is removed. After an error it stays for a look.

    Raises:
      InputError: `output_dir` cannot be written, another job finished it, or it is in a store
        and named like a pattern.
      OSError: the store fails.
    """
    if stores.is_remote(output_dir):
        with _remote_folder(os.fspath(output_dir).rstrip("/")) as work:
            yield work
    else:
        with runner.working_folder(output_dir) as local:
            yield Work(os.fspath(local), local)


@contextlib.contextmanager
def _remote_folder(output: str) -> Iterator[Work]:
    if stores.is_pattern(output):
        raise InputError(
            f"output folder {output}: *, ? and [ are for patterns; choose another name"
        )
    if _exists(f"{output}/{MANIFEST_NAME}"):
        raise InputError(f"{output} is another job's finished folder; choose another output folder")
    folder = f"{output}/{runner.INCOMPLETE}"
    stores.remove([file.path for _, file in stores.list_below(folder)])
    with tempfile.TemporaryDirectory(prefix="launcher-") as local:
        yield Work(folder, Path(local))
        made = [name for name, _ in stores.list_below(folder)]
        own = {
            path.relative_to(local).as_posix(): path
            for path in Path(local).rglob("*")
            if path.is_file()
        }
        _remove_older_sets(output, [*made, *own])
        stores.move([(f"{folder}/{name}", f"{output}/{name}") for name in made])
        for name in sorted(own, key=lambda name: (name == MANIFEST_NAME, name)):
            stores.upload(own[name], f"{output}/{name}")


def _remove_older_sets(output: str, made: list[str]) -> None:
    """Removes shards of the same sets with other shard counts, left by a killed move."""
    counts = {_set_of(match): match["count"] for match in map(_SHARD.fullmatch, made) if match}
    older = []
    for name, file in stores.list_below(output):
        match = _SHARD.fullmatch(name)
        if match and counts.get(_set_of(match), match["count"]) != match["count"]:
            older.append(file.path)
    stores.remove(older)


def _set_of(shard: re.Match[str]) -> tuple[str, str]:
    return shard["set"], shard["kind"]


def _exists(url: str) -> bool:
    try:
        return stores.exists(url)
    except OSError as error:
        raise InputError(f"folder {os.path.dirname(url)} cannot be used: {error}") from error
