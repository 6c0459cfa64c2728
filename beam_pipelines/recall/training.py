"""From pages to a classifier: the sample that BPE is learned from, the seeds, the others.

`Survey` counts the pages and keeps those with the smallest hashes. `Examples` gives each
seed, and a hash sample of pages that nobody has labelled, as sets of pieces of some hundred
bytes, written in an order of hashes; the launcher reads the shards in order, takes what
the settings allow of each label and domain, and trains. So which pages a classifier has
seen does not depend on how the job ran. Next: `labels` says what a seed is, `classifier`
what is learned of it.
"""

import collections
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from beam_pipelines import sinks
from beam_pipelines.recall.classifier import Example
from beam_pipelines.recall.labels import NONE, SeedSettings
from beam_pipelines.recall.model import Model
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.example import decode_example, encode_example
from opencoder_jax.formats.shards import read_records
from opencoder_jax.formats.split import hash_fraction

EXAMPLES = "examples"
_SAMPLE_CHARACTERS = 4000
# A hash sample is never exactly as large as asked for.
_SPARE = 1.1

# What a page is taken as an example for.
SEED = "seed"
ADDED = "added"
OTHER = "other"


class Survey(beam.PTransform):
    """Pages to one (`survey`, {pages, bytes, sample: texts by hash})."""

    def __init__(self, sample_pages: int) -> None:
        super().__init__()
        self._sample_pages = sample_pages

    def expand(self, pages: beam.PCollection) -> beam.PCollection:
        return (
            pages
            | "Measure" >> beam.Map(_measured, self._sample_pages > 0)
            | "Combine" >> beam.CombineGlobally(_SurveyFn(self._sample_pages))
            | "Pairs" >> beam.FlatMap(dict.items).with_output_types(tuple[str, Any])
        )


def _measured(page: Document, sampled: bool) -> tuple[str, int, str]:
    text = page.text[:_SAMPLE_CHARACTERS] if sampled else ""
    return _order("sample", page.id), page.text_bytes, text


class _SurveyFn(beam.CombineFn):
    def __init__(self, most: int) -> None:
        self._most = most

    def create_accumulator(self) -> Any:
        return [0, 0, []]

    def add_input(self, accumulator: Any, page: tuple[str, int, str]) -> Any:
        order, size, text = page
        accumulator[0] += 1
        accumulator[1] += size
        if self._most:
            accumulator[2].append((order, text))
            if len(accumulator[2]) >= 2 * self._most:
                self._cut(accumulator)
        return accumulator

    def merge_accumulators(self, accumulators: Any) -> Any:
        merged = self.create_accumulator()
        for pages, size, texts in accumulators:
            merged[0] += pages
            merged[1] += size
            merged[2] += texts
            self._cut(merged)
        return merged

    def extract_output(self, accumulator: Any) -> dict[str, Any]:
        self._cut(accumulator)
        pages, size, texts = accumulator
        return {"pages": pages, "bytes": size, "sample": [text for _, text in texts]}

    def _cut(self, accumulator: Any) -> None:
        accumulator[2].sort()
        del accumulator[2][self._most :]


class Record(NamedTuple):
    """An example on its way to the launcher.

    Attributes:
      order: hexadecimal hash, then the page's id.
      label: of the page.
      reason: `SEED`, `ADDED` (a pattern names it and the round before missed it) or `OTHER`.
      domain: of the page.
      pieces: int32 as bytes.
    """

    order: str
    label: str
    reason: str
    domain: str
    pieces: bytes


class Examples(beam.PTransform):
    """PCollection[Document] to PCollection[Record]."""

    def __init__(
        self, model: Model, seeds: SeedSettings, annotated: Sequence[str], pages: int
    ) -> None:
        """Args:
        model: segmentation, and the classifiers of earlier rounds.
        seeds: what is labelled.
        annotated: pattern tables of the earlier rounds.
        pages: how many there are.
        """
        super().__init__()
        self._model = model
        self._seeds = seeds
        self._annotated = annotated
        wanted = seeds.others * seeds.most * len(seeds.labels)
        self._share = min(1.0, _SPARE * wanted / max(pages, 1))

    def expand(self, pages: beam.PCollection) -> beam.PCollection:
        return pages | beam.ParDo(
            _FindExamples(self._model, self._seeds, self._annotated, self._share)
        ).with_output_types(tuple[str, str, str, str, bytes])


class _FindExamples(beam.DoFn):
    def __init__(
        self, model: Model, seeds: SeedSettings, annotated: Sequence[str], share: float
    ) -> None:
        self._model = model
        self._seeds = seeds
        self._annotated = annotated
        self._share = share

    def setup(self) -> None:
        self._loaded = self._model.load(self._seeds, self._annotated)

    def process(self, page: Document) -> Iterator[tuple[str, str, str, str, bytes]]:
        loaded = self._loaded
        if loaded.is_held_out(page):
            return
        label, reason = loaded.labels.of(page), SEED
        if label is None:
            label, reason = loaded.named(page), ADDED
        if label is None:
            label, reason = NONE, OTHER
            if hash_fraction("other", page.id) >= self._share:
                return
        if label not in self._seeds.all_labels:
            return
        pieces = loaded.pieces(page)
        if not pieces.size:
            return
        # What a person has added is learned from where it was missed, and a page that was recalled
        # is no example of what is not wanted.
        if reason == ADDED and label != NONE and not loaded.was_missed(page, pieces):
            return
        if reason == OTHER and loaded.was_recalled(pieces):
            return
        yield _order("example", page.id), label, reason, page.repo, pieces.tobytes()


class WriteExamples(beam.PTransform):
    """Writes records as `examples-*` shards, in an order of hashes."""

    def __init__(self, folder: str, num_shards: int) -> None:
        super().__init__()
        self._folder = folder
        self._num_shards = num_shards

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        return records | sinks.WriteShards(
            self._folder, EXAMPLES, self._num_shards, _encode, key=_key
        )


def _key(record: tuple[str, ...]) -> str:
    return record[0]


def _encode(record: tuple) -> bytes:
    return encode_example(dict(zip(Record._fields, record, strict=True)))


def read_examples(folder: Path) -> Iterator[Record]:
    """In the order of the shards."""
    for encoded in read_records(folder, EXAMPLES):
        values = decode_example(encoded)
        order, label, reason, domain = (values[name][0].decode() for name in Record._fields[:-1])
        yield Record(order, label, reason, domain, values["pieces"][0])


class Chosen:
    """The examples that the settings allow, of those in a folder.

    Attributes:
      counts: label to reason to number of examples.
    """

    def __init__(self, folder: Path, seeds: SeedSettings) -> None:
        self._folder = folder
        self._seeds = seeds
        positive: collections.Counter[str] = collections.Counter()
        for record in self._allowed(others=0):
            positive[record.label] += 1
        wanted = sum(positive[label] for label in seeds.labels)
        self._others = max(0, round(seeds.others * wanted) - positive[NONE])
        self.counts: dict[str, dict[str, int]] = {}
        for record in self._allowed(self._others):
            of_label = self.counts.setdefault(record.label, {})
            of_label[record.reason] = of_label.get(record.reason, 0) + 1

    def __call__(self) -> Iterator[Example]:
        for record in self._allowed(self._others):
            yield Example(record.label, np.frombuffer(record.pieces, np.int32))

    def _allowed(self, others: int) -> Iterator[Record]:
        given: collections.Counter[str] = collections.Counter()
        of_domain: collections.Counter[tuple[str, str]] = collections.Counter()
        most_of_a_domain = self._seeds.most_of_a_domain
        for record in read_examples(self._folder):
            kind = OTHER if record.reason == OTHER else record.label
            if given[kind] >= (others if kind == OTHER else self._seeds.most):
                continue
            # What was added by hand is there to change the classifier.
            if record.reason != ADDED and most_of_a_domain is not None:
                of_domain[kind, record.domain] += 1
                if of_domain[kind, record.domain] > most_of_a_domain:
                    continue
            given[kind] += 1
            yield record


def _order(what: str, page_id: str) -> str:
    """A place in an order that depends on nothing but the id."""
    digest = hashlib.sha256(f"{what}\0{page_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:16]} {page_id}"
