"""One strict reading of a JSON object that somebody else wrote: a notebook, a line of JSON lines.

Everything that can be wrong with it is one kind of error, the caller's own. Next:
`sources/jsonl` and `transforms/notebook`, which look into the object.
"""

import json
from collections.abc import Callable
from typing import Any


def parse_object(content: bytes, error: Callable[[str], Exception]) -> dict[str, Any]:
    """The object; a byte-order mark before it is no content.

    Args:
      content: UTF-8.
      error: makes the exception of a message.

    Raises:
      The exception that `error` makes: it is no UTF-8, no JSON, nested too deeply, or
        something else than an object.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise error(f"no UTF-8 at its byte {problem.start}: {problem.reason}") from problem
    except RecursionError as problem:
        raise error("no JSON: nested too deeply") from problem
    except ValueError as problem:
        raise error(f"no JSON: {' '.join(str(problem).split())}") from problem
    if not isinstance(value, dict):
        raise error(f"expected a JSON object, got {type(value).__name__}")
    return value
