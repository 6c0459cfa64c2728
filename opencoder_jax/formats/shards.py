"""ArrayRecord shards: their names, reading them, writing one so that it is whole or absent.

Shards are written with `group_size:1` (a record a group), which random access needs.
A shard appears under its name only when it is complete: a job that is killed leaves
`.tmp` files, never half a shard.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from array_record.python import array_record_module

from opencoder_jax.errors import InputError
from opencoder_jax.formats.example import RecordError

WRITER_OPTIONS = "group_size:1"
_SHARD_NAME = re.compile(r"(?P<name>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.arrayrecord")


class MissingShardsError(InputError, FileNotFoundError):
    """A folder lacks the shards that its reader was told to expect."""


def shard_name(name: str, index: int, count: int) -> str:
    """`documents-00003-of-00032.arrayrecord`."""
    return f"{name}-{index:05d}-of-{count:05d}.arrayrecord"


def list_shards(folder: str | os.PathLike, name: str) -> list[Path]:
    """All shards `name-*` of a folder, in order.

    Raises:
      MissingShardsError: there are none, or one of the set is missing.
    """
    folder = Path(folder)
    names = (path.name for path in folder.glob(f"{name}-*.arrayrecord"))
    return [folder / file for file in whole_set(names, name, folder)]


def whole_set(files: Iterable[str], name: str, folder: str | os.PathLike) -> list[str]:
    """The names of all shards `name-*` among the files of a folder, in order.

    Args:
      files: names of the folder's files.
      name: of the set.
      folder: for messages.

    Raises:
      MissingShardsError: there are none, or one of the set is missing.
    """
    found: dict[int, str] = {}
    counts = set()
    for file in sorted(files):
        match = _SHARD_NAME.fullmatch(file)
        if match and match["name"] == name:
            found[int(match["index"])] = file
            counts.add(int(match["count"]))
    if not found:
        raise MissingShardsError(f"no shards {name}-*-of-*.arrayrecord in {folder}")
    if len(counts) > 1:
        raise MissingShardsError(
            f"{folder} holds shards {name!r} of different sets (of {sorted(counts)}): "
            "remove the set that is not wanted"
        )
    count = counts.pop()
    missing = [shard_name(name, i, count) for i in range(count) if i not in found]
    if missing:
        raise MissingShardsError(f"{folder} lacks {', '.join(missing)}")
    return [found[i] for i in range(count)]


@contextlib.contextmanager
def open_shard(path: str | os.PathLike) -> Iterator[array_record_module.ArrayRecordReader]:
    """An ArrayRecord reader that is known to be healthy.

    The library opens a damaged file without complaint and shows it as empty; only `ok()`
    tells, and only `close()` says why.

    Raises:
      RecordError: the file is missing, no ArrayRecord, or cut short.
    """
    if not os.path.isfile(path):
        raise RecordError(f"{path}: no such file")
    reader = array_record_module.ArrayRecordReader(str(path))
    if not reader.ok():
        try:
            reader.close()
            reason = "unknown reason"
        except RuntimeError as error:
            reason = str(error) or "its end is missing"
        raise RecordError(f"{path}: damaged or cut short, make it again ({reason})")
    try:
        yield reader
    finally:
        with contextlib.suppress(RuntimeError):
            reader.close()


def read_shard(path: str | os.PathLike, batch: int = 1024) -> Iterator[bytes]:
    """The records of one shard in order, `batch` at a time from disk.

    Raises:
      RecordError: the file is missing, no ArrayRecord, or damaged.
    """
    with open_shard(path) as reader:
        total = reader.num_records()
        for start in range(0, total, batch):
            stop = min(start + batch, total)
            try:
                records = reader.read(start, stop)
            except (RuntimeError, ValueError, IndexError) as error:
                raise RecordError(f"{path}: records {start} to {stop}: {error}") from error
            if len(records) != stop - start:
                raise RecordError(f"{path}: records {start} to {stop} are damaged")
            yield from records


def read_records(folder: str | os.PathLike, name: str) -> Iterator[bytes]:
    """The records of all shards `name-*` of a folder, in shard order."""
    for path in list_shards(folder, name):
        yield from read_shard(path)


def count_records(folder: str | os.PathLike, name: str) -> int:
    total = 0
    for path in list_shards(folder, name):
        with open_shard(path) as reader:
            total += reader.num_records()
    return total


def write_shard(path: str | os.PathLike, records: Iterable[bytes]) -> int:
    """Writes one shard under a temporary name, then moves it into place.

    Returns:
      The number of records written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer = array_record_module.ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
    count = 0
    try:
        for record in records:
            writer.write(record)
            count += 1
    except BaseException:
        writer.close()
        temporary.unlink(missing_ok=True)
        raise
    writer.close()
    temporary.replace(path)
    return count
