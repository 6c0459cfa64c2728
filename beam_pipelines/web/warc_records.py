"""The records of a WARC file, sound ones whatever stands between them.

`fastwarc` and `warcio` end at the first damaged record, and hand over cut ones as if they were
whole (docs/web.md), so the framing is ours: a record is whole when as many bytes as its
`Content-Length` says stand before the next record or the end. After damage the next one is
looked for: in gzip the next member that begins with a record, else the next line that begins
like one. A `.warc.gz` has a member for each record, so ranges of its bytes can be read apart
from each other; of one that was packed otherwise the first range reads all.
Next: `warc` makes pages of them.
"""

import io
import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from beam_pipelines.sources.compression import compression_of, unpacked
from beam_pipelines.sources.containers import DamagedError, Range, one_line
from beam_pipelines.web.http import parse_headers

_MARK = b"WARC/"
_AGAIN = re.compile(rb"\nWARC/[01]\.\d+\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_RECORD_END = b"\r\n\r\n"
_LONGEST_HEAD = 1 << 16
_STEP = 1 << 18
_READ = 1 << 16
_MEMBER = b"\x1f\x8b\x08"
_NO_FLAGS = 0xE0  # of a gzip header: reserved bits
_PROBE = 64


class Record(NamedTuple):
    """A whole record, or what stands for a damaged one.

    Attributes:
      position: in words.
      headers: lower-case name to value; empty where they could not be read.
      block: its bytes; None where there are more than may be.
      size: bytes of the block as it declares.
      damage: what was expected and what came; empty for a whole record.
    """

    position: str
    headers: Mapping[str, str]
    block: bytes | None
    size: int
    damage: str = ""


def read_records(file: io.RawIOBase, name: str, part: Range, longest: int) -> Iterator[Record]:
    """The records that begin in a range.

    Args:
      file: the stored bytes, seekable.
      name: of the file; its end tells how it is packed, where its first bytes do not.
      part: of the stored bytes; only gzip can be cut.
      longest: bytes of a block that is handed over.
    """
    kind = compression_of(name)
    file.seek(0)
    start = file.read(len(_MARK)) or b""
    if start.startswith(_MEMBER):
        kind = ".gz"
    elif start == _MARK:
        # Downloads lose their packing and keep their names; the first range reads all.
        kind = ""
        if part.start:
            return
    if kind == ".gz":
        runs = _GzipRuns(file, part)
        while (offset := runs.next_run()) is not None:
            yield from _records(_Buffer(runs.pieces()), offset, longest)
    else:
        file.seek(0)
        yield from _records(_Buffer(_plain(file, kind)), None, longest)


class _BrokenError(Exception):
    """The stream does not go on; says what was expected and what came."""


class _Buffer:
    """A stream in pieces that can be looked at before it is taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._data = b""
        self._start = 0
        self.position = 0

    def fill(self, size: int) -> bool:
        """Whether there are `size` bytes to look at."""
        if len(self._data) - self._start >= size:
            return True
        parts = [self._data[self._start :]]
        have = len(parts[0])
        try:
            while have < size:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                parts.append(piece)
                have += len(piece)
        finally:
            self._data, self._start = b"".join(parts), 0
        return have >= size

    def skip_line_ends(self) -> None:
        while self.fill(1) and self._data[self._start] in b"\r\n":
            self._start += 1
            self.position += 1

    def begins(self, mark: bytes) -> bool:
        self.fill(len(mark))
        return self._data.startswith(mark, self._start)

    def look(self, size: int) -> bytes:
        self.fill(size)
        return self._data[self._start : self._start + size]

    def head(self) -> bytes | None:
        """Takes what stands before the next empty line; None where none comes."""
        size = 1 << 10
        while True:
            more = self.fill(size)
            end = _HEAD_END.search(self._data, self._start)
            if end:
                head = self._data[self._start : end.start()]
                self._move(end.end() - self._start)
                return head
            if not more or size >= _LONGEST_HEAD:
                return None
            size = max(4 * size, min(len(self._data) - self._start, _LONGEST_HEAD))

    def take(self, size: int, held: bool) -> tuple[bytes, int]:
        """(the next bytes, or none where they are not to be held; how many there were)."""
        parts, left = [], size
        while left and self.fill(1):
            part = self._data[self._start : self._start + left]
            if held:
                parts.append(part)
            left -= len(part)
            self._move(len(part))
        return b"".join(parts), size - left

    def put_back(self, content: bytes) -> None:
        self._data = content + self._data[self._start :]
        self._start = 0
        self.position -= len(content)

    def to_next_record(self) -> bool:
        """Goes to the next line that begins like a record; whether there is one."""
        while self.fill(1):
            found = _AGAIN.search(self._data, self._start)
            if found:
                self._move(found.start() + 1 - self._start)
                return True
            keep = min(len(self._data) - self._start, 16)
            self._move(len(self._data) - self._start - keep)
            if not self.fill(keep + 1):
                self._move(keep)
        return False

    def _move(self, size: int) -> None:
        self._start += size
        self.position += size


def _records(buffer: _Buffer, offset: int | None, longest: int) -> Iterator[Record]:
    """The records of a stream; `offset` is where its gzip member begins."""
    place = ""
    headers: Mapping[str, str] = {}
    try:
        while True:
            place, headers = _place(offset, buffer.position), {}
            buffer.skip_line_ends()
            if not buffer.fill(1):
                return
            place, headers = _place(offset, buffer.position), {}
            start = buffer.look(16)
            head = buffer.head() if start.startswith(_MARK) else None
            if head is None:
                yield Record(place, {}, b"", 0, f"expected a WARC record, got {start!r}")
                buffer.take(1, held=False)
                found = buffer.to_next_record()
            else:
                headers = parse_headers(head.partition(b"\n")[2])
                record = _whole(buffer, place, headers, longest)
                yield record
                found = not record.damage or buffer.begins(_MARK) or buffer.to_next_record()
            if not found:
                return
    except _BrokenError as broken:
        yield Record(place or _place(offset, 0), headers, b"", 0, str(broken))


def _whole(buffer: _Buffer, place: str, headers: Mapping[str, str], longest: int) -> Record:
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        return Record(place, headers, b"", 0, f"expected a Content-Length, got {length[:40]!r}")
    size = int(length)
    held = size <= longest
    block, got = buffer.take(size, held)
    if got < size:
        damage = f"expected a block of {size} bytes, got {got}"
        _resume(buffer, block)
        return Record(place, headers, b"", size, damage)
    if buffer.look(4) == _RECORD_END:
        return Record(place, headers, block if held else None, size)
    buffer.skip_line_ends()
    if buffer.fill(1) and not buffer.begins(_MARK):
        damage = f"expected the end after {size} bytes, got {buffer.look(16)!r}"
        _resume(buffer, block)
        return Record(place, headers, b"", size, damage)
    return Record(place, headers, block if held else None, size)


def _resume(buffer: _Buffer, block: bytes) -> None:
    """A block that is longer than it should be has swallowed records."""
    if swallowed := _AGAIN.search(block):
        buffer.put_back(block[swallowed.start() + 1 :])


def _place(offset: int | None, position: int) -> str:
    if offset is None:
        return f"record at byte {position}"
    inside = f", byte {position} of its content" if position else ""
    return f"record at byte {offset}{inside}"


def _plain(file: io.RawIOBase, kind: str) -> Iterator[bytes]:
    try:
        yield from unpacked(file, kind)
    except DamagedError as error:
        raise _BrokenError(error.detail) from error


class _GzipRuns:
    """Gzip members, those together that only together hold whole records."""

    def __init__(self, file: io.RawIOBase, part: Range) -> None:
        self._file = file
        self._stop = part.stop
        self._data = b""
        self._offset = 0
        self._ahead: tuple[int, Iterator[bytes]] | None
        self._is_damaged = False
        self._seek(part.start)
        # The first range also tells of a file that does not begin as it should.
        self._ahead = (0, self._member()) if part.start == 0 else self._find(part.start)

    def next_run(self) -> int | None:
        """Where the next run begins; None where the range has no more."""
        if self._ahead is None:
            return None
        # The range that a damaged member's place is in looks for sound ones and passes it over.
        if 0 <= self._stop <= self._ahead[0] and not self._is_damaged:
            return None
        return self._ahead[0]

    def pieces(self) -> Iterator[bytes]:
        """The content of the next run; has to be read to its end."""
        ahead, self._ahead, self._is_damaged = self._ahead, None, False
        while ahead is not None:
            offset, pieces = ahead
            try:
                yield from pieces
            except _BrokenError:
                self._ahead = self._find(offset + 1)
                raise
            ahead = self._next_member()
            if ahead is None:
                return
            offset, pieces = ahead
            try:
                first = next(pieces, b"")
            except _BrokenError as broken:
                # What came before is whole; the damage is a run of its own.
                self._ahead, self._is_damaged = (offset, _raising(broken)), True
                return
            ahead = offset, itertools.chain([first], pieces)
            if first.startswith(_MARK):
                self._ahead = ahead
                return

    def _next_member(self) -> tuple[int, Iterator[bytes]] | None:
        while True:
            # Tapes and some tools fill up with zeros.
            rest = self._data.lstrip(b"\0")
            self._offset += len(self._data) - len(rest)
            self._data = rest
            if self._data:
                return self._offset, self._member()
            if not self._fill():
                return None

    def _member(self) -> Iterator[bytes]:
        unpack = zlib.decompressobj(31)
        while not unpack.eof:
            if not self._data and not self._fill():
                raise _BrokenError("expected the end of a gzip member, got the end of the file")
            try:
                piece = unpack.decompress(self._data, _STEP)
            except zlib.error as error:
                raise _BrokenError(f"expected gzip data, got {one_line(error)}") from error
            rest = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
            self._offset += len(self._data) - len(rest)
            self._data = rest
            if piece:
                yield piece

    def _find(self, offset: int) -> tuple[int, Iterator[bytes]] | None:
        """The first member from `offset` on that begins with a record."""
        self._seek(offset)
        while True:
            at = self._data.find(_MEMBER)
            if at < 0:
                keep = self._data[-2:]
                self._offset += len(self._data) - len(keep)
                self._data = keep
                if not self._fill():
                    return None
                continue
            self._offset += at
            self._data = self._data[at:]
            while len(self._data) < 4 * _PROBE and self._fill():
                pass
            if self._is_record():
                return self._offset, self._member()
            self._offset += 1
            self._data = self._data[1:]

    def _is_record(self) -> bool:
        if len(self._data) < 4 or self._data[3] & _NO_FLAGS:
            return False
        try:
            start = zlib.decompressobj(31).decompress(self._data[:_READ], _PROBE)
        except zlib.error:
            return False
        return start.startswith(_MARK)

    def _seek(self, offset: int) -> None:
        self._file.seek(offset)
        self._offset, self._data = offset, b""

    def _fill(self) -> bool:
        more = self._file.read(_READ)
        self._data += more or b""
        return bool(more)


def _raising(error: _BrokenError) -> Iterator[bytes]:
    yield b""
    raise error
