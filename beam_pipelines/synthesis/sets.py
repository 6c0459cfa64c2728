"""Writes a derived set: its records, its drops, and a manifest once the sum comes out.

A job makes several sets in one pipeline. Each set has a folder of its own that looks
like any other finished folder: shards, `dropped/`, `manifest.json`.
How many candidates there were is counted on the way in, what became of them is what the
sinks wrote: a lost one is an error, not a smaller set.
Next: `job` for how a pipeline makes them.
"""

import collections
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines import accounting, output, sinks
from beam_pipelines.accounting import Drop, Split
from beam_pipelines.transforms.decontamination import drop_kind, split_kinds
from opencoder_jax.formats.manifest import write_manifest

_COUNTS_NAME = "counts.json"
_SHARDS_NAME = "shards.json"
_PASSED_OVER_NAME = "passed_over.json"
_CANDIDATES = "candidates"
_DROPPED = "dropped"


class Outcome(NamedTuple):
    """What came out of a transform that keeps some candidates.

    Attributes:
      candidates: one element for each candidate, to be counted.
      kept: PCollection of those that stay.
      dropped: stage to its collection of drops, in the order in which a candidate meets
        them; together they are the others.
      passed_over: PCollection[tuple[str, int]]: why, and how many, of what was read is no
        candidate at all; empty: all of it is counted among the candidates.
    """

    candidates: Any
    kept: Any
    dropped: dict[str, Any]
    passed_over: Any = ()


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
    """Writes an `Outcome` into a set's folder, and what `finish_set` has to know of it."""

    def __init__(
        self,
        folder: str,
        name: str,
        num_shards: int,
        encode: Callable[[Any], bytes],
        count_by: Callable[[bytes], str],
    ) -> None:
        """Args:
        folder: path or url of the set's unfinished folder.
        name: of its shards, e.g. `documents`.
        num_shards: of its records and of its drops.
        encode: a kept element, which has an `id`, to its record.
        count_by: a record to the kind that it is counted as.
        """
        super().__init__()
        self._folder = folder
        self._name = name
        self._num_shards = num_shards
        self._encode = encode
        self._count_by = count_by

    def expand(self, outcome: Outcome) -> None:
        kept = outcome.kept | "WriteKept" >> sinks.WriteShards(
            self._folder, self._name, self._num_shards, self._encode, _id, self._count_by
        )
        dropped = (
            tuple(outcome.dropped.values())
            | "Drops" >> beam.Flatten()
            | "WriteDrops"
            >> sinks.WriteShards(
                f"{self._folder}/{_DROPPED}",
                _DROPPED,
                self._num_shards,
                accounting.encode_drop,
                _id,
                drop_kind,
            )
        )
        _ = (
            (kept, dropped)
            | "Written" >> beam.Flatten()
            | "NameFiles"
            >> beam.Map(_named, self._folder).with_output_types(tuple[str, dict[str, Any]])
            | "WriteShardList" >> sinks.WriteJson(f"{self._folder}/{_SHARDS_NAME}")
        )
        counted = {_CANDIDATES: outcome.candidates, **outcome.dropped}
        counts = [
            elements
            | f"Count {name}" >> beam.combiners.Count.Globally()
            | f"Name {name}" >> beam.Map(_named_count, name)
            for name, elements in counted.items()
        ]
        _ = (
            counts
            | "Counts" >> beam.Flatten()
            | "WriteCounts" >> sinks.WriteJson(f"{self._folder}/{_COUNTS_NAME}")
        )
        if outcome.passed_over != ():
            _ = outcome.passed_over | "WritePassedOver" >> sinks.WriteJson(
                f"{self._folder}/{_PASSED_OVER_NAME}"
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
        name: output.already_done(
            f"{output_dir.rstrip('/')}/{name}", job=job, config=config, inputs=inputs
        )
        for name in names
    }
    done = {name: manifest for name, manifest in manifests.items() if manifest is not None}
    return done if len(done) == len(names) else None


def finish_set(
    work: output.Work,
    name: str,
    records: str,
    outcome: Outcome,
    *,
    job: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Checks the sums and writes the set's manifest; no shard is read again.

    Args:
      work: the unfinished folder of all sets.
      name: of the set, whose folder `WriteSet` wrote.
      records: name of its shards.
      outcome: that was written.
      job, config, inputs: as in `write_manifest`.

    Returns:
      The manifest; `counts` has `accounting`, `kept` (records by kind), `funnel` (how many
      candidates are left after each stage), `dropped_for_benchmark`, and `passed_over` where
      it is given.

    Raises:
      AccountingError: candidates in are not records plus drops.
    """
    counted = json.loads(work.take(f"{name}/{_COUNTS_NAME}"))
    written = json.loads(work.take(f"{name}/{_SHARDS_NAME}"))
    kinds: dict[str, collections.Counter[str]] = {
        records: collections.Counter(),
        _DROPPED: collections.Counter(),
    }
    for file, shard in written.items():
        kinds[_DROPPED if file.startswith(f"{_DROPPED}/") else records].update(shard["kinds"])
    reasons, of_benchmarks = split_kinds(kinds[_DROPPED])
    left = counted[_CANDIDATES]
    funnel = [[_CANDIDATES, left]]
    for stage in outcome.dropped:
        left -= counted[stage]
        funnel.append([stage, left])
    kept = kinds[records]
    accounting.check_equal(records, kept.total(), left, "the last stage")
    counts: dict[str, Any] = {
        "accounting": accounting.conservation(counted[_CANDIDATES], kept.total(), reasons),
        "funnel": funnel,
        "kept": dict(sorted(kept.items())),
        "dropped_for_benchmark": of_benchmarks,
    }
    if outcome.passed_over != ():
        counts["passed_over"] = json.loads(work.take(f"{name}/{_PASSED_OVER_NAME}"))
    files = {file: shard["sha256"] for file, shard in written.items()}
    folder = work.local / name
    folder.mkdir(exist_ok=True)
    return write_manifest(folder, job=job, config=config, inputs=inputs, counts=counts, files=files)


def summary_line(output_dir: str, name: str, manifest: Mapping[str, Any]) -> str:
    """One line for the end of a job: what came in, what stays, why the rest does not."""
    account = manifest["counts"]["accounting"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in account["dropped"].items())
    return (
        f"{output_dir.rstrip('/')}/{name}: {account['input']} candidates, "
        f"{account['output']} kept, {sum(account['dropped'].values())} dropped "
        f"({reasons or 'none'})"
    )


def _id(element: Any) -> str:
    return element.id


def _named(shard: sinks.Shard, folder: str) -> tuple[str, dict[str, Any]]:
    place, digest, records, kinds = shard
    return place.removeprefix(f"{folder}/"), {
        "sha256": digest,
        "records": records,
        "kinds": kinds,
    }


def _named_count(count: int, name: str) -> tuple[str, int]:
    return name, count
