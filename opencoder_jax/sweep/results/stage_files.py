"""What a stage left behind, read file by file: its own outputs and its workers' records.

Folders lie on this machine or in a store. A file that is not there is None, since a sweep is
looked at while it runs; one that is there and damaged is an error that names it.
Next: `measurements` makes figures of it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.data import stores
from opencoder_jax.errors import InputError


def read_text(place: str) -> str | None:
    """None where there is no such file."""
    content = stores.read_file(place)
    return None if content is None else content.decode("utf-8", "replace")


def read_json(place: str) -> dict[str, Any] | None:
    """An object; None where there is no such file.

    Raises:
      InputError: it is damaged, or the store cannot be read.
    """
    content = stores.read_file(place)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except ValueError as error:
        raise damaged(place, error) from error
    if not isinstance(value, Mapping):
        raise damaged(place, "no JSON object")
    return dict(value)


def read_lines(place: str, *, whole: bool) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none where there is no such file.

    Args:
      place: of the file.
      whole: nobody writes it any more; else a last line that is cut short is left out.

    Raises:
      InputError: a line is damaged, or the store cannot be read.
    """
    lines = (read_text(place) or "").split("\n")
    if not lines[-1]:
        lines.pop()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError("no JSON object")
        except ValueError as error:
            if number == len(lines) and not whole:
                break
            raise damaged(f"{place}, line {number}", error) from error
        found.append(value)
    return found


def number(place: str, values: Mapping[str, Any], *names: str) -> float:
    """The number under nested names.

    Raises:
      InputError: there is none.
    """
    value: Any = values
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise damaged(place, f"{'.'.join(names)} is {value!r}, expected a number")
    return float(value)


def folders_of(folder: str) -> Iterator[tuple[str, str]]:
    """(name, place) of the folders in a folder on this machine, by name; hidden ones left out."""
    if stores.is_remote(folder) or not Path(folder).is_dir():
        return
    for path in sorted(Path(folder).iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            yield path.name, str(path)


def damaged(place: str, what: object) -> InputError:
    return InputError(f"{place} is damaged ({what}); remove its stage's folder and run it again")
