"""The response of a web server as archives keep it: head and body, encodings undone.

Crawlers differ: Common Crawl decodes bodies and renames the headers (`X-Crawl-...`), others
keep the bytes of the wire, some decode and keep the headers. So an encoding is undone only
where the bytes look like it. What it unpacks to is bounded.
"""

import io
import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import zstandard
from fastwarc.stream_io import BrotliReader

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:+-]+)", re.IGNORECASE)
_LONGEST_HEAD = 1 << 16
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_LARGEST_WINDOW = 1 << 27
_AS_GZIP = 31  # zlib's wbits
_STEP = 1 << 14


class BadResponseError(Exception):
    """A response that gives no body, with the drop reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Response(NamedTuple):
    """What a server answered.

    Attributes:
      status: e.g. 200.
      headers: lower-case name to the first value.
      body: as stored, from its first byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_response(message: bytes) -> Response:
    """Splits a stored response.

    Raises:
      BadResponseError: `bad_http`: it does not begin like one.
    """
    start = _STATUS.match(message)
    if start is None:
        raise BadResponseError("bad_http", f"expected a status line, got {message[:40]!r}")
    end = _HEAD_END.search(message, 0, _LONGEST_HEAD)
    head, body = (message[: end.start()], message[end.end() :]) if end else (message, b"")
    return Response(int(start[1]), parse_headers(head.partition(b"\n")[2]), body)


def parse_headers(head: bytes) -> dict[str, str]:
    """Lower-case name to the first value of each header line; other lines say nothing."""
    headers: dict[str, str] = {}
    name = ""
    # `splitlines` also ends lines at U+2028 and the like, which addresses may have.
    for line in re.split(r"\r?\n", head.decode("utf-8", "replace")):
        if name and line[:1] in " \t":
            headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name in headers:
            name = ""
        else:
            headers[name] = value.strip()
    return headers


def content_type(value: str) -> tuple[str, str]:
    """(MIME type in lower case, charset) of a `Content-Type`; empty where it says none."""
    charset = _CHARSET.search(value)
    return value.partition(";")[0].strip().lower(), charset[1] if charset else ""


def decoded_body(response: Response, longest: int) -> bytes:
    """The body as the server meant it.

    Raises:
      BadResponseError: `too_large` where it has more than `longest` bytes, `bad_encoding`
        where it cannot be unpacked.
    """
    body, headers = response.body, response.headers
    if "chunked" in headers.get("transfer-encoding", "").lower() and _CHUNK.match(body):
        body = _unchunked(body)
    for encoding in reversed(headers.get("content-encoding", "").lower().split(",")):
        body = _decoded(body, encoding.strip(), longest)
    if len(body) > longest:
        raise BadResponseError("too_large", f"{len(body)} bytes, at most {longest}")
    return body


def _unchunked(body: bytes) -> bytes:
    """The chunks up to where they end, or do not go on; a text that begins like one as it is."""
    parts: list[bytes] = []
    position = 0
    while chunk := _CHUNK.match(body, position):
        size = int(chunk[1], 16)
        if not parts and body[chunk.end() + size :][:1] not in (b"", b"\r", b"\n"):
            return body
        if not size:
            break
        parts.append(body[chunk.end() : chunk.end() + size])
        position = chunk.end() + size
        position += 2 if body[position : position + 2] == b"\r\n" else 1
    return b"".join(parts)


def _decoded(body: bytes, encoding: str, longest: int) -> bytes:
    """Undoes one encoding; bytes that are not in it were decoded by whoever stored them."""
    try:
        if encoding in ("gzip", "x-gzip") and body.startswith(_GZIP):
            return _inflated(body, _AS_GZIP, longest)
        if encoding == "deflate" and not (body.lstrip().startswith(b"<") or _looks_decoded(body)):
            # Servers mean two things by it.
            return _inflated(body, 15 if body[0] & 15 == 8 else -15, longest)
        if encoding == "zstd" and body.startswith(_ZSTD):
            unpack = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
            with unpack.stream_reader(body, read_across_frames=True) as stream:
                return _bounded(stream.read(longest + 1), longest)
        if encoding == "br" and not _looks_decoded(body):
            with BrotliReader(io.BytesIO(body)) as stream:
                return _bounded(_read(stream, longest + 1), longest)
    except (zlib.error, zstandard.ZstdError, OSError, ValueError) as error:
        raise BadResponseError("bad_encoding", f"{encoding}: {error}") from error
    return body


def _inflated(body: bytes, wbits: int, longest: int) -> bytes:
    """As much as there is: a cut stream still gives the beginning of a page."""
    unpack = zlib.decompressobj(wbits)
    parts: list[bytes] = []
    position, left = 0, longest + 1
    while left and position < len(body):
        piece = body[position : position + _STEP]
        parts.append(unpack.decompress(piece, left))
        left -= len(parts[-1])
        position += len(piece) - len(unpack.unused_data or unpack.unconsumed_tail)
        if unpack.eof:
            # Servers that flush their output may write a member each time.
            if wbits != _AS_GZIP or not body.startswith(_GZIP, position):
                break
            unpack = zlib.decompressobj(wbits)
    return _bounded(b"".join(parts), longest)


def _read(stream: BrotliReader, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(min(size, 1 << 16))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _bounded(body: bytes, longest: int) -> bytes:
    if len(body) > longest:
        raise BadResponseError("too_large", f"more than {longest} bytes when unpacked")
    return body


def _looks_decoded(body: bytes) -> bool:
    """Brotli and deflate have no mark to know them by; their bytes are no text."""
    start = body[:256]
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4
    return not start.translate(None, bytes(range(9, 127))) if start else True
