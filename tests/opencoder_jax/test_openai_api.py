"""What a server says is read for what it is, however odd."""

import datetime
import email.utils

import pytest

from opencoder_jax import openai_api


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-3", None), ("١", None)],
)
def test_seconds_to_wait(header: str, seconds: float | None) -> None:
    assert openai_api.retry_after(header) == seconds


def test_a_date_to_wait_for() -> None:
    now = datetime.datetime.now(datetime.UTC)
    later = openai_api.retry_after(email.utils.format_datetime(now + datetime.timedelta(hours=1)))
    assert later is not None
    assert 3500 < later <= 3600
    past = email.utils.format_datetime(now - datetime.timedelta(hours=1))
    assert openai_api.retry_after(past) == 0
    assert openai_api.retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": {"message": "no  such\\nmodel"}}', "no such model"),
        (b'{"error": "plain"}', "plain"),
        (b'{"message": "elsewhere"}', "elsewhere"),
        (b"<html>502</html>", "<html>502</html>"),
        (b"\xff", "\ufffd"),
        (b"", "otherwise"),
        (b"[" * 100_000, "[" * 500),
    ],
)
def test_an_error_in_one_line(content: bytes, message: str) -> None:
    assert openai_api.error_message(content, "otherwise") == message


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b'{"error": "x"}', b'{"error": null}'])
def test_an_error_without_a_name(content: bytes) -> None:
    assert openai_api.error_code(content) == ""


@pytest.mark.parametrize(
    ("count", "told"), [(5, 5), (0, 0), (-1, None), (True, None), ("5", None), (10**30, None)]
)
def test_counts_that_can_be_are_believed(count: object, told: int | None) -> None:
    assert openai_api.token_count({"usage": {"prompt_tokens": count}}, "prompt_tokens") == told
    assert openai_api.token_count({"usage": [count]}, "prompt_tokens") is None
