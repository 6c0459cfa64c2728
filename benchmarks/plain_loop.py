"""The cleaning job's functions in a plain Python loop: what the job costs without Beam.

    python -m benchmarks.plain_loop --gin_file=refinecode/paper.gin --gin.SOURCE_DIR=DIR --gin...

`refinecode` has the name and the parameters of the job's function, so the same gin files
configure it. It calls the same functions on the same files in one process, holds everything
in memory, joins with dictionaries, and writes the same bytes into `documents-*`, which
`benchmarks.beam_overhead` checks. For measuring only: it scales to one machine.
"""

import collections
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beam_pipelines.accounting import Drop, drop_document, encode_drop
from beam_pipelines.dedup.cluster import decide_cluster
from beam_pipelines.dedup.keep_order import keep_order
from beam_pipelines.dedup.minhash import Banding, text_band_keys
from beam_pipelines.runner import collect_seldom
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.sinks import shard_index
from beam_pipelines.sources.folder import Folder
from beam_pipelines.sources.local import list_file, read_file
from beam_pipelines.transforms.histograms import AddUpTable
from beam_pipelines.transforms.quality import judge
from beam_pipelines.transforms.read import NotTextError, read_document
from beam_pipelines.transforms.repair import repair
from beam_pipelines.transforms.sample import Budget, sample_document
from opencoder_jax import configuration
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.judged import Judged, encode_judged
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
    with timed(output_dir):
        source.fingerprint()  # the job reads every file twice, too
        drops: list[Drop] = []
        documents = list(_read(source.root, max_file_bytes, drops))
        documents = _exact(documents, drops)
        documents = _near(documents, drops, ngram, Banding(bands, rows), min_jaccard)
        kept: list[Document] = []
        signals: list[Judged] = []
        add_up = AddUpTable()
        histograms: dict[str, Any] = collections.defaultdict(add_up.create_accumulator)
        for document in documents:
            verdict, judged = judge(repair(document)[0], rule_tables)
            signals.append(judged)
            add_up.add_input(histograms[judged.table], judged)
            if isinstance(verdict, Drop):
                drops.append(verdict)
            else:
                kept.append(verdict)
        kept = _sample(kept, drops, sample or {})
        folder = Path(output_dir)
        _write(folder, "documents", num_shards, [(d.id, encode_document(d)) for d in kept])
        _write(folder / "dropped", "dropped", num_shards, [(d.id, encode_drop(d)) for d in drops])
        _write(
            folder / "signals", "signals", num_shards, [(s.id, encode_judged(s)) for s in signals]
        )


def _read(root: str, max_file_bytes: int, drops: list[Drop]) -> Iterator[Document]:
    for folder, _, names in os.walk(root):
        for name in names:
            location = os.path.join(folder, name)
            repo, _, path = os.path.relpath(location, root).partition("/")
            listed = list_file("folder", repo, path, location, follow_links=False)
            file = read_file(listed, max_file_bytes)
            try:
                yield read_document(file, max_file_bytes)
            except NotTextError as problem:
                drops.append(
                    Drop(file.id, file.repo, file.path, "", problem.reason, detail=problem.detail)
                )


def _exact(documents: list[Document], drops: list[Drop]) -> list[Document]:
    best: dict[str, Document] = {}
    for document in sorted(documents, key=keep_order):
        kept = best.setdefault(document.content_sha256, document)
        if kept is not document:
            drops.append(drop_document(document, "exact_duplicate", detail=kept.id))
    return list(best.values())


def _near(
    documents: list[Document],
    drops: list[Drop],
    ngram: int,
    banding: Banding,
    min_jaccard: float | None,
) -> list[Document]:
    threshold = banding.threshold if min_jaccard is None else min_jaccard
    parents: dict[str, str] = {}

    def find(node: str) -> str:
        while (parent := parents.get(node, node)) != node:
            node = parent
        return node

    first_of_bucket: dict[int, str] = {}
    for document in documents:
        for key in text_band_keys(document.text, ngram, banding).tolist():
            a, b = find(first_of_bucket.setdefault(key, document.id)), find(document.id)
            parents[max(a, b)] = min(a, b)
    clusters = collections.defaultdict(list)
    for document in documents:
        cluster = find(document.id)
        clusters[cluster].append(document.replace(duplicate_cluster=cluster))
    kept = []
    for members in clusters.values():
        if len(members) == 1:
            kept += members
            continue
        verdicts = decide_cluster(members, ngram=ngram, min_jaccard=threshold)
        for document in members:
            if verdicts[document.id].kept_id == document.id:
                kept.append(document)
            else:
                drops.append(drop_document(document, "near_duplicate"))
    return kept


def _sample(
    documents: list[Document], drops: list[Drop], budgets: Mapping[str, Budget]
) -> list[Document]:
    volumes: collections.Counter[str] = collections.Counter()
    for document in documents:
        if document.language in budgets:
            volumes[document.language] += document.text_bytes
    kept = []
    for document in documents:
        outcome = sample_document(document, budgets, volumes)
        if isinstance(outcome, Drop):
            drops.append(outcome)
        else:
            kept.append(outcome)
    return kept


def _write(folder: Path, name: str, num_shards: int, records: list[tuple[str, bytes]]) -> None:
    by_shard: list[list[tuple[str, bytes]]] = [[] for _ in range(num_shards)]
    for key, record in records:
        by_shard[shard_index(key, num_shards)].append((key, record))
    folder.mkdir(parents=True, exist_ok=True)
    for index, keyed in enumerate(by_shard):
        shard = folder / shard_name(name, index, num_shards)
        write_shard(shard, [record for _, record in sorted(keyed)])


if __name__ == "__main__":
    sys.exit(configuration.main(refinecode, default_gin_files=["refinecode/paper.gin"]))
