"""Near deduplication beside the libraries: speed from text to band keys, and who is deleted.

    python -m benchmarks.near_dedup --corpus=DIR [--megabytes=100] [--peers_python=PYTHON]

DIR holds `code_a.jsonl(.zst)` and `code_b.jsonl(.zst)`: two releases of some packages, one
JSON object a line with `repo_name, version, path, content, stars, commit_time`. Taken are
the packages that are in both, files of 100 to 1,000,000 characters. Speeds are CPU time of
one core; a slow library gets a sample of the documents, and ours the same ones beside it.
PYTHON is one in which the libraries are installed (benchmarks/requirements.txt), this one
by default; one that is missing is reported. The deletions of the Beam job are checked with
Python's own sets of 5-grams, not with the code under test. The last line is the ratio of
the speeds; `docs/dedup.md` has figures.
"""

import argparse
import collections
import hashlib
import itertools
import json
import os
import pickle
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
from beam_pipelines.dedup.levels import Deduplicate
from beam_pipelines.dedup.minhash import Banding, band_keys
from beam_pipelines.dedup.shingles import shingle_hashes
from beam_pipelines.runner import pipeline
from benchmarks.near_dedup_peers import python_shingles
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.formats.split import hash_fraction

NGRAM = 5
BANDING = Banding(bands=16, rows=128)
SIZES = range(100, 1_000_001)  # characters
LOOSER = ((9, 28), (25, 10))
# Library → megabytes of text that it is measured on, for seconds each.
PEERS = {"rensa": 1000.0, "datasketch": 6.0, "text-dedup": 2.0, "datatrove": 1.5}


def near_dedup(corpus: Path, megabytes: float, peers_python: str) -> None:
    """Prints the measurements; see the module."""
    documents = read_corpus(corpus, megabytes)
    size = megabytes_of(documents)
    print(f"{len(documents)} documents, {size:.1f} MB of packages with two releases")
    measure_exact(documents)
    ratio = measure_peers(documents, peers_python)
    for bands, rows in ((BANDING.bands, BANDING.rows), *LOOSER):
        measure_job(documents, Banding(bands, rows))
    print(f"near_dedup: {ratio:.2f} times rensa" if ratio else "near_dedup: rensa is missing")


def megabytes_of(documents: Sequence[Document]) -> float:
    return sum(len(document.text.encode()) for document in documents) / 1e6


def measure_exact(documents: Sequence[Document]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for document in documents:
            file.write(json.dumps({"path": document.path, "content": document.text}) + "\n")
        file.flush()
        measured = _run_apart(
            sys.executable, "-m", "benchmarks.near_dedup_core", "exact", file.name
        )
    speed = megabytes_of(documents) / measured["seconds"]
    print(f"exact: JSON to SHA-256 of the text {speed:.0f} MB/s")


def measure_peers(documents: Sequence[Document], peers_python: str) -> float | None:
    """Prints a row for each library; returns our speed over rensa's."""
    ratio = None
    print("text to band keys or LSH index, 16 x 128; one core, same documents in a row:")
    print(
        f"  {'library':<18}{'MB':>7}{'MB/s':>8}{'MiB':>7}"
        f"{'ours MB/s':>11}{'ours MiB':>9}{'ratio':>8}"
    )
    for peer, limit in PEERS.items():
        chosen = sample(documents, limit)
        size = megabytes_of(chosen)
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.writelines(json.dumps(document.text) + "\n" for document in chosen)
            file.flush()
            core = ("-m", "benchmarks.near_dedup_core", "near", file.name)
            ours = min(
                (_run_apart(sys.executable, *core) for _ in range(2)), key=lambda m: m["seconds"]
            )
            script = str(Path(__file__).with_name("near_dedup_peers.py"))
            theirs = _run_apart(peers_python, script, peer, file.name)
        ours_speed = f"{size / ours['seconds']:>11.1f}{ours['peak_mib']:>9.0f}"
        if "missing" in theirs:
            print(f"  {peer:<18}{size:>7.1f}  not installed{ours_speed}")
            continue
        times = theirs["seconds"] / ours["seconds"]
        speed = f"{size / theirs['seconds']:>8.2f}{theirs['peak_mib']:>7.0f}"
        print(f"  {peer + ' ' + theirs['version']:<18}{size:>7.1f}{speed}{ours_speed}{times:>8.1f}")
        if peer == "rensa":
            ratio = times
    return ratio


def sample(documents: Sequence[Document], megabytes: float) -> list[Document]:
    """Documents by a hash of their ids, up to a size; the same on every run."""
    chosen, size = [], 0
    for document in sorted(documents, key=lambda d: hash_fraction(d.id, "near_dedup")):
        if size >= megabytes * 1e6:
            break
        chosen.append(document)
        size += len(document.text)
    return chosen


def measure_job(documents: Sequence[Document], banding: Banding) -> None:
    """Runs the Beam job at one setting and prints what it deletes, checked."""
    started = time.process_time()
    job = run_job(documents, banding)
    speed = megabytes_of(documents) / (time.process_time() - started)
    reasons = collections.Counter(drop.reason for drop in job["dropped"])
    print(f"{banding.bands} x {banding.rows}, Jaccard {banding.threshold:.4f}:")
    print(
        f"  Beam job {speed:.1f} MB/s; kept {len(job['kept'])}, "
        + ", ".join(f"{k} {v}" for k, v in sorted(reasons.items()))
    )
    texts = {document.id: document.text for document in documents}
    near = [drop for drop in job["dropped"] if drop.reason == "near_duplicate"]
    below = sum(similarity(texts[d.id], texts[d.detail]) < banding.threshold for d in near)
    chained = sum(cluster.size - 1 for cluster in job["clusters"])
    print(
        f"  deletions below the threshold: {below}; "
        f"spared, though chained to a cluster: {chained - len(near)} of {chained}"
    )
    if banding == BANDING:
        missed, pairs = missed_pairs(documents, job["kept"], near)
        print(f"  pairs that share a band and reach the threshold: {pairs}, both kept: {missed}")


def _run_apart(python: str, *arguments: str) -> dict[str, Any]:
    """The JSON that a process of its own prints last."""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{python} {' '.join(arguments)} failed: {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


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


def run_job(documents: Sequence[Document], banding: Banding) -> dict[str, list[Any]]:
    """What the two transforms keep and drop, and clusters, run as a pipeline on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/documents"
        _save(source)(documents)
        with pipeline() as p:
            read = (
                p
                | beam.Create([source])
                | "Read" >> beam.FlatMap(_load).with_output_types(Document)
            )
            result = read | "Dedup" >> Deduplicate(
                ["file"], NGRAM, banding.bands * banding.rows, banding.bands, banding.rows
            )
            outputs = {"kept": result.kept, "dropped": result.dropped, "clusters": result.clusters}
            for name, records in outputs.items():
                _ = (
                    records
                    | f"List {name}" >> beam.combiners.ToList()
                    | f"Save {name}" >> (beam.Map(_save(f"{folder}/{name}")))
                )
        return {name: _load(f"{folder}/{name}") for name in outputs}


def missed_pairs(
    documents: Sequence[Document], kept: Sequence[Document], near: Sequence[Drop]
) -> tuple[int, int]:
    """(pairs that share a band, reach the threshold and are both kept; such pairs at all)."""
    texts = {document.id: document.text for document in documents}
    staying = {document.id for document in kept}
    buckets = collections.defaultdict(list)
    for document_id_ in sorted(staying | {drop.id for drop in near}):
        for key in band_keys(shingle_hashes(texts[document_id_], NGRAM), BANDING):
            buckets[int(key)].append(document_id_)
    met = {pair for bucket in buckets.values() for pair in itertools.combinations(bucket, 2)}
    reachable = [(a, b) for a, b in met if similarity(texts[a], texts[b]) >= BANDING.threshold]
    return sum(a in staying and b in staying for a, b in reachable), len(reachable)


def similarity(a: str, b: str) -> float:
    """Jaccard of the two texts' word 5-grams, by Python's sets."""
    left, right = set(python_shingles(a)), set(python_shingles(b))
    return len(left & right) / len(left | right)


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--peers_python", default=sys.executable)
    arguments = parser.parse_args()
    try:
        near_dedup(arguments.corpus, arguments.megabytes, arguments.peers_python)
    except InputError as error:
        sys.exit(f"error: {error}")
