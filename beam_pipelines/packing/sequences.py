"""Items to training sequences: pieces, arrays, and the counts that have to come out.

A text longer than a sequence is cut into pieces that overlap by one token: the last token
of a piece is repeated as the first of the next, with loss weight 0. So every token but a
text's first is predicted exactly once, and the pieces' bytes sum to the text's.

`pack` is a pure function of a *set* of items (it orders them by a hash of their ids), and
the groups that it is called on are chosen by such a hash too: whatever runner, order or
number of workers, the same sequences come out.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from beam_pipelines.packing.best_fit import best_fit
from beam_pipelines.packing.items import Item
from opencoder_jax.formats.packed import PackedSequence
from opencoder_jax.formats.split import hash_fraction

Piece = tuple[Item, int, int]
Counts = dict[str, int]


def pieces_of(item: Item, sequence_length: int) -> list[Piece]:
    """(item, start, stop) of each piece: up to `sequence_length` + 1 tokens, overlapping by one.

    Raises:
      ValueError: an item that must not be cut is too long; the job drops those before.
    """
    length = len(item.tokens)
    if length > sequence_length + 1 and not item.splittable:
        raise ValueError(f"{item.id} has {length} tokens and must not be cut")
    starts = range(0, max(length - 1, 1), sequence_length)
    return [(item, start, min(start + sequence_length + 1, length)) for start in starts]


class Vocabulary(NamedTuple):
    """What packing has to know of a tokenizer.

    Attributes:
      byte_lengths: int32[V], bytes that each token stands for.
      pad: the token that fills a sequence up.
    """

    byte_lengths: np.ndarray
    pad: int


def pack(
    items: Iterable[Item], sequence_length: int, vocabulary: Vocabulary
) -> Iterator[PackedSequence]:
    """Sequences of exactly `sequence_length` + 1 tokens.

    Args:
      items: in any order; their tokens are held in memory.
      sequence_length: S.
      vocabulary: of the tokenizer that made the items.
    """
    ordered = sorted(items, key=lambda item: (hash_fraction("pack", item.id), item.id))
    pieces = [piece for item in ordered for piece in pieces_of(item, sequence_length)]
    lengths = [stop - start for _, start, stop in pieces]
    for group in best_fit(lengths, sequence_length + 1):
        yield assemble([pieces[i] for i in group], sequence_length, vocabulary)


def assemble(
    pieces: Sequence[Piece], sequence_length: int, vocabulary: Vocabulary
) -> PackedSequence:
    """One sequence of `pieces`, padded at its end."""
    size = sequence_length + 1
    tokens = np.full(size, vocabulary.pad, np.int32)
    segment_ids = np.zeros(size, np.int32)
    positions = np.zeros(size, np.int32)
    loss_weights = np.zeros(size, np.int32)
    document_bytes = []
    at = 0
    for segment, (item, start, stop) in enumerate(pieces, start=1):
        span = slice(at, at + stop - start)
        tokens[span] = item.tokens[start:stop]
        segment_ids[span] = segment
        positions[span] = np.arange(stop - start)
        loss_weights[span] = item.weights[start:stop]
        # Nothing in its segment predicts a piece's first token; the piece before did.
        loss_weights[at] = 0
        predicted = tokens[span][loss_weights[span] == 1]
        document_bytes.append(int(vocabulary.byte_lengths[predicted].sum()))
        at = span.stop
    return PackedSequence(
        tokens=tokens,
        segment_ids=segment_ids,
        positions=positions,
        loss_weights=loss_weights,
        document_ids=tuple(item.id for item, _, _ in pieces),
        document_languages=tuple(item.language for item, _, _ in pieces),
        document_bytes=tuple(document_bytes),
    )


def item_counts(item: Item, sequence_length: int) -> Counts:
    """What `item` has to add up to in the sequences, by language and in total."""
    length = len(item.tokens)
    counts: Counts = {
        "documents": 1,
        "split_documents": int(length > sequence_length + 1),
        "infilling_documents": int(item.infilling),
        "predicted_tokens": int(item.weights[1:].sum()),
        "text_bytes": item.text_bytes,
    }
    for name in ("documents", "predicted_tokens", "text_bytes"):
        counts[f"languages/{item.language}/{name}"] = counts[name]
    return counts


def sequence_counts(sequence: PackedSequence) -> Counts:
    """What one sequence really holds, under the names of `item_counts` and a few more."""
    counts: Counts = collections.Counter(
        sequences=1,
        segments=len(sequence.document_ids),
        padding_tokens=int((sequence.segment_ids == 0).sum()),
        tokens=len(sequence.tokens),
        predicted_tokens=int(sequence.loss_weights.sum()),
        text_bytes=sum(sequence.document_bytes),
    )
    predicted = np.bincount(
        sequence.segment_ids,
        weights=sequence.loss_weights,
        minlength=len(sequence.document_ids) + 1,
    )
    for segment, language in enumerate(sequence.document_languages):
        counts[f"languages/{language}/predicted_tokens"] += int(predicted[segment + 1])
        counts[f"languages/{language}/text_bytes"] += sequence.document_bytes[segment]
    return dict(counts)
