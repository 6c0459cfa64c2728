"""Perplexity extremes of a corpus: the last step of the paper's tuning (App. A.1, step 4).

What a model finds very easy has nothing to learn, what it finds very hard has no pattern:
both ends are shown to be read. Documents are a hash sample of each language, so the same
corpus and model give the same page. Loads JAX; nothing else of the report does.
"""

import dataclasses
import heapq
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from opencoder_jax.evaluation.perplexity import DocumentScore, score_documents
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.shards import read_records
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.model.loading import load_model
from opencoder_jax.progress import track

# Quantiles of a language's strip: ends, box, median.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """Which documents are scored.

    Attributes:
      per_language: at most so many documents of each language, by hash.
      languages: the languages with most documents.
      scanned: documents read for the sample; shards are hash samples of a corpus, so the
        first ones stand for all.
      max_bytes: of a document; the rest of a longer one is not scored.
      extremes: documents shown at each end.
      batch_size: rows a step.
    """

    per_language: int
    languages: int
    scanned: int
    max_bytes: int
    extremes: int
    batch_size: int


@dataclasses.dataclass(frozen=True, slots=True)
class LanguagePerplexity:
    """One language.

    Attributes:
      language: its name.
      documents: that were scored.
      bits_per_byte: of all of them together.
      quantiles: perplexities at 5, 25, 50, 75 and 95 %.
      places: of the quantiles on the page's axis, in per cent.
      lowest, highest: the extremes, most extreme first.
    """

    language: str
    documents: int
    bits_per_byte: float
    quantiles: tuple[float, ...]
    places: tuple[float, ...]
    lowest: tuple[DocumentScore, ...]
    highest: tuple[DocumentScore, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Perplexities:
    """All languages, the largest sample first; `axis` is (least, most) perplexity."""

    model: str
    context: int
    sampling: Sampling
    documents: int
    axis: tuple[float, float]
    languages: tuple[LanguagePerplexity, ...]
    lowest: tuple[DocumentScore, ...]
    highest: tuple[DocumentScore, ...]


def measure(corpus_dir: Path, checkpoint: str | os.PathLike, sampling: Sampling) -> Perplexities:
    """Scores a sample of the kept documents.

    Raises:
      InputError: `checkpoint` holds no model, or the corpus no documents.
    """
    model = load_model(checkpoint)
    documents = sample_documents(corpus_dir, sampling)
    with track("perplexity", None, "windows") as advance:
        scores = list(score_documents(model, documents, sampling.batch_size, advance))
    by_language: dict[str, list[DocumentScore]] = {}
    for score in scores:
        by_language.setdefault(score.document.language, []).append(score)
    values = np.array([score.perplexity for score in scores] or [1.0])
    axis = (float(values.min()), float(values.max()))
    return Perplexities(
        model=Path(checkpoint).name or str(checkpoint),
        context=model.config.max_length,
        sampling=sampling,
        documents=len(scores),
        axis=axis,
        languages=tuple(
            _language(name, by_language[name], axis, sampling.extremes)
            for name in sorted(by_language, key=lambda name: (-len(by_language[name]), name))
        ),
        lowest=_ends(scores, sampling.extremes)[0],
        highest=_ends(scores, sampling.extremes)[1],
    )


def sample_documents(corpus_dir: Path, sampling: Sampling) -> list[Document]:
    """The documents to score: of each language those with the smallest hashes, then by size.

    Texts are cut to `max_bytes`.
    """
    smallest: dict[str, list[tuple[float, str, Document]]] = {}
    counts: dict[str, int] = {}
    for document in _first_documents(corpus_dir, sampling.scanned):
        counts[document.language] = counts.get(document.language, 0) + 1
        # A heap of the largest first: the smallest hashes stay.
        heap = smallest.setdefault(document.language, [])
        item = (-hash_fraction("perplexity", document.id), document.id, document)
        if len(heap) < sampling.per_language:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)
    chosen = sorted(counts, key=lambda name: (-counts[name], name))[: sampling.languages]
    documents = [document for name in chosen for _, _, document in smallest[name]]
    cut = [_cut(document, sampling.max_bytes) for document in documents]
    # Neighbours of a size fill rows well, and the order is the same on every run.
    return sorted(cut, key=lambda document: (len(document.text), document.id))


def _first_documents(corpus_dir: Path, limit: int) -> Iterator[Document]:
    for number, record in enumerate(read_records(corpus_dir, "documents")):
        if number == limit:
            return
        yield decode_document(record)


def _cut(document: Document, max_bytes: int) -> Document:
    content = document.text.encode("utf-8")
    if len(content) <= max_bytes:
        return document
    return document.replace(text=content[:max_bytes].decode("utf-8", "ignore"))


def _language(
    name: str, scores: Sequence[DocumentScore], axis: tuple[float, float], extremes: int
) -> LanguagePerplexity:
    values = np.array([score.perplexity for score in scores])
    quantiles = tuple(float(value) for value in np.quantile(values, _QUANTILES))
    size = sum(len(score.document.text.encode("utf-8")) for score in scores)
    bits = sum(score.bits_per_byte * len(score.document.text.encode("utf-8")) for score in scores)
    lowest, highest = _ends(scores, extremes)
    return LanguagePerplexity(
        language=name,
        documents=len(scores),
        bits_per_byte=bits / size if size else 0.0,
        quantiles=quantiles,
        places=tuple(_place(value, axis) for value in quantiles),
        lowest=lowest,
        highest=highest,
    )


def _place(value: float, axis: tuple[float, float]) -> float:
    """Per cent of the axis, whose scale is logarithmic."""
    low, high = np.log(axis[0]), np.log(axis[1])
    return float(100 * (np.log(value) - low) / (high - low)) if high > low else 50.0


def _ends(
    scores: Sequence[DocumentScore], count: int
) -> tuple[tuple[DocumentScore, ...], tuple[DocumentScore, ...]]:
    ordered = sorted(scores, key=lambda score: (score.perplexity, score.document.id))
    return tuple(ordered[:count]), tuple(ordered[::-1][:count])
