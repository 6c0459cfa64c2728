"""Writes a page, or a file beside it, whole or not at all."""

import os
from pathlib import Path

from opencoder_jax.errors import InputError


def write(path: Path, text: str) -> None:
    """Replaces a file; makes the folders above it. Halves of characters are written as escapes.

    Raises:
      InputError: it is a folder.
    """
    if path.is_dir():
        raise InputError(f"output {path} is a folder: name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)
