"""The cleaning job's functions in a plain Python loop: what the job costs without Beam.

    python -m benchmarks.plain_loop --gin_file=refinecode/paper.gin --gin.SOURCE_DIR=DIR --gin...

`refinecode` has the name and the parameters of the job's function, so the same gin files
configure it. It calls the same functions on the same files in one process, holds everything
in memory, joins with dictionaries, and leaves the same bytes: documents, drops, signals and
statistics, which `benchmarks.beam_overhead` checks. For measuring only: it scales to one
machine.
"""

import collections
import heapq
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from beam_pipelines.accounting import Drop, drop_document, drop_reason, encode_drop
from beam_pipelines.corpus import CLUSTERS_SHOWN, SAMPLES_SHOWN, STATISTICS_NAME
from beam_pipelines.dedup.cluster import Cluster, decide_cluster, describe_cluster
from beam_pipelines.dedup.keep_order import keep_order
from beam_pipelines.dedup.minhash import text_band_keys
from beam_pipelines.dedup.near import drop_near_duplicate
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.runner import collect_seldom
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.sinks import shard_index
from beam_pipelines.sources.folder import Folder
from beam_pipelines.sources.local import list_file, read_file
from beam_pipelines.transforms.facts import (
    LISTED,
    Fact,
    Sums,
    add_fact,
    by_reason,
    cluster_order,
    describe_clusters,
    describe_samples,
    described_facts,
    document_fact,
    drop_fact,
    file_fact,
    replacement_fact,
    sample_order,
)
from beam_pipelines.transforms.histograms import AddUpTable, TableCounts, described_tables
from beam_pipelines.transforms.quality import judge
from beam_pipelines.transforms.read import NotTextError, drop_file, read_document
from beam_pipelines.transforms.repair import repair
from beam_pipelines.transforms.sample import Budget, sample_document
from opencoder_jax import configuration
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.judged import Judged, encode_judged
from opencoder_jax.formats.manifest import file_sha256, write_json
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.timing import timed


def refinecode(
    source: Folder,
    output_dir: str,
    num_shards: int,
    rule_tables: Mapping[str, RuleTable],
    ngram: int,
    bands: int,
    rows: int,
    max_file_bytes: int,
    min_jaccard: float | None = None,
    sample: Mapping[str, Budget] | None = None,
    **others: Any,
) -> None:
    """Cleans a folder of repositories; see `beam_pipelines.refinecode.refinecode`."""
    collect_seldom()
    folder = Path(output_dir)
    with timed(output_dir):
        source.fingerprint()  # the job reads every file twice, too
        seen = _Seen()
        documents = list(_read(source.root, max_file_bytes, seen))
        documents = _exact(documents, seen)
        near = NearSettings(ngram, bands * rows, bands, rows, min_jaccard)
        documents = _near(documents, seen, near)
        kept: list[Document] = []
        signals: list[Judged] = []
        for document in documents:
            repaired, replaced = repair(document)
            for replacement in replaced.items():
                seen.count(replacement_fact(replacement))
            seen.count(document_fact("repaired", repaired))
            verdict, judged = judge(repaired, rule_tables)
            signals.append(judged)
            if isinstance(verdict, Drop):
                seen.drops.append(verdict)
            else:
                seen.count(document_fact("kept", verdict))
                kept.append(verdict)
        stages = [LISTED, "read", "exact_dedup", "near_dedup", "repaired", "kept"]
        if sample:
            kept = _sample(kept, seen, sample)
            stages.append("sampled")
        _write(folder, "documents", num_shards, [(d.id, encode_document(d)) for d in kept])
        _write(
            folder / "dropped",
            "dropped",
            num_shards,
            [(d.id, encode_drop(d)) for d in seen.drops],
            kind=drop_reason,
        )
        _write(
            folder / "signals", "signals", num_shards, [(s.id, encode_judged(s)) for s in signals]
        )
        write_json(folder / STATISTICS_NAME, seen.statistics(stages, signals, rule_tables))


class _Seen:
    """What the loop met on its way, for the drops' shards and the statistics."""

    def __init__(self) -> None:
        self.drops: list[Drop] = []
        self.clusters: list[Cluster] = []
        self._sums: Sums = {}

    def count(self, fact: Fact) -> None:
        add_fact(self._sums, fact)

    def statistics(
        self, stages: list[str], signals: list[Judged], rule_tables: Mapping[str, RuleTable]
    ) -> dict[str, Any]:
        """As `beam_pipelines.transforms.statistics.Statistics`."""
        reasons: dict[str, list[Drop]] = collections.defaultdict(list)
        for drop in self.drops:
            self.count(drop_fact(drop))
            for name, named in by_reason(drop):
                reasons[name].append(named)
        samples = {
            name: heapq.nsmallest(SAMPLES_SHOWN, drops, key=sample_order)
            for name, drops in reasons.items()
        }
        add_up = AddUpTable()
        tables: dict[str, TableCounts] = collections.defaultdict(add_up.create_accumulator)
        for judged in signals:
            if judged.table:
                add_up.add_input(tables[judged.table], judged)
        return dict(
            [
                *described_facts(self._sums.items(), stages),
                *described_tables(tables, rule_tables),
                describe_samples(samples),
                describe_clusters(heapq.nlargest(CLUSTERS_SHOWN, self.clusters, key=cluster_order)),
            ]
        )


def _read(root: str, max_file_bytes: int, seen: _Seen) -> Iterator[Document]:
    for folder, _, names in os.walk(root):
        for name in names:
            location = os.path.join(folder, name)
            repo, _, path = os.path.relpath(location, root).partition("/")
            listed = list_file("folder", repo, path, location, follow_links=False)
            file = read_file(listed, max_file_bytes)
            seen.count(file_fact(file))
            try:
                document = read_document(file, max_file_bytes)
            except NotTextError as problem:
                seen.drops.append(drop_file(file, problem))
                continue
            seen.count(document_fact("read", document))
            yield document


def _exact(documents: list[Document], seen: _Seen) -> list[Document]:
    best: dict[str, Document] = {}
    for document in sorted(documents, key=keep_order):
        kept = best.setdefault(document.content_sha256, document)
        if kept is not document:
            seen.drops.append(drop_document(document, "exact_duplicate", detail=kept.id))
    for document in best.values():
        seen.count(document_fact("exact_dedup", document))
    return list(best.values())


def _near(documents: list[Document], seen: _Seen, near: NearSettings) -> list[Document]:
    parents: dict[str, str] = {}

    def find(node: str) -> str:
        while (parent := parents.get(node, node)) != node:
            node = parent
        return node

    first_of_bucket: dict[int, str] = {}
    for document in documents:
        for key in text_band_keys(document.text, near.ngram, near.banding).tolist():
            a, b = find(first_of_bucket.setdefault(key, document.id)), find(document.id)
            parents[max(a, b)] = min(a, b)
    clusters = collections.defaultdict(list)
    for document in documents:
        cluster = find(document.id)
        clusters[cluster].append(document.replace(duplicate_cluster=cluster))
    kept = []
    for cluster, members in clusters.items():
        if len(members) == 1:
            kept += members
            continue
        verdicts = decide_cluster(members, ngram=near.ngram, min_jaccard=near.threshold)
        for document in members:
            verdict = verdicts[document.id]
            if verdict.kept_id == document.id:
                kept.append(document)
            else:
                seen.drops.append(drop_near_duplicate(document, verdict, near.threshold))
        seen.clusters.append(describe_cluster(cluster, members, verdicts, near.cluster_members))
    for document in kept:
        seen.count(document_fact("near_dedup", document))
    return kept


def _sample(
    documents: list[Document], seen: _Seen, budgets: Mapping[str, Budget]
) -> list[Document]:
    volumes: collections.Counter[str] = collections.Counter()
    for document in documents:
        if document.language in budgets:
            volumes[document.language] += document.text_bytes
    kept = []
    for document in documents:
        outcome = sample_document(document, budgets, volumes)
        if isinstance(outcome, Drop):
            seen.drops.append(outcome)
        else:
            seen.count(document_fact("sampled", outcome))
            kept.append(outcome)
    return kept


def _write(
    folder: Path,
    name: str,
    num_shards: int,
    records: list[tuple[str, bytes]],
    kind: Callable[[bytes], str] | None = None,
) -> None:
    by_shard: list[list[tuple[str, bytes]]] = [[] for _ in range(num_shards)]
    for key, record in records:
        by_shard[shard_index(key, num_shards)].append((key, record))
    folder.mkdir(parents=True, exist_ok=True)
    described = {}
    for index, keyed in enumerate(by_shard):
        shard = folder / shard_name(name, index, num_shards)
        write_shard(shard, [record for _, record in sorted(keyed)])
        kinds = collections.Counter(map(kind, (record for _, record in keyed))) if kind else {}
        described[shard.name] = {
            "sha256": file_sha256(shard),
            "records": len(keyed),
            "kinds": dict(kinds),
        }
    write_json(folder / "shards.json", described)


if __name__ == "__main__":
    sys.exit(configuration.main(refinecode, default_gin_files=["refinecode/paper.gin"]))
