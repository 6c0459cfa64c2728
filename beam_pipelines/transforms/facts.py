"""What the cleaning job counts of each of its elements, and what the counts become.

`statistics` adds the facts up on a runner, `benchmarks.plain_loop` in a dictionary.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.cluster import Cluster
from beam_pipelines.sources.entry import RawFile, file_type_of
from beam_pipelines.transforms.quality import RULE, violated_rules
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.split import hash_fraction

LISTED = "listed"
SOLE = "sole"
# (kind, name, part) → (documents, bytes or replacements)
Fact = tuple[tuple[str, str, str], tuple[int, int]]
Sums = dict[tuple[str, str, str], tuple[int, int]]


def add_fact(sums: Sums, fact: Fact) -> None:
    """Adds a fact to what there is under its key."""
    key, (count, amount) = fact
    counts, amounts = sums.get(key, (0, 0))
    sums[key] = counts + count, amounts + amount


def file_fact(file: RawFile) -> Fact:
    """One file of the source."""
    return ("stage", LISTED, file_type_of(file.telling_name, file.language).language), (
        1,
        file.size,
    )


def document_fact(stage: str, document: Document) -> Fact:
    """One document after a stage."""
    return ("stage", stage, document.language), (1, document.text_bytes)


def replacement_fact(replaced: tuple[str, int]) -> Fact:
    """(kind, count): what `Repair` replaced in one document."""
    kind, count = replaced
    return ("replaced", kind, ""), (1, count)


def drop_fact(drop: Drop) -> Fact:
    """One drop."""
    return ("dropped", drop.reason, ""), (1, 0)


def described_facts(facts: Iterable[Fact], stages: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The sums of all facts as `stages`, `totals`, `languages`, `dropped` and `replaced`."""
    languages: dict[str, dict[str, dict[str, int]]] = {}
    totals = {stage: {"documents": 0, "bytes": 0} for stage in stages}
    dropped: dict[str, int] = {}
    replaced: dict[str, dict[str, int]] = {}
    for (kind, name, part), (count, amount) in facts:
        if kind == "stage":
            languages.setdefault(part, {})[name] = {"documents": count, "bytes": amount}
            totals[name]["documents"] += count
            totals[name]["bytes"] += amount
        elif kind == "dropped":
            dropped[name] = count
        else:
            replaced[name] = {"documents": count, "replacements": amount}
    yield "stages", list(stages)
    yield "totals", totals
    yield "languages", languages
    yield "dropped", dropped
    yield "replaced", replaced


def by_reason(drop: Drop) -> Iterator[tuple[str, Drop]]:
    """The drop under each name that it may be a sample of."""
    yield (f"{RULE}: {drop.signal}" if drop.reason == RULE else drop.reason), drop
    if violated_rules(drop) == [drop.signal]:
        yield f"{SOLE}: {drop.signal}", drop


def sample_order(drop: Drop) -> tuple[float, str, str, str]:
    """The first drops of a name by this are its samples."""
    # An id may be there more than once: as a duplicate, or dropped twice for being unreadable.
    return hash_fraction("sample", drop.id), drop.id, drop.reason, drop.detail


def describe_samples(samples: Mapping[str, list[Drop]]) -> tuple[str, Any]:
    """`samples`, of the first drops of each name."""
    return "samples", {
        reason: [dataclasses.asdict(drop) for drop in drops] for reason, drops in samples.items()
    }


def cluster_order(cluster: Cluster) -> tuple[int, str]:
    """The last clusters by this are described."""
    return cluster.size, cluster.id


def describe_clusters(clusters: list[Cluster]) -> tuple[str, Any]:
    """`clusters`, largest first."""
    return "clusters", [dataclasses.asdict(cluster) for cluster in clusters]
