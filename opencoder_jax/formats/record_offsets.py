"""Where the records of an ArrayRecord file lie, read from its end alone.

Whoever reads single records of a file that lies elsewhere has to know which bytes to ask for,
and the library's reader opens nothing but files on this machine. An ArrayRecord file with
`group_size:1` is a Riegeli file of one chunk a record, then a footer chunk with the chunks'
offsets, then in its last 64 KiB a chunk that says where the footer is (array_record's
`array_record_reader.cc`, Riegeli's `doc/riegeli_records_file_format.md`). Checksums are not
looked at here: `data/records.py` gives the bytes to the library's reader, which does.
"""

import struct
from collections.abc import Callable

import numpy as np

from opencoder_jax.formats.example import RecordError
from opencoder_jax.formats.wire import varints

BLOCK = 1 << 16  # Every so many bytes of a file begin with a block header.
_BLOCK_HEADER = 24
_CHUNK_HEADER = struct.Struct("<QQQQQ")  # hash, data size, data's hash, kind and count, raw size
_SIMPLE_CHUNK = ord("r")
_MAGIC = 0x71930E704FDAE05E
# Tags of ArrayRecordFooter and RiegeliPostscript: integers, numbered from 1.
_TAGS = (0x08, 0x10, 0x18)

Read = Callable[[int, int], bytes]


def record_offsets(read: Read, size: int) -> np.ndarray:
    """int64[records + 1] with the offset of each record's chunk, and of the footer.

    Args:
      read: (start, stop) to the file's bytes there.
      size: bytes of the file.

    Raises:
      RecordError: it does not end as an ArrayRecord file with `group_size:1` does.
    """
    try:
        if size < 2 * BLOCK or size % BLOCK:
            raise ValueError(f"{size} bytes")
        postscripts, _ = _chunk(read, size - BLOCK)  # Several times the same.
        footer, magic = _integers(postscripts, 2)[0].tolist()
        if magic != _MAGIC or not 0 < footer < size - BLOCK:
            raise ValueError("no postscript")
        entries, first = _chunk(read, footer)
        # The first entry says how the file was written; the others are a group each.
        groups = _integers(entries[first:], 3)
        if (groups[:, 2] != 1).any():
            raise ValueError("several records a group")
        return np.append(groups[:, 0], footer)
    except (ValueError, IndexError, struct.error) as error:
        raise RecordError(f"its end is damaged or missing ({error})") from error


def _integers(messages: bytes, fields: int) -> np.ndarray:
    """int64[n, fields] of a run of messages of the integer fields 1, 2, ..., each given."""
    values = varints(np.frombuffer(messages, np.uint8)).astype(np.int64).reshape(-1, 2 * fields)
    if (values[:, ::2] != _TAGS[:fields]).any():
        raise ValueError("unknown fields")
    return values[:, 1::2]


def _chunk(read: Read, start: int) -> tuple[bytes, int]:
    """The records of the simple chunk that begins at `start`, and the length of the first."""
    _, data_size, _, kind, _ = _CHUNK_HEADER.unpack(_content(read, start, _CHUNK_HEADER.size))
    if kind & 0xFF != _SIMPLE_CHUNK or data_size > 1 << 31:
        raise ValueError(f"no simple chunk at {start}")
    data = _content(read, start, _CHUNK_HEADER.size + data_size)[_CHUNK_HEADER.size :]
    compression = data[:1]
    length, position = _varint(data, 1)
    sizes = _decompressed(compression, data[position : position + length])
    return _decompressed(compression, data[position + length :]), _varint(sizes, 0)[0]


def _content(read: Read, start: int, length: int) -> bytes:
    """`length` bytes from `start` on, block headers left out."""
    first = start - start % BLOCK
    headers = 1 + (start % BLOCK + length) // (BLOCK - _BLOCK_HEADER)
    stored = read(start, start + length + headers * _BLOCK_HEADER)
    parts = []
    for block in range(first, start + len(stored), BLOCK):
        begin = start if block < start else block + _BLOCK_HEADER
        parts.append(stored[begin - start : block + BLOCK - start])
    content = b"".join(parts)
    if len(content) < length:
        raise ValueError(f"cut short at {start}")
    return content[:length]


def _decompressed(compression: bytes, data: bytes) -> bytes:
    if compression == b"\0":
        return data
    # Of no use to a Beam worker that reads local shards.
    import zstandard

    if compression != b"z":
        raise ValueError(f"compression {compression!r}, expected zstd")
    size, position = _varint(data, 0)
    try:
        content = zstandard.ZstdDecompressor().decompress(data[position:], max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(content) != size:
        raise ValueError("compressed data of another length than it says")
    return content


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
