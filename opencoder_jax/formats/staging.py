"""An output folder that appears under its name whole, or not at all.

Export, import and evaluation write so: a Hugging Face folder is read by programs that do
not look for `manifest.json`, so a half-written one must never stand under its name. Jobs
write into the folder itself and move the manifest last (`beam_pipelines/runner.py`).
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from opencoder_jax.errors import InputError


@contextlib.contextmanager
def staged_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """An empty folder beside `folder`, renamed to it when the block succeeds.

    What a killed run left there is removed first.

    Raises:
      InputError: `folder` holds something that no finished run left: it is not ours to
        overwrite.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} is not empty and has no manifest.json: choose another output folder"
        )
    staging = folder.with_name(f".{folder.name}.incomplete")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    yield staging
    if folder.exists():
        folder.rmdir()
    staging.rename(folder)
