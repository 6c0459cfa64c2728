"""An output folder that appears under its name whole, or not at all.

Export, import and evaluation write so: a Hugging Face folder is read by programs that do
not look for `manifest.json`, so a half-written one must never stand under its name. Jobs
write into the folder itself and move the manifest last (`beam_pipelines/runner.py`). A long
evaluation keeps what it has (`resumable_folder`).
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import check_same_work, write_json

_WORK_NAME = "work.json"


@contextlib.contextmanager
def staged_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """An empty folder beside `folder`, renamed to it when the block succeeds.

    What a killed run left there is removed first.

    Raises:
      InputError: `folder` holds something that no finished run left: it is not ours to
        overwrite.
    """
    staging = _staging(folder)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    yield staging
    _put_in_place(staging, Path(folder))


@contextlib.contextmanager
def resumable_folder(folder: str | os.PathLike, work: Mapping[str, Any]) -> Iterator[Path]:
    """As `staged_folder`, but with what a killed run of the same work left there.

    Args:
      folder: appears when the block succeeds.
      work: `job`, `config` and `inputs` of what is done, as in its manifest.

    Raises:
      InputError: `folder` is not ours to overwrite, what was left there is of other work, or
        another process is at it.
    """
    staging = _staging(folder)
    note = staging / _WORK_NAME
    if note.exists():
        try:
            there = json.loads(note.read_text())
            check_same_work(staging, there, **work)
        except (ValueError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{note} is damaged ({error}); remove {staging}") from error
    else:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        # As it will be read: tuples are lists then.
        write_json(note, work)
    with note.open() as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{staging}: another command is at this work now") from error
        yield staging
        note.unlink()
        _put_in_place(staging, Path(folder))


def _staging(folder: str | os.PathLike) -> Path:
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} is not empty and has no manifest.json: choose another output folder"
        )
    return folder.with_name(f".{folder.name}.incomplete")


def _put_in_place(staging: Path, folder: Path) -> None:
    if folder.exists():
        folder.rmdir()
    staging.rename(folder)
