"""Perplexity of single documents under a model, however long they are.

A document that is longer than the model's context is scored by windows, which overlap by
one token, so that every token but the first is predicted once; a window does not see the
one before it. Windows of several documents share a row, as in packed sequences, and
`bits_per_byte` scores the rows. Used by the corpus report (paper App. A.1, step 4).
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from opencoder_jax.evaluation.bits_per_byte import Score, score_sequences
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.packed import PackedSequence
from opencoder_jax.model.loading import LoadedModel

# Rows that are padded to one length by one batch: what is held in memory at once.
_ROWS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, slots=True)
class DocumentScore:
    """How well a model predicts one document.

    Attributes:
      document: what was scored.
      perplexity: exp of the mean negative log likelihood of a token, its end included.
      bits_per_byte: the same over the UTF-8 bytes of the text, in bits.
      tokens: that were predicted.
      windows: that the document was cut into.
    """

    document: Document
    perplexity: float
    bits_per_byte: float
    tokens: int
    windows: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Window:
    """At most S+1 tokens of the document with this id; the first is not predicted."""

    id: str
    tokens: list[int]
    bytes: int


def score_documents(
    model: LoadedModel,
    documents: Iterable[Document],
    batch_size: int,
    advance: Callable[[int], object] = lambda count: None,
) -> Iterator[DocumentScore]:
    """The scores of `documents`, in their order.

    Args:
      model: with its tokenizer.
      documents: with texts that are not empty and ids that differ.
      batch_size: rows a step; changes the speed, not the result.
      advance: called with the number of windows that were scored.
    """
    length = model.config.max_length
    by_id: dict[str, Document] = {}
    scores: dict[str, Score] = {}

    def windows() -> Iterator[_Window]:
        for document in documents:
            by_id[document.id] = document
            yield from _windows(model, document, length)

    for rows in itertools.batched(_rows(windows(), length), _ROWS_AT_ONCE):
        # `score_sequences` sums by the language of a segment; here that is a document's id.
        for name, score in score_sequences(model.config, model.params, rows, batch_size).items():
            scores.setdefault(name, Score()).add(score)
        advance(sum(len(row.document_ids) for row in rows))
    for document in by_id.values():
        score = scores[document.id]
        yield DocumentScore(
            document=document,
            # A text of one token without a beginning or an end has none to predict.
            perplexity=math.exp(min(score.nats / max(score.tokens, 1), 700.0)),
            bits_per_byte=score.bits_per_byte or 0.0,
            tokens=score.tokens,
            windows=score.segments,
        )


def _windows(model: LoadedModel, document: Document, length: int) -> Iterator[_Window]:
    tokens = [*model.prompt_ids(document.text), *model.eos_ids[:1]]
    size = len(document.text.encode("utf-8"))
    # The first window is there even for a single token, so that every document has a score.
    for start in range(0, max(len(tokens) - 1, 1), length):
        yield _Window(document.id, tokens[start : start + length + 1], 0 if start else size)


def _rows(windows: Iterable[_Window], length: int) -> Iterator[PackedSequence]:
    """Windows in order, each into the current row if it fits, else into the next."""
    row: list[_Window] = []
    filled = 0
    for window in windows:
        if filled + len(window.tokens) > length + 1:
            yield _packed(row, length)
            row, filled = [], 0
        row.append(window)
        filled += len(window.tokens)
    if row:
        yield _packed(row, length)


def _packed(windows: list[_Window], length: int) -> PackedSequence:
    arrays = np.zeros((4, length + 1), np.int32)
    tokens, segment_ids, positions, weights = arrays
    start = 0
    for number, window in enumerate(windows, start=1):
        stop = start + len(window.tokens)
        tokens[start:stop] = window.tokens
        segment_ids[start:stop] = number
        positions[start:stop] = np.arange(stop - start)
        weights[start + 1 : stop] = 1
        start = stop
    return PackedSequence(
        tokens=tokens,
        segment_ids=segment_ids,
        positions=positions,
        loss_weights=weights,
        document_ids=tuple(window.id for window in windows),
        document_languages=tuple(window.id for window in windows),
        document_bytes=tuple(window.bytes for window in windows),
    )
