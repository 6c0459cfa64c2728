"""Stars of repositories from a small file, for sources that cannot know them.

A JSON object `{"owner/name": 12, ...}`, or lines of name, tab, stars. Names are those that
the source gives its repositories.
"""

import json

from beam_pipelines import stores
from opencoder_jax.errors import InputError


def read_stars(path: str) -> dict[str, int]:
    """Repository to stars.

    Args:
      path: local, or anything that Beam's filesystems open.

    Raises:
      InputError: it cannot be read, or holds something else; the message names the line.
    """
    try:
        if stores.is_remote(path):
            text = stores.read(path).decode("utf-8")
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"stars file {path}: {error}") from error
    stars = _from_json(path, text) if text.lstrip().startswith("{") else _from_lines(path, text)
    for name, count in stars.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise InputError(f"stars file {path}: {name!r} has {count!r}, expected a number")
    return stars


def _from_json(path: str, text: str) -> dict[str, int]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"stars file {path}: no JSON: {error}") from error


def _from_lines(path: str, text: str) -> dict[str, int]:
    stars = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, tab, count = line.rpartition("\t")
        if not tab or not count.strip().isdecimal():
            raise InputError(f"stars file {path}, line {number}: expected name, tab, number")
        stars[name] = int(count)
    return stars
