"""Record i of a set of shards, wherever they are, for sets of thousands of shards.

The manifest says how many records each shard holds, so nothing is opened before a record of
it is wanted. Shards that were used last stay open, as many as file descriptors and memory
allow. Of a shard in an object store the index at its end is fetched once and then one range a
record; a file in memory that holds just these bytes at their offsets goes to the library's own
reader. So what comes from a store passes the same checksums as what comes from a disk, and
nothing is left behind. Next: `packed_source` puts shuffling and batching on top.
"""

import bisect
import collections
import dataclasses
import itertools
import os
import threading
from collections.abc import Sequence
from typing import Protocol

from array_record.python import array_record_module

from opencoder_jax.data import stores
from opencoder_jax.formats.example import RecordError
from opencoder_jax.formats.record_offsets import BLOCK, record_offsets

# An open local shard is a file descriptor, of 1,024 in most shells; of a remote one the index
# stays, a few hundred kilobytes.
MAX_OPEN_LOCAL = 256
MAX_OPEN_REMOTE = 4096
# Without these the reader takes a megabyte to find one record.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0,footer_prefetch_bytes:0"
_READER_BUFFER = 1 << 15
_FILE_SIGNATURE_BYTES = 64
# Holds the index of a shard of 20,000 records.
_TAIL = 1 << 18


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """One file of a set.

    Attributes:
      path: of the operating system, or a url.
      num_records: in it.
      num_bytes: its size; None where the manifest does not say.
    """

    path: str
    num_records: int
    num_bytes: int | None = None

    def damaged(self, reason: object) -> RecordError:
        return RecordError(f"{self.path}: {reason}; copy it anew, or pack the set again")


class _OpenShard(Protocol):
    def read(self, index: int) -> bytes: ...


class ShardRecords:
    """The records of all shards in order, by number. Threads may share it."""

    def __init__(self, shards: Sequence[Shard], max_open: int | None = None) -> None:
        """Opens nothing.

        Args:
          shards: in order.
          max_open: how many stay open; None for what suits their kind.
        """
        self._shards = tuple(shards)
        self._ends = list(itertools.accumulate(shard.num_records for shard in shards))
        remote = any(stores.is_remote(shard.path) for shard in shards)
        self._max_open = max_open or (MAX_OPEN_REMOTE if remote else MAX_OPEN_LOCAL)
        self._open: collections.OrderedDict[int, _OpenShard] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:
        """Record `index`.

        Raises:
          RecordError: its shard is missing or damaged; the message names both.
        """
        number, within = self._place(index)
        try:
            return self._opened(number).read(within)
        except RecordError:
            # A reader that failed once goes on failing; another attempt deserves a new one.
            with self._lock:
                self._open.pop(number, None)
            raise

    def name(self, index: int) -> str:
        """Where record `index` is, for messages."""
        number, within = self._place(index)
        return f"{self._shards[number].path}: record {within}"

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number = bisect.bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def _opened(self, number: int) -> _OpenShard:
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        # Not under the lock: a store may take its time, and the other threads need not wait.
        shard = self._shards[number]
        opened: _OpenShard = _Remote(shard) if stores.is_remote(shard.path) else _Local(shard)
        with self._lock:
            opened = self._open.setdefault(number, opened)
            # Closed when the last thread that reads it lets go.
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
        return opened


class _Local:
    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._reader = _reader(shard, shard.path)

    def read(self, index: int) -> bytes:
        return _read_one(self._shard, self._reader, index)


class _Remote:
    """The index of a shard in a store; holds no connection."""

    def __init__(self, shard: Shard) -> None:
        if shard.num_bytes is None:
            raise shard.damaged("its size is unknown, so it cannot be read from a store")
        self._shard = shard
        self._size = shard.num_bytes
        self._tail_start = max(0, self._size - _TAIL)
        self._tail = self._fetch(self._tail_start, self._size)
        try:
            self._offsets = record_offsets(self._read_tail, self._size)
        except RecordError as error:
            raise shard.damaged(error) from error
        if len(self._offsets) - 1 != shard.num_records:
            raise shard.damaged(_wrong_count(len(self._offsets) - 1, shard))
        footer = int(self._offsets[-1])
        # Between the index and the last block there are zeros, as in a file of holes.
        self._pieces = [
            (0, self._fetch(0, _FILE_SIGNATURE_BYTES)),
            (footer, self._read_tail(footer, self._size - BLOCK).rstrip(b"\0")),
            (self._size - BLOCK, self._read_tail(self._size - BLOCK, self._size).rstrip(b"\0")),
        ]
        self._tail = b""

    def read(self, index: int) -> bytes:
        start, stop = self._offsets[index : index + 2].tolist()
        record = self._fetch(start, stop)
        file = os.memfd_create("shard")
        try:
            os.ftruncate(file, self._size)
            for offset, content in [*self._pieces, (start, record)]:
                os.pwrite(file, content, offset)
            reader = _reader(self._shard, f"/proc/self/fd/{file}")
            return _read_one(self._shard, reader, index)
        finally:
            os.close(file)

    def _fetch(self, start: int, stop: int) -> bytes:
        content = stores.read_object(self._shard.path, start, stop)
        if content is None:
            raise self._shard.damaged("no such object")
        if len(content) != stop - start:
            raise self._shard.damaged("shorter than its manifest says")
        return content

    def _read_tail(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._size)
        if start < self._tail_start:
            self._tail = self._fetch(start, self._tail_start) + self._tail
            self._tail_start = start
        return self._tail[start - self._tail_start : stop - self._tail_start]


def _reader(shard: Shard, path: str) -> array_record_module.ArrayRecordReader:
    """A healthy reader of `path`, which has the bytes of `shard`."""
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        raise shard.damaged("no such file") from None
    if size != (shard.num_bytes or size):
        raise shard.damaged(f"{size} bytes, its manifest says {shard.num_bytes}")
    reader = array_record_module.ArrayRecordReader(
        path, options=_READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER
    )
    if not reader.ok():
        raise shard.damaged(f"damaged or cut short ({_failure(reader)})")
    if reader.num_records() != shard.num_records:
        raise shard.damaged(_wrong_count(reader.num_records(), shard))
    return reader


def _read_one(shard: Shard, reader: array_record_module.ArrayRecordReader, index: int) -> bytes:
    try:
        records = reader.read([index])
    except (RuntimeError, ValueError, IndexError) as error:
        raise shard.damaged(f"record {index} is damaged ({error})") from error
    if len(records) != 1 or not reader.ok():
        raise shard.damaged(f"record {index} is damaged")
    return records[0]


def _failure(reader: array_record_module.ArrayRecordReader) -> str:
    """Why a reader is not healthy; only closing it tells."""
    try:
        reader.close()
    except RuntimeError as error:
        return str(error)
    return "unknown reason"


def _wrong_count(found: int, shard: Shard) -> str:
    return f"{found} records, its manifest says {shard.num_records}"
