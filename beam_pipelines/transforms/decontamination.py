"""Keeps benchmark problems out of training data: shared 10-grams and entry points (paper §4.4).

The rule is `opencoder_jax/evaluation/contamination.py`, which evaluation searches finished sets
by, and the benchmarks are the evaluator's, by the names of its tasks: the launcher reads their
files once (`kept_out`), and their texts go to the workers with the transform. Every hit is
dropped with the benchmark, the problem and the text that matched.
Next: `benchmark_scan` finds them, docs/decontamination.md says what counts and why.
"""

import collections
import dataclasses
import functools
import json
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines import runner, stores
from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, Split, decode_drop, drop_document
from beam_pipelines.transforms.benchmark_scan import BenchmarkScan
from opencoder_jax.evaluation.benchmark_texts import load_texts
from opencoder_jax.evaluation.contamination import ProblemTexts, kept_out_inputs
from opencoder_jax.evaluation.data_files import DataFolder, MissingDataError
from opencoder_jax.evaluation.task_names import task_names
from opencoder_jax.formats.document import Document

NGRAM, ENTRY_POINT = "benchmark_ngram", "benchmark_entry_point"
_DROPPED = "dropped"


@dataclasses.dataclass(frozen=True)
class KeptOut:
    """Benchmarks that a set is kept clean of.

    Attributes:
      names: the evaluator's.
      packed: their texts, for workers.
      inputs: for a manifest, `contamination.kept_out_inputs`.
    """

    names: tuple[str, ...]
    packed: bytes
    inputs: tuple[tuple[str, str], ...]

    def texts(self) -> list[ProblemTexts]:
        return _unpacked(self.packed)

    def scan(self) -> BenchmarkScan:
        """What finds them; one a process, whoever asks."""
        return _scan_of(self.packed)


def kept_out(
    names: Sequence[str] | None, data_dir: str = "", pipeline_args: Sequence[str] = ()
) -> KeptOut:
    """The benchmarks of these names.

    Args:
      names: of the evaluator's tasks; None: those whose files are in `data_dir`, and those that
        need none. Which these are is printed.
      data_dir: folder with the published files, here or in a store; empty: none.
      pipeline_args: Beam's own flags, some of which lead to stores.

    Raises:
      MissingDataError: files are missing; says which, and where they can be had.
      InputError: a name is unknown, a file is not as published, or there is no such folder.
    """
    if stores.is_remote(data_dir):
        # Beam's filesystems take their settings from the pipeline made last.
        runner.pipeline(pipeline_args)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as copies:
        data = _StoredFolder(data_dir or None, hub=names is not None, copies=copies)
        if names is not None:
            return keep_out(load_texts(names, data))
        texts, missing = [], []
        for name in task_names():
            try:
                texts += load_texts([name], data)
            except MissingDataError:
                missing.append(name)
    print(f"kept out: {', '.join(t.name for t in texts)}", file=sys.stderr)
    if missing:
        where = f"their files are not in {data_dir}" if data_dir else "BENCHMARK_DATA is not set"
        print(f"not kept out ({where}): {', '.join(missing)}", file=sys.stderr)
    return keep_out(texts)


def keep_out(texts: Sequence[ProblemTexts]) -> KeptOut:
    """`KeptOut` of texts that are at hand."""
    content = json.dumps([dataclasses.asdict(t) for t in texts]).encode()
    inputs = tuple(kept_out_inputs(texts).items())
    return KeptOut(tuple(t.name for t in texts), zlib.compress(content), inputs)


def drop_kind(record: bytes) -> str:
    """What a serialized drop is counted as: its reason, after a space the benchmark if it is one's.

    Raises:
      RecordError: it is no drop.
    """
    drop = decode_drop(record)
    if drop.reason not in (NGRAM, ENTRY_POINT):
        return drop.reason
    return f"{drop.reason} {drop.detail.partition(' ')[0]}"


def split_kinds(kinds: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Drops by reason, and those of `Decontaminate` by benchmark, from counts by `drop_kind`."""
    reasons: collections.Counter[str] = collections.Counter()
    benchmarks: collections.Counter[str] = collections.Counter()
    for kind, count in kinds.items():
        reason, _, benchmark = kind.partition(" ")
        reasons[reason] += count
        if benchmark:
            benchmarks[benchmark] += count
    return dict(sorted(reasons.items())), dict(sorted(benchmarks.items()))


def document_text(document: Document) -> str:
    return document.text


def drop_contaminated(document: Document, reason: str, detail: str) -> Drop:
    """The drop of a document, with the beginning of its text."""
    sample = document.text[:SAMPLE_CHARACTERS]
    return drop_document(document, reason, detail=detail, sample=sample)


class Decontaminate(beam.PTransform):
    """PCollection of anything with a text to a `Split` of clean ones and drops.

    Reasons: `benchmark_ngram`, `benchmark_entry_point`.
    """

    def __init__(
        self,
        benchmarks: KeptOut,
        text_of: Callable[[Any], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        """Args:
        benchmarks: what is kept out.
        text_of: all the text of an element that a model would see.
        drop: makes the `Drop` of (element, reason, detail).
        """
        super().__init__()
        self._benchmarks = benchmarks
        self._text_of = text_of
        self._drop = drop

    def expand(self, elements: beam.PCollection) -> Split:
        checked = elements | "FindBenchmarks" >> beam.ParDo(
            _FindBenchmarks(self._benchmarks, self._text_of, self._drop)
        ).with_outputs(_DROPPED, main="kept")
        return Split(checked.kept, checked[_DROPPED])


class _FindBenchmarks(beam.DoFn):
    def __init__(
        self,
        benchmarks: KeptOut,
        text_of: Callable[[Any], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        super().__init__()
        self._benchmarks = benchmarks
        self._text_of = text_of
        self._drop = drop

    def setup(self) -> None:
        self._scan = self._benchmarks.scan()

    def process(self, element: Any) -> Iterator[Any]:
        hit = self._scan.find(self._text_of(element))
        if hit is None:
            yield element
        else:
            yield TaggedOutput(_DROPPED, self._drop(element, hit.reason, hit.detail))


@functools.lru_cache(maxsize=2)
def _scan_of(packed: bytes) -> BenchmarkScan:
    return BenchmarkScan(_unpacked(packed))


def _unpacked(packed: bytes) -> list[ProblemTexts]:
    return [
        ProblemTexts(
            name=t["name"],
            texts=tuple(map(tuple, t["texts"])),
            entry_points=tuple(map(tuple, t["entry_points"])),
        )
        for t in json.loads(zlib.decompress(packed))
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class _StoredFolder(DataFolder):
    """A data folder that may be in a store; what is asked for is copied to this machine.

    Attributes:
      copies: folder for the copies.
    """

    copies: str = ""

    @property
    def said_by(self) -> str:
        return "--gin.BENCHMARK_DATA=FOLDER"

    def first_of(self, names: Sequence[str]) -> Path | None:
        if self.folder is None or not stores.is_remote(self.folder):
            return DataFolder.first_of(self, names)
        for name in names:
            copy = Path(self.copies) / name
            url = f"{self.folder.rstrip('/')}/{name}"
            if copy.exists():
                return copy
            if stores.exists(url):
                copy.parent.mkdir(parents=True, exist_ok=True)
                with stores.fetched(url) as fetched:
                    fetched.rename(copy)
                return copy
        return None
