"""Writes a derived set: its records, its drops, and a manifest once the sum comes out.

A job makes several sets in one pipeline. Each set has a folder of its own that looks
like any other finished folder: shards, `dropped/`, `manifest.json`.
How many candidates there were is counted on the way in, what became of them is read
from the shards: a lost one is an error, not a smaller set.
Next: `job` for how a pipeline makes them.
"""

import collections
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines import accounting, sinks
from beam_pipelines.accounting import Drop, Split
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.manifest import already_done, read_manifest, write_manifest

_COUNTS_NAME = ".counts.json"
_CANDIDATES = "candidates"


class Outcome(NamedTuple):
    """What came out of a transform that keeps some candidates.

    Attributes:
      candidates: one element for each candidate, to be counted.
      kept: PCollection of those that stay.
      dropped: stage to its collection of drops, in the order in which a candidate meets
        them; together they are the others.
    """

    candidates: Any
    kept: Any
    dropped: dict[str, Any]


class ReadDocuments(beam.PTransform):
    """The documents of a finished corpus folder."""

    def __init__(self, folder: str | os.PathLike) -> None:
        super().__init__()
        self._folder = folder

    def expand(self, root: Any) -> beam.PCollection:
        paths = [str(path) for path in shards.list_shards(self._folder, "documents")]
        return (
            root
            | beam.Create(paths)
            | "Read" >> beam.FlatMap(shards.read_shard).with_output_types(bytes)
            | "Decode" >> beam.Map(decode_document).with_output_types(Document)
        )


class Deduplicate(beam.PTransform):
    """PCollection with ids to a `Split`: of equal ones the smallest id stays."""

    def __init__(self, key: Callable[[Any], str], drop: Callable[[Any, str, str], Drop]) -> None:
        """Args:
        key: what has to be equal, e.g. a hash of the text.
        drop: makes the `Drop` of (element, reason, detail).
        """
        super().__init__()
        self._key = key
        self._drop = drop

    def expand(self, elements: beam.PCollection) -> Split:
        grouped = (
            elements
            | "KeyByContent" >> beam.WithKeys(self._key)
            | "GroupByContent" >> beam.GroupByKey()
            | "KeepOne" >> beam.ParDo(_KeepOne(self._drop)).with_outputs("dropped", main="kept")
        )
        return Split(grouped.kept, grouped.dropped)


class _KeepOne(beam.DoFn):
    def __init__(self, drop: Callable[[Any, str, str], Drop]) -> None:
        super().__init__()
        self._drop = drop

    def process(self, group: tuple[str, Iterable[Any]]) -> Iterable[Any]:
        kept, *others = sorted(group[1], key=lambda element: element.id)
        yield kept
        for other in others:
            drop = self._drop(other, "duplicate", f"of {kept.id}")
            yield beam.pvalue.TaggedOutput("dropped", drop)


class WriteSet(beam.PTransform):
    """Writes an `Outcome` into a set's folder."""

    def __init__(
        self,
        folder: Path,
        name: str,
        num_shards: int,
        encode: Callable[[Any], bytes],
    ) -> None:
        """Args:
        folder: of the set.
        name: of its shards, e.g. `documents`.
        num_shards: of its records; drops go into one.
        encode: a kept element, which has an `id`, to its record.
        """
        super().__init__()
        self._folder = folder
        self._name = name
        self._num_shards = num_shards
        self._encode = encode

    def expand(self, outcome: Outcome) -> None:
        _ = outcome.kept | "WriteKept" >> sinks.WriteShards(
            self._folder, self._name, self._num_shards, self._encode, _id
        )
        _ = (
            tuple(outcome.dropped.values())
            | "Drops" >> beam.Flatten()
            | "WriteDrops"
            >> sinks.WriteShards(
                self._folder / "dropped", "dropped", 1, accounting.encode_drop, _id
            )
        )
        counted = {_CANDIDATES: outcome.candidates, **outcome.dropped}
        _ = (
            [
                elements
                | f"Count {name}" >> beam.combiners.Count.Globally()
                | f"Name {name}" >> beam.Map(_named_count, name)
                for name, elements in counted.items()
            ]
            | "Counts" >> beam.Flatten()
            | "WriteCounts" >> sinks.WriteJson(self._folder / _COUNTS_NAME)
        )


def finished_sets(
    output_dir: str,
    names: Sequence[str],
    *,
    job: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> dict[str, dict[str, Any]] | None:
    """The manifests of all sets, if all are finished.

    Raises:
      ManifestError: one was made with other settings.
    """
    manifests = {
        name: already_done(Path(output_dir) / name, job=job, config=config, inputs=inputs)
        for name in names
    }
    done = {name: manifest for name, manifest in manifests.items() if manifest is not None}
    return done if len(done) == len(names) else None


def finish_set(
    folder: Path,
    name: str,
    stages: Sequence[str],
    *,
    job: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    count_by: Callable[[bytes], str],
) -> dict[str, Any]:
    """Checks the sums and writes the set's manifest.

    Args:
      folder: what `WriteSet` wrote.
      name: of its shards.
      stages: of the outcome's drops, in order.
      job, config, inputs: as in `write_manifest`.
      count_by: a record to the kind that it is counted as.

    Returns:
      The manifest; `counts` has `accounting`, `kept` (records by kind) and `funnel`: how many
      candidates are left after each stage.

    Raises:
      AccountingError: candidates in are not records plus drops.
    """
    counted = json.loads((folder / _COUNTS_NAME).read_text())
    (folder / _COUNTS_NAME).unlink()
    drops = collections.Counter(
        accounting.decode_drop(record).reason
        for record in shards.read_records(folder / "dropped", "dropped")
    )
    kinds = collections.Counter(map(count_by, shards.read_records(folder, name)))
    left = counted[_CANDIDATES]
    funnel = [[_CANDIDATES, left]]
    for stage in stages:
        left -= counted[stage]
        funnel.append([stage, left])
    accounting.check_equal("records", sum(kinds.values()), left, "the pipeline")
    counts = {
        "accounting": accounting.conservation(counted[_CANDIDATES], sum(kinds.values()), drops),
        "funnel": funnel,
        "kept": dict(sorted(kinds.items())),
    }
    return write_manifest(folder, job=job, config=config, inputs=inputs, counts=counts)


def corpus_fingerprint(corpus_dir: str) -> str:
    """Raises: InputError: the folder is missing, unfinished, or no corpus."""
    manifest = read_manifest(corpus_dir)
    try:
        shards.list_shards(corpus_dir, "documents")
    except FileNotFoundError as error:
        raise InputError(f"{error}; expected the output of beam_pipelines.refinecode") from error
    return manifest["fingerprint"]


def summary_line(output_dir: str, name: str, manifest: Mapping[str, Any]) -> str:
    """One line for the end of a job: what came in, what stays, why the rest does not."""
    account = manifest["counts"]["accounting"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in account["dropped"].items())
    return (
        f"{Path(output_dir) / name}: {account['input']} candidates, {account['output']} kept, "
        f"{sum(account['dropped'].values())} dropped ({reasons or 'none'})"
    )


def _id(element: Any) -> str:
    return element.id


def _named_count(count: int, name: str) -> tuple[str, int]:
    return name, count
