"""Whatever is no JSON object is the caller's own error, with what came instead."""

import pytest

from opencoder_jax.formats.json_object import parse_object


class WrongError(Exception):
    """A caller's own."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "\xff"}', "no UTF-8 at its byte 7"),
        (b"\xff\xfe{}", "no UTF-8 at its byte 0"),
        (b"", "no JSON: Expecting value"),
        (b'{"a": 1} {}', "no JSON: Extra data"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON: Exceeds the limit"),
        (b"[1]", "expected a JSON object, got an array"),
        (b"null", "expected a JSON object, got null"),
    ],
)
def test_what_is_no_object_is_the_callers_error(content: bytes, message: str) -> None:
    with pytest.raises(WrongError, match=message):
        parse_object(content, WrongError)


def test_a_byte_order_mark_is_no_content() -> None:
    assert parse_object(b'\xef\xbb\xbf {"a": [1]}\r\n', WrongError) == {"a": [1]}


def test_numbers_that_json_has_not_are_refused_where_that_is_asked_for() -> None:
    content = b'{"a": NaN, "b": -Infinity}'
    assert set(parse_object(content, WrongError)) == {"a", "b"}
    with pytest.raises(WrongError, match="NaN is no number of JSON"):
        parse_object(content, WrongError, finite=True)
