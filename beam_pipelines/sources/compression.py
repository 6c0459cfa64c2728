"""Unpacks gzip, zstd, xz and bzip2 streams in bounded memory, and tells whole from cut.

Libraries differ in what they make of a stream that ends too early (python-zstandard's
reader takes it for the end) and of a few kilobytes that unpack to gigabytes. Here every
stream is read member by member with a bound on what one step may give, a missing end is
a `DamagedError`, and so is a checksum that differs. The kind is told by the file's name;
concatenated members are one stream, as the command line tools have it.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

from beam_pipelines.sources.containers import DamagedError

SUFFIXES = ("", ".gz", ".zst", ".xz", ".bz2")
_STEP = 1 << 18
# The densest zstd input gives 32 KB a byte: at most 34 MB a step.
_ZSTD_INPUT = 1 << 10
# `zstd --long=27`; a stream that asks for more is refused, not given the memory.
_LARGEST_WINDOW = 1 << 27
_LARGEST_XZ_MEMORY = 1 << 28
_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, zstandard.ZstdError)


def compression_of(name: str) -> str:
    """The suffix of `SUFFIXES` that a name ends in, empty for a plain file."""
    return next((suffix for suffix in SUFFIXES[1:] if name.endswith(suffix)), "")


def unpacked(file: io.RawIOBase, kind: str) -> Iterator[bytes]:
    """The content of a stream, in pieces of some 256 KB (at most 34 MB).

    Args:
      file: of the stored bytes, at its start.
      kind: one of `SUFFIXES`.

    Raises:
      DamagedError: the stream is of another kind, damaged, or ends too early; its position
        counts unpacked bytes.
    """
    if not kind:
        while piece := file.read(_STEP):
            yield piece
        return
    given = 0
    pending: list[bytes] = []
    waiting = 0
    try:
        for piece in _members(file, kind):
            given += len(piece)
            pending.append(piece)
            waiting += len(piece)
            if waiting >= _STEP:
                yield b"".join(pending)
                pending, waiting = [], 0
    except _BrokenError as broken:
        if pending:
            yield b"".join(pending)
        raise DamagedError(f"after byte {given} of its content", *broken.args) from broken
    if pending:
        yield b"".join(pending)


class PieceReader:
    """The `read(size)` that tarfile wants, of an iterator of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer at the end only."""
        parts = []
        while size:
            if not self._left:
                piece = next(self._pieces, b"")
                if not piece:
                    break
                self._left = memoryview(piece)
            part = self._left[:size]
            parts.append(part)
            self._left = self._left[len(part) :]
            size -= len(part)
        return b"".join(parts)


class _BrokenError(Exception):
    """(what was expected, what came)"""


def _members(file: io.RawIOBase, kind: str) -> Iterator[bytes]:
    make, name = _DECOMPRESSORS[kind]
    read_size = _ZSTD_INPUT if kind == ".zst" else 1 << 16
    buffered = io.BufferedReader(file, 1 << 20)
    data = buffered.read(read_size)
    if not data:
        raise _BrokenError(f"a {name} stream", "an empty file")
    while data:
        member = make()
        while True:
            try:
                yield from _steps(member, kind, data)
            except _ERRORS as error:
                raise _BrokenError(f"{name} data", error) from error
            if member.eof:
                break
            data = buffered.read(read_size)
            if not data:
                raise _BrokenError(f"the end of the {name} stream", "the end of the file")
        data = member.unused_data or buffered.read(read_size)
        # Tapes and some tools fill up with zeros.
        while data and not data.strip(b"\0"):
            data = buffered.read(read_size)


def _steps(member: Any, kind: str, data: bytes) -> Iterator[bytes]:
    """What `data` unpacks to, never much at a time."""
    if kind == ".zst":
        yield member.decompress(data)
    elif kind == ".gz":
        yield member.decompress(data, _STEP)
        while member.unconsumed_tail:
            yield member.decompress(member.unconsumed_tail, _STEP)
    else:
        yield member.decompress(data, _STEP)
        while not member.needs_input and not member.eof:
            yield member.decompress(b"", _STEP)


def _zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()


def _gzip() -> Any:
    return zlib.decompressobj(wbits=31)


def _xz() -> Any:
    return lzma.LZMADecompressor(memlimit=_LARGEST_XZ_MEMORY)


_DECOMPRESSORS: dict[str, tuple[Callable[[], Any], str]] = {
    ".gz": (_gzip, "gzip"),
    ".zst": (_zstd, "zstd"),
    ".xz": (_xz, "xz"),
    ".bz2": (bz2.BZ2Decompressor, "bzip2"),
}
