"""One strict reading of a JSON object that somebody else wrote: a request, a notebook, a record.

Everything that can be wrong with it is one kind of error, the caller's own. Next:
`beam_pipelines/sources/jsonl`, `beam_pipelines/transforms/notebook` and `serve/fields`, which look
into the object.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

# A boolean is an int to Python.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


def parse_object(
    content: bytes, error: Callable[[str], Exception], *, finite: bool = False
) -> dict[str, Any]:
    """The object; a byte-order mark before it is no content.

    Args:
      content: UTF-8.
      error: makes the exception of a message.
      finite: refuse `NaN` and `Infinity`, which Python and notebooks write and JSON has not.

    Raises:
      The exception that `error` makes: it is no UTF-8, no JSON, nested too deeply, or
        something else than an object.
    """
    read = functools.partial(json.loads, parse_constant=_no_constant) if finite else json.loads
    try:
        value = read(content.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise error(f"no UTF-8 at its byte {problem.start}: {problem.reason}") from problem
    except RecursionError as problem:
        raise error("no JSON: nested too deeply") from problem
    except ValueError as problem:
        raise error(f"no JSON: {' '.join(str(problem).split())}") from problem
    if not isinstance(value, dict):
        raise error(f"expected a JSON object, got {json_type(value)}")
    return value


def json_type(value: object) -> str:
    """What JSON calls it."""
    if value is None:
        return "null"
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return name
    raise TypeError(f"{type(value).__name__} is no JSON")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
