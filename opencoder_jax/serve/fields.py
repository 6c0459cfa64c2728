"""Bodies of requests, and the fields of an object with their types and bounds.

Every field of a request is taken by name, once; whatever is then left is a field that nobody
knows, and refused: a mistyped `temperature` would otherwise be one of 1. Next: `schemas`.
"""

import math
from collections.abc import Sequence
from typing import Any

from opencoder_jax.formats.json_object import json_type, parse_object
from opencoder_jax.serve.api_error import bad_request

_SHOWN = 60


def read_object(body: bytes) -> dict[str, Any]:
    """A request's body.

    Raises:
      ApiError: it is no JSON object in UTF-8.
    """
    return parse_object(body, lambda message: bad_request(f"the body: {message}"), finite=True)


def check_text(text: str, name: str) -> str:
    """The text.

    Raises:
      ApiError: it has a lone surrogate (`"\\ud800"`), which no UTF-8 can say.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = f"{name} has a lone surrogate at character {error.start}: no valid text"
        raise bad_request(message, name) from error
    return text


class Fields:
    """An object's fields. `null` is the same as a field that is not there.

    Args:
      values: the object.
      where: what its fields' names begin with in errors, e.g. `messages[0].`.
    """

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self._left = dict(values)
        self._where = where

    def name(self, key: str) -> str:
        return self._where + key

    def take(self, key: str) -> Any:
        """The value as it is; None where there is none."""
        return self._left.pop(key, None)

    def boolean(self, key: str, default: bool = False) -> bool:
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "a boolean", value)
        return value

    def integer[T](self, key: str, low: int, high: int, default: T) -> int | T:
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "an integer", value)
        if not low <= value <= high:
            raise self.wrong(key, f"{low} to {high}", value)
        return value

    def number(self, key: str, low: float, high: float, default: float) -> float:
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number", value)
        if not (low <= value <= high and math.isfinite(value)):
            raise self.wrong(key, f"{low:g} to {high:g}", value)
        return float(value)

    def text(self, key: str) -> str | None:
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(key, "a string", value)
        return check_text(value, self.name(key))

    def items(self, key: str) -> list[Any] | None:
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.wrong(key, "an array", value)
        return value

    def part(self, key: str) -> "Fields | None":
        """The fields of an object in a field."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "an object", value)
        return Fields(value, f"{self.name(key)}.")

    def unsupported(self, key: str, neutral: Sequence[Any], advice: str = "") -> None:
        """Refuses a field that has another value than those that ask for nothing."""
        value = self.take(key)
        if value is not None and not any(value == one for one in neutral):
            message = f"{self.name(key)} is not supported by this server"
            raise bad_request(
                message + (f": {advice}" if advice else ""), self.name(key), "unsupported_parameter"
            )

    def finish(self, ignored: Sequence[str] = ()) -> None:
        """Refuses what nobody has taken, but for `ignored`."""
        unknown = [key for key in self._left if key not in ignored]
        if unknown:
            name = self.name(unknown[0][:_SHOWN])
            raise bad_request(f"unknown field {name!a}", name, "unknown_parameter")

    def wrong(self, key: str, expected: str, value: object) -> Exception:
        """An error to raise."""
        simple = value is None or isinstance(value, bool | int | float | str)
        shown = ascii(value)[:_SHOWN] if simple and not _is_huge(value) else json_type(value)
        name = self.name(key)
        return bad_request(f"{name}: expected {expected}, got {shown}", name, "invalid_value")


def _is_huge(value: object) -> bool:
    """Whether Python would refuse to write the number out."""
    return isinstance(value, int) and value.bit_length() > 1000
