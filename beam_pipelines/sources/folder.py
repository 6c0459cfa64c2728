"""Any folder of source files as a source.

A folder with `.git` in it is one repository; otherwise each folder of the first level
is one, and the files directly in the root are the repository `.`. Links are listed and
never followed, so nothing outside the root is read and no loop is entered.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from beam_pipelines.sources.entry import NOT_SOURCE_FOLDERS, FileEntry, make_entry
from opencoder_jax.errors import InputError

_PROVENANCE = "folder"


@dataclasses.dataclass(frozen=True)
class Folder:
    """All files under `root`.

    Attributes:
      root: the folder.
    """

    root: str

    def entries(self) -> list[FileEntry]:
        """Every file below the root, by path.

        Raises:
          InputError: there is no such folder, it cannot be listed, or it holds no file.
        """
        root = os.path.abspath(self.root)
        try:
            top = set(os.listdir(root))
        except OSError as error:
            raise InputError(f"source folder {self.root}: {error.strerror}") from error
        checkout = os.path.basename(root) if ".git" in top else ""
        found = [_entry(root, path, checkout) for path in sorted(_walk(root))]
        if not found:
            raise InputError(f"source folder {self.root} holds no files")
        return found

    def settings(self) -> dict[str, Any]:
        return {"type": "Folder"}


def _walk(root: str) -> Iterator[str]:
    """Relative paths of everything that is no listable folder."""
    pending = [""]
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


def _entry(root: str, path: str, checkout: str) -> FileEntry:
    first, separator, rest = path.partition("/")
    if checkout:
        repo, inside = checkout, path
    elif separator:
        repo, inside = first, rest
    else:
        repo, inside = ".", path
    entry = make_entry(_PROVENANCE, repo, inside, os.path.join(root, path), follow_links=False)
    if entry.obstacle == "not_a_file" and entry.detail.startswith("d"):
        return dataclasses.replace(entry, obstacle="unreadable", detail="folder cannot be listed")
    return entry
