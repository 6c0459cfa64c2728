"""Any folder of source files as a source, local or on `gs://`, `s3://`.

A folder with `.git` in it is one repository; otherwise each folder of the first level
is one, and the files directly in the root are the repository `.`. Workers list: one takes
the first level, each folder of it goes to some worker, each file found to some other.
Links are handed over as obstacles and never followed, so nothing outside the root is
read and no loop is entered. Object stores have no folders or links; one worker lists
them. Next: `local` reads local files, `remote` what Beam's filesystems open.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from beam_pipelines import stores
from beam_pipelines.sources import local, remote
from beam_pipelines.sources.entry import NOT_SOURCE_FOLDERS, RawFile, readable
from beam_pipelines.sources.local import LocalFile, list_file
from opencoder_jax.errors import InputError

_PROVENANCE = "folder"


@dataclasses.dataclass(frozen=True)
class Folder:
    """All files under `root`.

    Attributes:
      root: the folder; a local path, or anything that Beam's filesystems list.
    """

    root: str

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        if stores.is_remote(self.root):
            root = pipeline | "Root" >> beam.Create([self.root], reshuffle=False)
            return root | "Remote" >> remote.ReadFolder(_PROVENANCE, max_file_bytes)
        return (
            pipeline
            | "Root" >> beam.Create([os.fsencode(self.root)], reshuffle=False)
            | "TopLevel" >> beam.FlatMap(_top_level).with_output_types(tuple[bytes, bytes])
            | "SpreadFolders" >> beam.Reshuffle()
            | "Walk" >> beam.FlatMap(_packs_below).with_output_types(list[LocalFile])
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadLocal" >> beam.ParDo(local.ReadLocal(max_file_bytes)).with_output_types(RawFile)
        )

    def settings(self) -> dict[str, Any]:
        return {"type": "Folder"}

    def fingerprint(self) -> str:
        """Of names, sizes and contents; of remote files the store's metadata.

        Raises:
          InputError: there is no such folder, it cannot be listed, or it holds no file.
        """
        if stores.is_remote(self.root):
            return remote.fingerprint(self.root)
        if not os.path.isdir(self.root):
            problem = (
                "Not a directory" if os.path.exists(self.root) else "No such file or directory"
            )
            raise InputError(f"source folder {self.root}: {problem}")
        found = (
            file
            for root_and_name in _top_level(os.fsencode(self.root))
            for file in _list_below(root_and_name)
        )
        digest, count = local.fingerprint(found)
        if not count:
            raise InputError(f"source folder {self.root} holds no files")
        return digest


def _top_level(root: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(absolute root, name) of what stands directly in the root, as bytes: they travel.

    Raises:
      InputError: it cannot be listed.
    """
    root = os.path.abspath(root)
    try:
        names = os.listdir(root)
    except OSError as error:
        raise InputError(f"source folder {readable(root)}: {error.strerror}") from error
    for name in sorted(names):
        if os.fsdecode(name) not in NOT_SOURCE_FOLDERS or not os.path.isdir(
            os.path.join(root, name)
        ):
            yield root, name


def _list_below(root_and_name: tuple[bytes, bytes]) -> Iterator[LocalFile]:
    """What is at or below one name of the root."""
    root, name = map(os.fsdecode, root_and_name)
    checkout = os.path.basename(root) if os.path.exists(os.path.join(root, ".git")) else ""
    for path in _walk(root, name):
        yield _list(root, path, checkout)


def _packs_below(root_and_name: tuple[bytes, bytes]) -> Iterator[list[LocalFile]]:
    return local.packs(_list_below(root_and_name))


def _walk(root: str, start: str) -> Iterator[str]:
    """Relative paths of everything at or below `start` that is no listable folder."""
    location = os.path.join(root, start)
    if os.path.islink(location) or not os.path.isdir(location):
        yield start
        return
    pending = [start]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                children = list(listing)
        except OSError:
            yield folder
            continue
        for child in children:
            path = os.path.join(folder, child.name)
            if not child.is_dir(follow_symlinks=False):
                yield path
            elif child.name not in NOT_SOURCE_FOLDERS:
                pending.append(path)


def _list(root: str, path: str, checkout: str) -> LocalFile:
    first, separator, rest = path.partition("/")
    if checkout:
        repo, inside = checkout, path
    elif separator:
        repo, inside = first, rest
    else:
        repo, inside = ".", path
    file = list_file(_PROVENANCE, repo, inside, os.path.join(root, path), follow_links=False)
    if file.obstacle == "not_a_file" and file.detail.startswith("d"):
        return dataclasses.replace(file, obstacle="unreadable", detail="folder cannot be listed")
    return file
