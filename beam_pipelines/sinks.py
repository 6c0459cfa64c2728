"""Sinks whose files are the same bytes whatever the runner, the order or the workers.

`WriteShards` puts a record into the shard that its key hashes to, and one worker sorts
and writes each shard whole, as ArrayRecord and, for people who want to look, as parquet
too. Beam's own file sinks cut shards where bundles end, so two runs would differ. A shard
has to fit a worker's memory: choose `num_shards` for a few hundred megabytes each.
`WriteJson` writes one value, e.g. a job's statistics. Folders are local paths or anything
that Beam's filesystems open (`gs://`, `s3://`). Next: `parquet`, `output`.
"""

import collections
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_pipelines import stores
from beam_pipelines.parquet import Table
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import file_sha256, json_text, write_json
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.formats.split import hash_fraction

# Path or url, SHA-256, number of records, number of records by kind.
Shard = tuple[str, str, int, dict[str, int]]
_METRICS = "shards"


class WriteShards(beam.PTransform):
    """Writes `name-00000-of-0000N.arrayrecord` and the rest, every index even if empty.

    The records of a shard are sorted by key. Yields a `Shard` for each file when it is in
    place, so that nobody has to read it again to know what it holds.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        name: str,
        num_shards: int,
        encode: Callable[[Any], bytes],
        key: Callable[[Any], str],
        kind: Callable[[bytes], str] | None = None,
        table: Table | None = None,
    ) -> None:
        """Args:
        folder: where to write; made where it is missing.
        name: of the set, e.g. `documents`; `dropped/dropped` style sub-folders go to `folder`.
        num_shards: how many files; part of the output's identity, not of its execution.
        encode: element to serialized record; must be picklable and deterministic.
        key: element to its id; decides shard and order, must not be empty.
        kind: record to what it is counted as, e.g. the reason of a drop; None counts no kinds.
        table: the same records as parquet files; None writes none.
        """
        super().__init__()
        if num_shards < 1:
            raise InputError(f"num_shards is {num_shards}, expected at least 1")
        self._folder = os.fspath(folder)
        self._name = name
        self._num_shards = num_shards
        self._encode = encode
        self._key = key
        self._kind = kind
        self._table = table

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        records = elements | "Encode" >> beam.ParDo(
            _ToShard(self._num_shards, self._encode, self._key)
        ).with_output_types(tuple[int, tuple[str, bytes]])
        # One empty key a shard, so that shards without records are written too.
        every = (
            elements.pipeline
            | "Indices" >> beam.Create(range(self._num_shards), reshuffle=False)
            | "EmptyKeys"
            >> beam.Map(_empty_record).with_output_types(tuple[int, tuple[str, bytes]])
        )
        return (
            (records, every)
            | "WithEmpty" >> beam.Flatten()
            | "GroupByShard" >> beam.GroupByKey()
            | "Write"
            >> beam.ParDo(
                _WriteShard(self._folder, self._name, self._num_shards, self._kind, self._table)
            ).with_output_types(tuple[str, str, int, dict[str, int]])
        )


class WriteJson(beam.PTransform):
    """Writes a PCollection of (str, JSON value) pairs, each key once, as one JSON object."""

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self._path = os.fspath(path)

    def expand(self, pairs: beam.PCollection) -> beam.PCollection:
        return pairs | beam.combiners.ToDict() | beam.Map(_write_object, self._path)


class _ToShard(beam.DoFn):
    def __init__(
        self, num_shards: int, encode: Callable[[Any], bytes], key: Callable[[Any], str]
    ) -> None:
        self._num_shards = num_shards
        self._encode = encode
        self._key = key

    def process(self, element: Any) -> Iterator[tuple[int, tuple[str, bytes]]]:
        key = self._key(element)
        if not key:
            raise ValueError(f"a record without a key cannot be placed: {element!r:.200}")
        yield shard_index(key, self._num_shards), (key, self._encode(element))


class _WriteShard(beam.DoFn):
    def __init__(
        self,
        folder: str,
        name: str,
        num_shards: int,
        kind: Callable[[bytes], str] | None,
        table: Table | None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._num_shards = num_shards
        self._kind = kind
        self._table = table
        self._written = Metrics.counter(_METRICS, name)

    def process(self, group: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Shard]:
        index, keyed = group
        records = [record for _, record in sorted(pair for pair in keyed if pair[0])]
        kinds = dict(collections.Counter(map(self._kind, records))) if self._kind else {}
        name = shard_name(self._name, index, self._num_shards)
        place, digest = _put(self._folder, name, lambda path: write_shard(path, records))
        self._written.inc(len(records))
        yield place, digest, len(records), kinds
        if table := self._table:
            name = f"{os.path.splitext(name)[0]}.parquet"
            place, digest = _put(table.folder, name, lambda path: table.write(path, records))
            yield place, digest, len(records), {}


def _put(folder: str, name: str, write: Callable[[Path], Any]) -> tuple[str, str]:
    """Writes a file into a local or remote folder; (path or url, SHA-256)."""
    if stores.is_remote(folder):
        url = f"{folder.rstrip('/')}/{name}"
        with tempfile.TemporaryDirectory() as local:
            write(Path(local) / name)
            digest = file_sha256(Path(local) / name)
            stores.upload(Path(local) / name, url)
        return url, digest
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    return os.fspath(path), file_sha256(path)


def committed_records(result: PipelineResult, name: str) -> int | None:
    """How many records of the set `name` Beam says were written; None where it cannot tell.

    Committed counters leave out the attempts that were thrown away.
    """
    counters = result.metrics().query(MetricsFilter().with_namespace(_METRICS).with_name(name))
    committed = [counter.committed for counter in counters["counters"]]
    return sum(committed) if committed and None not in committed else None


def shard_index(key: str, num_shards: int) -> int:
    """The shard of a key: a hash, so that it depends on nothing else."""
    return int(hash_fraction("shard", key) * num_shards)


def _empty_record(index: int) -> tuple[int, tuple[str, bytes]]:
    return index, ("", b"")


def _write_object(value: dict[str, Any], path: str) -> str:
    if stores.is_remote(path):
        stores.write(path, json_text(value).encode("utf-8"))
    else:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        write_json(path, value)
    return path
