"""Near deduplication beside rensa's own: speed from text to band keys, and who is deleted.

    python -m benchmarks.near_dedup --corpus=DIR [--megabytes=100]

DIR holds `code_a.jsonl(.zst)` and `code_b.jsonl(.zst)`: two releases of some packages, one
JSON object a line with `repo_name, version, path, content, stars, commit_time`. Taken are
the packages that are in both, files of 100 to 1,000,000 characters. Speed is CPU time of one core.
The deletions of the Beam job are checked with Python's own sets of 5-grams, not with the
code under test. The last line is the ratio of the speeds; `docs/dedup.md` has figures.
"""

import argparse
import collections
import hashlib
import importlib
import itertools
import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.exact import ExactDedup
from beam_pipelines.dedup.minhash import Banding, band_keys
from beam_pipelines.dedup.near import NearDedup
from beam_pipelines.dedup.shingles import shingle_hashes
from beam_pipelines.runner import pipeline
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.progress import track

NGRAM = 5
BANDING = Banding(bands=16, rows=128)
SIZES = range(100, 1_000_001)  # characters
_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]+")


def near_dedup(corpus: Path, megabytes: float) -> None:
    """Prints the measurements; see the module."""
    documents = read_corpus(corpus, megabytes)
    size = sum(len(document.text.encode()) for document in documents) / 1e6
    print(f"{len(documents)} documents, {size:.1f} MB of packages with two releases")

    ours, peers = measure_speed(documents)
    print(f"text to band keys, one core: {size / ours:.1f} MB/s")
    print(f"rensa, text to LSH index, one core: {size / peers:.1f} MB/s")

    started = time.process_time()
    kept, dropped = run_job(documents)
    print(f"Beam job, one core: {size / (time.process_time() - started):.1f} MB/s")
    below, missed, pairs = check_deletions(documents, kept, dropped)
    reasons = collections.Counter(drop.reason for drop in dropped)
    print(f"kept {len(kept)}, " + ", ".join(f"{k} {v}" for k, v in sorted(reasons.items())))
    print(f"deletions below Jaccard {BANDING.threshold:.4f}: {below}")
    print(f"pairs that share a band and reach it: {pairs}, both kept: {missed}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory, corpus included: {peak:.0f} MiB")
    print(f"near_dedup: {peers / ours:.2f} times rensa")


def read_corpus(folder: Path, megabytes: float) -> list[Document]:
    """Files of the packages that both releases have, whole packages up to a size.

    Raises:
      InputError: a file of the corpus is missing or cannot be decompressed here.
    """
    by_package = collections.defaultdict(list)
    for row in map(json.loads, _lines(folder, "code_b")):
        by_package[_package(row)].append(_document(row))
    older = set(by_package)
    in_both = set()
    for row in map(json.loads, _lines(folder, "code_a")):
        if _package(row) in older:
            in_both.add(_package(row))
            by_package[_package(row)].append(_document(row))
    chosen: list[Document] = []
    left = megabytes * 1e6
    for package in sorted(in_both):
        files = [document for document in by_package[package] if len(document.text) in SIZES]
        left -= sum(len(document.text) for document in files)
        if left < 0 and chosen:
            break
        chosen += files
    if not chosen:
        raise InputError(f"{folder}: no package is in both code_a and code_b")
    return chosen


def measure_speed(documents: Sequence[Document]) -> tuple[float, float]:
    """CPU seconds of our band keys and of rensa's shingles, signatures and index."""
    rensa = importlib.import_module("rensa")
    texts = [document.text for document in documents]
    band_keys(shingle_hashes(texts[0], NGRAM), BANDING)  # compile or load the cache
    with track("text to band keys", len(texts), "documents") as advance:
        started = time.process_time()
        for text in texts:
            band_keys(shingle_hashes(text, NGRAM), BANDING)
            advance()
        ours = time.process_time() - started
    with track("rensa", len(texts), "documents") as advance:
        started = time.process_time()
        index = rensa.RMinHashLSH(0.98, BANDING.bands * BANDING.rows, BANDING.bands)
        for batch in itertools.batched(enumerate(texts), 128):
            shingles = [python_shingles(text) for _, text in batch]
            matrix = rensa.RMinHash.digest_matrix_from_token_byte_sets(
                shingles, BANDING.bands * BANDING.rows, 0
            )
            index.insert_matrix(matrix, batch[0][0])
            advance(len(batch))
        peers = time.process_time() - started
    return ours, peers


def run_job(documents: Sequence[Document]) -> tuple[list[Document], list[Drop]]:
    """What the two transforms keep and drop, run as a pipeline on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/documents"
        _save(source)(documents)
        with pipeline() as p:
            read = (
                p
                | beam.Create([source])
                | "Read" >> beam.FlatMap(_load).with_output_types(Document)
            )
            exact = read | "Exact" >> ExactDedup()
            near = exact.kept | "Near" >> NearDedup(NGRAM, bands=16, rows=128)
            dropped = (exact.dropped, near.dropped) | beam.Flatten()
            for name, records in (("kept", near.kept), ("dropped", dropped)):
                _ = (
                    records
                    | f"List {name}" >> beam.combiners.ToList()
                    | f"Save {name}" >> (beam.Map(_save(f"{folder}/{name}")))
                )
        return _load(f"{folder}/kept"), _load(f"{folder}/dropped")


def check_deletions(
    documents: Sequence[Document], kept: Sequence[Document], dropped: Sequence[Drop]
) -> tuple[int, int, int]:
    """(deletions below the threshold, reachable pairs both kept, reachable pairs)."""
    near = [drop for drop in dropped if drop.reason == "near_duplicate"]
    texts = {document.id: document.text for document in documents}
    below = sum(similarity(texts[d.id], texts[d.detail]) < BANDING.threshold for d in near)

    staying = {document.id for document in kept}
    candidates = staying | {drop.id for drop in near}
    buckets = collections.defaultdict(list)
    for document_id_ in sorted(candidates):
        for key in band_keys(shingle_hashes(texts[document_id_], NGRAM), BANDING):
            buckets[int(key)].append(document_id_)
    met = {pair for bucket in buckets.values() for pair in itertools.combinations(bucket, 2)}
    reachable = [(a, b) for a, b in met if similarity(texts[a], texts[b]) >= BANDING.threshold]
    missed = sum(a in staying and b in staying for a, b in reachable)
    return below, missed, len(reachable)


def similarity(a: str, b: str) -> float:
    """Jaccard of the two texts' word 5-grams, by Python's sets."""
    left, right = set(python_shingles(a)), set(python_shingles(b))
    return len(left & right) / len(left | right)


def python_shingles(text: str) -> list[bytes]:
    words = _WORD.findall(text.encode().lower())
    return [b" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def _package(row: dict[str, Any]) -> str:
    return row["repo_name"].removesuffix("-old")


def _document(row: dict[str, Any]) -> Document:
    repo = f"{row['repo_name']}@{row['version']}"
    text = row["content"]
    return Document(
        id=document_id("benchmark", repo, row["path"]),
        text=text,
        repo=repo,
        path=row["path"],
        stars=int(row["stars"] or 0),
        commit_time=int(row["commit_time"] or 0),
        content_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _lines(folder: Path, name: str) -> Iterator[bytes]:
    plain, packed = folder / f"{name}.jsonl", folder / f"{name}.jsonl.zst"
    if plain.exists():
        with plain.open("rb") as file:
            yield from file
        return
    if not packed.exists():
        raise InputError(f"{folder} has neither {plain.name} nor {packed.name}")
    if not shutil.which("zstd"):
        raise InputError(f"{packed}: install the `zstd` command, or decompress it to {plain.name}")
    with subprocess.Popen(["zstd", "-dcq", str(packed)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield from process.stdout
    if process.returncode:
        raise InputError(f"{packed}: zstd stopped with status {process.returncode}")


def _save(path: str) -> Callable[[Any], None]:
    def save(value: Any) -> None:
        Path(path).write_bytes(pickle.dumps(value))

    return save


def _load(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())


if __name__ == "__main__":
    os.environ["RAYON_NUM_THREADS"] = "1"  # rensa's
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=100.0)
    arguments = parser.parse_args()
    try:
        near_dedup(arguments.corpus, arguments.megabytes)
    except InputError as error:
        sys.exit(f"error: {error}")
