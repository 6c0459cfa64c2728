"""Sinks whose files are the same bytes whatever the runner, the order or the workers.

`WriteShards` puts a record into the shard that its key hashes to, and one worker sorts
and writes each shard whole. Beam's own file sinks cut shards where bundles end, so two
runs would differ. A shard has to fit a worker's memory: choose `num_shards` for a few
hundred megabytes each. `WriteJson` writes one value, e.g. a job's statistics.
Folders are local paths or anything that Beam's filesystems open (`gs://`, `s3://`).
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import file_sha256, write_json
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.formats.split import hash_fraction

Shard = tuple[str, str, int]
_METRICS = "shards"


class WriteShards(beam.PTransform):
    """Writes `name-00000-of-0000N.arrayrecord` and the rest, every index even if empty.

    The records of a shard are sorted by key. Yields (shard name, SHA-256 of the file,
    number of records) of each shard when it is in place.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        name: str,
        num_shards: int,
        encode: Callable[[Any], bytes],
        key: Callable[[Any], str],
    ) -> None:
        """Args:
        folder: where to write; made where it is missing.
        name: of the set, e.g. `documents`; `dropped/dropped` style sub-folders go to `folder`.
        num_shards: how many files; part of the output's identity, not of its execution.
        encode: element to serialized record; must be picklable and deterministic.
        key: element to its id; decides shard and order, must not be empty.
        """
        super().__init__()
        if num_shards < 1:
            raise InputError(f"num_shards is {num_shards}, expected at least 1")
        self._folder = os.fspath(folder)
        self._name = name
        self._num_shards = num_shards
        self._encode = encode
        self._key = key

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
                _WriteShard(self._folder, self._name, self._num_shards)
            ).with_output_types(tuple[str, str, int])
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
    def __init__(self, folder: str, name: str, num_shards: int) -> None:
        self._folder = folder
        self._name = name
        self._num_shards = num_shards
        self._written = Metrics.counter(_METRICS, name)

    def process(self, group: tuple[int, Iterable[tuple[str, bytes]]]) -> Iterator[Shard]:
        index, keyed = group
        records = [record for _, record in sorted(pair for pair in keyed if pair[0])]
        name = shard_name(self._name, index, self._num_shards)
        if is_remote(self._folder):
            with tempfile.TemporaryDirectory() as local:
                write_shard(Path(local) / name, records)
                digest = file_sha256(Path(local) / name)
                _upload(Path(local) / name, FileSystems.join(self._folder, name))
        else:
            os.makedirs(self._folder, exist_ok=True)
            write_shard(Path(self._folder) / name, records)
            digest = file_sha256(Path(self._folder) / name)
        self._written.inc(len(records))
        yield name, digest, len(records)


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


def is_remote(folder: str | os.PathLike) -> bool:
    """Whether Beam's filesystems, not the operating system, open `folder`."""
    return "://" in os.fspath(folder)


def _empty_record(index: int) -> tuple[int, tuple[str, bytes]]:
    return index, ("", b"")


def _upload(local: Path, remote: str) -> None:
    """Copies in pieces; object stores show the file only when it is closed."""
    with local.open("rb") as source, FileSystems.create(remote) as target:
        while piece := source.read(1 << 24):
            target.write(piece)


def _write_object(value: dict[str, Any], path: str) -> str:
    if is_remote(path):
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        with FileSystems.create(path) as file:
            file.write(text.encode("utf-8"))
    else:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        write_json(path, value)
    return path
