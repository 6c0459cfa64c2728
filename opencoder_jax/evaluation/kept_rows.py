"""A JSONL file that grows by whole lines and survives a kill.

Each row is written and flushed at once, so a killed evaluation loses what it was at and no
more. A last line without its end is what a kill leaves: it is cut off, with a word, and done
again. Any other line that is no JSON means that something else wrote there.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opencoder_jax.errors import InputError


class KeptRows:
    """Rows of a JSONL file, those that it had and those that are added.

    Attributes:
      path: of the file.
      rows: all rows, in the order of the file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Raises: InputError: a line that is not the last is no JSON object."""
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = read_rows(self.path, cut=True)
        self._file = self.path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row; may be called from several threads."""
        line = row_text(row)
        with self._lock:
            self._file.write(line)
            self._file.flush()
            self.rows.append(dict(row))


def row_text(row: Mapping[str, Any]) -> str:
    """One line."""
    # A lone surrogate, which a model can write, has no UTF-8: JSON's escape has.
    text = json.dumps(row, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def read_rows(path: Path, cut: bool = False) -> list[dict[str, Any]]:
    """Rows of a file; none where there is no file.

    Args:
      cut: cut off a last line that is torn; otherwise it is an error.

    Raises:
      InputError: a line is no JSON object.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if cut and whole < len(content):
        print(f"{path}: the last line was torn by a kill; it is done again", file=sys.stderr)
        with path.open("r+b") as file:
            file.truncate(whole)
        content = content[:whole]
    rows = []
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("no object")
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is damaged ({error}); remove the folder and evaluate again"
            ) from error
        rows.append(row)
    return rows
