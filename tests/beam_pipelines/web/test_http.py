"""What archives keep of a response: encodings undone where they are there, whatever headers say."""

import gzip
import tempfile
import zlib
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter

from beam_pipelines.web.http import (
    BadResponseError,
    content_type,
    decoded_body,
    parse_response,
)
from tests.beam_pipelines.web.crawls import response

PAGE = b"<html><body>" + b"<p>Some text of a page.</p>\n" * 200 + b"</body></html>"


def _brotli(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packed"
        with BrotliWriter(str(path)) as writer:
            writer.write(content)
        return path.read_bytes()


def _chunked(content: bytes) -> bytes:
    parts = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return chunks + b"0\r\nTrailer: x\r\n\r\n"


def _raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACKED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": _raw_deflate,
    "br": _brotli,
    "zstd": zstandard.compress,
    "identity": lambda content: content,
}


def _body(message: bytes, longest: int = 1_000_000) -> bytes:
    return decoded_body(parse_response(message), longest)


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("chunked", [False, True])
def test_encodings_are_undone(encoding: str, chunked: bool) -> None:
    body = PACKED[encoding](PAGE)
    headers = [f"Content-Encoding: {encoding}"]
    if chunked:
        body = _chunked(body)
        headers.append("Transfer-Encoding: chunked")
    assert _body(response(body, "text/html", "200 OK", *headers)) == PAGE


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_that_the_crawler_decoded_stays_as_it_is(encoding: str) -> None:
    headers = (f"Content-Encoding: {encoding}", "Transfer-Encoding: chunked")
    assert _body(response(PAGE, "text/html", "200 OK", *headers)) == PAGE


@pytest.mark.parametrize("encoding", PACKED)
def test_a_text_that_the_crawler_decoded_stays_whatever_it_begins_with(encoding: str) -> None:
    text = b"2024\n" + b"A line of a text that is no markup.\n" * 500
    headers = (f"Content-Encoding: {encoding}", "Transfer-Encoding: chunked")
    assert _body(response(text, "text/plain", "200 OK", *headers)) == text


def test_a_body_of_several_gzip_members_is_read_to_its_end() -> None:
    body = b"".join(gzip.compress(PAGE[start : start + 7]) for start in range(0, len(PAGE), 7))
    message = response(body + b"\0\0", "text/html", "200 OK", "Content-Encoding: gzip")
    assert _body(message) == PAGE
    with pytest.raises(BadResponseError) as caught:
        _body(message, len(PAGE) - 1)
    assert caught.value.reason == "too_large"


def test_common_crawl_renames_the_headers_of_what_it_decoded() -> None:
    headers = ("X-Crawl-Content-Encoding: gzip", "X-Crawl-Transfer-Encoding: chunked")
    assert _body(response(PAGE, "text/html", "200 OK", *headers)) == PAGE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_small_body_that_unpacks_to_a_huge_one_is_too_large(encoding: str) -> None:
    body = PACKED[encoding](b"<" + b"a" * 50_000_000)
    assert len(body) < 100_000
    with pytest.raises(BadResponseError) as caught:
        _body(response(body, "text/html", "200 OK", f"Content-Encoding: {encoding}"))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_damaged_bodies_are_told(encoding: str) -> None:
    body = bytearray(PACKED[encoding](PAGE))
    body[4:40] = b"\xff" * 36
    with pytest.raises(BadResponseError) as caught:
        _body(response(bytes(body), "text/html", "200 OK", f"Content-Encoding: {encoding}"))
    assert caught.value.reason == "bad_encoding"


@pytest.mark.parametrize(
    "message", [b"", b"<html>", b"HTTP/1.1 abc\r\n\r\n", b"ICY 200 OK\r\n\r\n"]
)
def test_what_is_no_response_is_told(message: bytes) -> None:
    with pytest.raises(BadResponseError) as caught:
        parse_response(message)
    assert caught.value.reason == "bad_http"


def test_heads_are_read_as_servers_write_them() -> None:
    lines = b"HTTP/1.0 404 Not\r\nA : 1\n junk line\r\nCONTENT-type:\ttext/html;\r\n charset=x"
    parsed = parse_response(lines + b"\r\n\r\nbody")
    assert parsed.status == 404
    assert parsed.headers["content-type"] == "text/html; charset=x"
    assert parsed.body == b"body"
    odd = parse_response("HTTP/1.1 200 OK\r\nLocation: /a\u2028b: c\x0bd\r\nB: 1\r\n\r\n".encode())
    assert odd.headers == {"location": "/a\u2028b: c\x0bd", "b": "1"}
    assert content_type("Text/HTML; Charset = 'GB2312'; x") == ("text/html", "GB2312")
    assert content_type("") == ("", "")
