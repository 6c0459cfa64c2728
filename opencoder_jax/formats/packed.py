"""One training sequence as a record: the only thing that the trainer reads.

Packing is offline (docs/data.md): a record holds exactly S+1 tokens, so inputs are
`tokens[:-1]` and targets `tokens[1:]`. Several documents share a record; segment ids
keep attention and loss inside each. Who they were travels with them, so per-language
evaluation and "where did this batch come from" need no other file.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from opencoder_jax.formats.example import RecordError, decode_example, encode_example
from opencoder_jax.formats.wire import int64_lists


@dataclasses.dataclass(frozen=True, slots=True)
class PackedSequence:
    """S+1 tokens of one or more documents.

    Attributes:
      tokens: int32[S+1], padded with the tokenizer's pad id.
      segment_ids: int32[S+1], 1, 2, ... a piece of a document each; 0 is padding.
      positions: int32[S+1], from 0 at the start of each piece; 0 in padding.
      loss_weights: int32[S+1], 1 where the token is to be predicted, 0 for prompts, for
        padding and for the first token of a piece (nothing in its segment predicts it).
      document_ids: of each segment, in order of segment id.
      document_languages: of each segment.
      document_bytes: UTF-8 bytes of text that each segment's predicted tokens stand for.
    """

    tokens: np.ndarray
    segment_ids: np.ndarray
    positions: np.ndarray
    loss_weights: np.ndarray
    document_ids: tuple[str, ...]
    document_languages: tuple[str, ...]
    document_bytes: tuple[int, ...]


ARRAYS = ("tokens", "segment_ids", "positions", "loss_weights")


# T5X's names of what a decoder is trained on.
BATCH_KEYS = (
    "decoder_input_tokens",
    "decoder_target_tokens",
    "decoder_loss_weights",
    "decoder_segment_ids",
    "decoder_positions",
)


def features(sequence: PackedSequence) -> dict[str, np.ndarray]:
    """int32[S] of each of `BATCH_KEYS`, see `features_of`."""
    return features_of({name: getattr(sequence, name) for name in ARRAYS})


def features_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """int32[..., S] of each of `BATCH_KEYS` from int32[..., S+1] of each of `ARRAYS`.

    Inputs are all tokens but the last, targets all but the first, each target with its own
    weight; segments and positions are the inputs'.
    """
    return {
        "decoder_input_tokens": arrays["tokens"][..., :-1],
        "decoder_target_tokens": arrays["tokens"][..., 1:],
        "decoder_loss_weights": arrays["loss_weights"][..., 1:],
        "decoder_segment_ids": arrays["segment_ids"][..., :-1],
        "decoder_positions": arrays["positions"][..., :-1],
    }


def encode_packed(sequence: PackedSequence) -> bytes:
    return encode_example(
        {
            **{name: getattr(sequence, name) for name in ARRAYS},
            "document_ids": sequence.document_ids,
            "document_languages": sequence.document_languages,
            "document_bytes": sequence.document_bytes,
        }
    )


def decode_arrays(record: bytes) -> dict[str, np.ndarray]:
    """int32[S+1] of each of `ARRAYS`: all of a record that training needs, and fast.

    Raises:
      RecordError: an array is missing, its values are no int32, or the arrays differ in length.
    """
    arrays = int64_lists(record, ARRAYS)
    if arrays is None:
        arrays = _arrays(decode_example(record))
    return _of_one_length(arrays)


def decode_packed(record: bytes) -> PackedSequence:
    """The packed sequence in a serialized `tf.train.Example`.

    Raises:
      RecordError: a feature is missing, or the arrays differ in length.
    """
    stored = decode_example(record)
    missing = [f.name for f in dataclasses.fields(PackedSequence) if f.name not in stored]
    if missing:
        raise RecordError(f"packed record without {missing} (has {sorted(stored)})")
    return PackedSequence(
        **_of_one_length(_arrays(stored)),
        document_ids=tuple(v.decode("utf-8") for v in stored["document_ids"]),
        document_languages=tuple(v.decode("utf-8") for v in stored["document_languages"]),
        document_bytes=tuple(stored["document_bytes"]),
    )


def _arrays(stored: Mapping[str, list]) -> dict[str, np.ndarray]:
    missing = [name for name in ARRAYS if name not in stored]
    if missing:
        raise RecordError(f"packed record without {missing} (has {sorted(stored)})")
    try:
        return {name: np.asarray(stored[name], dtype=np.int32) for name in ARRAYS}
    except (ValueError, OverflowError) as error:
        raise RecordError(f"packed record whose values are no int32: {error}") from error


def _of_one_length(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise RecordError(f"packed record whose arrays differ in length: {lengths}")
    return arrays
