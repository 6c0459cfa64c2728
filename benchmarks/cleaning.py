"""Speed of cleaning: signals and rules, and the chain around them, beside the released filter.

    python -m benchmarks.cleaning --corpus=DIR [--opc_repo=DIR] [--opc_python=PATH] [--megabytes=20]

DIR holds `code_a.jsonl(.zst)`: one JSON object a line with `repo_name, version, path,
content`. Taken are files of a known type, by hash, and always the largest of all. All
times are CPU seconds of one core in one run. With a checkout of the released filter the
same files go through it, in the interpreter of `--opc_python` (what it needs stands in
`benchmarks/requirements.txt`). The last line is the ratio; `docs/speed.md` has figures.
"""

import argparse
import ast
import collections
import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import operator
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from beam_pipelines.languages.file_types import identify
from beam_pipelines.signals.compute import signals_for
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.human_language import identify as identify_human_language
from beam_pipelines.signals.rules import RuleTable, decide, select_table
from beam_pipelines.transforms.quality import document_signals
from beam_pipelines.transforms.read import NotTextError, decode_text
from beam_pipelines.transforms.repair import repair
from opencoder_jax.configuration import configure
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.progress import track

# In the order in which one is made of another.
_CODE_VIEWS = (
    *("codes", "profile", "words", "ngrams", "comment_bounds", "code", "code_codes", "lowered"),
    *("compact_code_lines", "strings"),
)
_TEXT_VIEWS = ("codes", "profile", "words", "ngrams", "raw_word_counts", "stripped_lines")
_PYTHON_VIEWS = ("python_tree", "python_definitions", "docstrings")
_LANGUAGES = 20  # in the table


def cleaning(corpus: Path, megabytes: float, opc_repo: Path | None, opc_python: str) -> None:
    """Prints the measurements; see the module."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    documents = read_corpus(corpus, megabytes)
    tables = rule_tables()
    size = megabytes_of(documents)
    print(f"{len(documents)} files, {size:.1f} MB; CPU time of one core")

    started = time.process_time()
    for document in documents[:20] + [d for d in documents if not d.text.isascii()][:5]:
        cleaned(document, tables)
    print(f"compiling or loading, models, 25 files: {time.process_time() - started:.1f} s")

    seconds = measure("signals and rules", lambda document: judged(document, tables), documents)
    ours = sum(seconds)
    print(f"signals and rules: {size / ours:.2f} MB/s, {len(documents) / ours:.0f} files/s")
    print_languages(documents, seconds)
    print_views(documents)
    chain = sum(measure("read, repair, judge", lambda d: cleaned(d, tables), documents))
    print(f"decode, hash, repair, signals, rules: {size / chain:.2f} MB/s")
    print_floors(documents)

    slowest = documents[seconds.index(max(seconds))]
    extra = extra_memory(slowest)
    print(
        f"slowest file: {slowest.path}, {len(slowest.text) / 1e6:.1f} M characters, "
        f"{max(seconds):.2f} s, {extra:.0f} MB more memory than with the text alone"
    )
    if opc_repo is None:
        print(f"cleaning: {size / ours:.2f} MB/s a core")
        return
    theirs = released(documents, opc_repo, opc_python)
    print(
        f"released filter: {size / theirs['seconds']:.3f} MB/s, "
        f"{len(documents) / theirs['seconds']:.1f} files/s, keeps {theirs['kept']} of them; "
        f"slowest file {theirs['slowest_path']}, {theirs['slowest']:.1f} s"
    )
    print(f"cleaning: {theirs['seconds'] / ours:.1f} times the released filter")


def read_corpus(folder: Path, megabytes: float) -> list[Document]:
    """Files of a known type up to a size, chosen by a hash of repository and path; and the largest.

    Raises:
      InputError: there is no such corpus, or it has no file of a known type.
    """
    sampled: list[tuple[float, Document]] = []
    largest: Document | None = None
    budget = megabytes * 1e6
    total = 0
    threshold = 1.0
    for row in rows(folder):
        document = as_document(row)
        if document.doc_type not in ("code", "data", "text") or not document.text:
            continue
        if largest is None or len(document.text) > len(largest.text):
            largest = document
        fraction = hash_fraction("cleaning", document.repo, document.path)
        if fraction < threshold:
            sampled.append((fraction, document))
            total += len(document.text)
        # The files with the smallest hashes stay: the same ones wherever they stand.
        if total > 3 * budget:
            sampled, total = smallest(sampled, budget)
            threshold = sampled[-1][0]
    sampled, _ = smallest(sampled, budget)
    chosen = [document for _, document in sampled]
    if largest is None:
        raise InputError(f"{folder}: no file of a known type in code_a")
    return chosen if largest in chosen else [*chosen, largest]


def smallest(
    sampled: Sequence[tuple[float, Document]], budget: float
) -> tuple[list[tuple[float, Document]], int]:
    """Those with the smallest hashes, up to a number of characters, and how many those are."""
    kept: list[tuple[float, Document]] = []
    total = 0
    for entry in sorted(sampled, key=lambda entry: entry[0]):
        if kept and total + len(entry[1].text) > budget:
            break
        kept.append(entry)
        total += len(entry[1].text)
    return kept, total


def as_document(row: Mapping[str, Any]) -> Document:
    text, repo = row["content"], f"{row['repo_name']}-{row['version']}"
    file_type = identify(row["path"], text[:200].partition("\n")[0])
    return Document(
        id=document_id("cleaning", repo, row["path"]),
        text=text,
        repo=repo,
        path=row["path"],
        language=file_type.language,
        doc_type=file_type.doc_type,
    )


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of `code_a`, plain or compressed."""
    plain = folder / "code_a.jsonl"
    packed = plain.with_suffix(".jsonl.zst")
    if plain.exists():
        with plain.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
    elif packed.exists():
        zstandard = importlib.import_module("zstandard")
        with packed.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file)
            yield from map(json.loads, io.TextIOWrapper(stream, encoding="utf-8"))
    else:
        raise InputError(f"{folder} has neither {plain.name} nor {packed.name}")


def rule_tables() -> dict[str, RuleTable]:
    """The tables of the paper, as the job has them."""

    def benchmarked_tables(rule_tables: dict[str, RuleTable]) -> dict[str, RuleTable]:
        return rule_tables

    return configure(
        benchmarked_tables,
        gin_files=["refinecode/rules/all.gin"],
        bindings=["benchmarked_tables.rule_tables = %RULE_TABLES"],
    )()


def judged(document: Document, tables: Mapping[str, RuleTable]) -> bool:
    """Whether the document stays; an error of a signal is one of the benchmark."""
    result = document_signals(document)
    if result.errors:
        raise InputError(f"{document.repo}/{document.path}: {result.errors}")
    table = select_table(document.doc_type, document.language, result.human_language, tables)
    return not decide(result.values, table, document.id)


def cleaned(document: Document, tables: Mapping[str, RuleTable]) -> bool:
    """From the file's bytes to the verdict."""
    content = document.text.encode()
    try:
        text = decode_text(content)
    except NotTextError:
        return False
    digest = hashlib.sha256(content).hexdigest()
    repaired, _ = repair(document.replace(text=text, content_sha256=digest))
    return judged(repaired, tables)


def megabytes_of(documents: Sequence[Document]) -> float:
    return sum(len(document.text.encode()) for document in documents) / 1e6


def measure(
    name: str, function: Callable[[Document], Any], documents: Sequence[Document]
) -> list[float]:
    """CPU seconds of each call."""
    seconds = []
    with track(name, len(documents), "files") as advance:
        for document in documents:
            started = time.process_time()
            function(document)
            seconds.append(time.process_time() - started)
            advance()
    return seconds


def print_languages(documents: Sequence[Document], seconds: Sequence[float]) -> None:
    """The languages that took most of the time."""
    by_language = collections.defaultdict(list)
    for document, took in zip(documents, seconds, strict=True):
        by_language[document.language].append((document, took))
    print(f"{'language':20}{'files':>7}{'MB':>8}{'MB/s':>8}{'share of time':>15}")
    whole = sum(seconds)
    by_time = sorted(by_language.items(), key=lambda item: -sum(took for _, took in item[1]))
    for language, files in by_time[:_LANGUAGES]:
        size, took = megabytes_of([d for d, _ in files]), sum(took for _, took in files)
        print(f"{language:20}{len(files):7}{size:8.2f}{size / took:8.2f}{took / whole:15.1%}")


def print_views(documents: Sequence[Document]) -> None:
    """Time of each view of a document and of what the signals do with them."""
    seconds: dict[str, float] = collections.defaultdict(float)

    def timed[T, R](name: str, function: Callable[[T], R], argument: T) -> R:
        started = time.thread_time()
        result = function(argument)
        seconds[name] += time.thread_time() - started
        return result

    for d in documents:
        size = len(d.text.encode())
        human = "en"
        if d.doc_type == "text" or not d.text.isascii():
            human = timed("human language", identify_human_language, d.text)
        parsed = ParsedDocument(d.text, d.language, d.doc_type, d.path, size, human)
        views = _TEXT_VIEWS if d.doc_type == "text" else _CODE_VIEWS
        for view in views + _PYTHON_VIEWS * (d.language == "python"):
            timed(view, operator.attrgetter(view), parsed)
        for signal in signals_for(d.doc_type, d.language):
            general = signal.name.startswith(("qsc_code_", "qsc_doc_"))
            group = "rest of general signals" if general else f"rest of {d.language}'s own"
            timed(group, signal.function, parsed)
    whole = sum(seconds.values())
    own = sum(took for name, took in seconds.items() if name in _PYTHON_VIEWS or "own" in name)
    print(f"{'view':34}{'seconds':>8}{'share':>8}")
    for name, took in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{name:34}{took:8.3f}{took / whole:8.1%}")
    print(f"without signals of one language: {megabytes_of(documents) / (whole - own):.2f} MB/s")


def print_floors(documents: Sequence[Document]) -> None:
    """What parsing and hashing alone cost."""
    python = [document for document in documents if document.language == "python"]

    def parse(document: Document) -> None:
        # Not every file is of this Python's version.
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            ast.parse(document.text)

    def fingerprint(document: Document) -> str:
        return hashlib.sha256(document.text.encode()).hexdigest()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        took = sum(measure("ast.parse", parse, python))
    if python:
        print(f"ast.parse alone, of the Python files: {megabytes_of(python) / took:.2f} MB/s")
    took = sum(measure("exact hash", fingerprint, documents))
    print(f"exact deduplication's hash: {megabytes_of(documents) / took:.0f} MB/s")


def extra_memory(document: Document) -> float:
    """MB by which a process that has compiled code and the text grows while it is judged."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_memory, args=(document, sender))
    process.start()
    sender.close()
    grown = receiver.recv()
    process.join()
    return grown


def _measure_memory(document: Document, sender: Connection) -> None:
    tables = rule_tables()
    for text in ("x = 1\n", "x = 'é'\n"):
        judged(document.replace(text=text), tables)
    # From here on the high-water mark is that of what follows (man 5 proc).
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    judged(document, tables)
    sender.send((_status("VmHWM") - before) / 1000)


def _status(name: str) -> float:
    """KB that Linux states of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"{name}:\s*(\d+) kB", status)
    if match is None:
        raise InputError(f"/proc/self/status has no {name}; memory is measured on Linux only")
    return float(match[1]) * 1.024


def released(documents: Sequence[Document], repository: Path, python: str) -> dict[str, Any]:
    """What `released_filter` prints for these files.

    Raises:
      InputError: it cannot run; with the last line of its own message.
    """
    script = Path(__file__).with_name("released_filter.py")
    lines = "".join(
        json.dumps({"text": d.text, "path": d.path, "language": d.language, "doc_type": d.doc_type})
        + "\n"
        for d in documents
    )
    print("released filter on the same files ...", flush=True)
    # It warns of much on standard error; that is for when it fails.
    command = [python, str(script), str(repository)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{python} {script.name} ended with {done.returncode}: {why}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--opc_repo", type=Path)
    parser.add_argument("--opc_python", default=sys.executable)
    parser.add_argument("--megabytes", type=float, default=20)
    arguments = parser.parse_args()
    try:
        cleaning(arguments.corpus, arguments.megabytes, arguments.opc_repo, arguments.opc_python)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
