"""Bits per byte on held-out text, for each language and in total.

The number of bits that the model needs for a byte of text it has not seen: the summed
negative log likelihood of the predicted tokens over ln 2, over the UTF-8 bytes that they
stand for. Unlike loss per token it compares models with different tokenizers. Held-out
sequences are packed as training's are, so every document is predicted whole, its end
included, inside its own segment. Token losses are summed in float64 by language in the
order of the records, so the same model on the same records gives the same digits.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from opencoder_jax.data.gathered_sets import set_folder
from opencoder_jax.data.packed_set import PackedSet, heldout_sequences, open_packed_set
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.packed import PackedSequence
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.model.transformer import Params, hidden_states, project_to_vocab
from opencoder_jax.progress import track

# Positions whose logits are held at once: [B, 64, V] instead of [B, S, V].
_POSITIONS_AT_ONCE = 64


@dataclasses.dataclass(slots=True)
class Score:
    """Sums over the documents of one language.

    Attributes:
      nats: negative log likelihood of all predicted tokens.
      tokens: how many were predicted.
      bytes: UTF-8 bytes of text that they stand for.
      segments: documents, or pieces of long ones.
    """

    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0
    segments: int = 0

    @property
    def bits_per_byte(self) -> float | None:
        """None where there is no text."""
        return self.nats / math.log(2) / self.bytes if self.bytes else None

    def add(self, other: "Score") -> None:
        self.nats += other.nats
        self.tokens += other.tokens
        self.bytes += other.bytes
        self.segments += other.segments

    def as_json(self) -> dict[str, Any]:
        return {"bits_per_byte": self.bits_per_byte, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class BitsPerByte:
    """The task: bits per byte on the held-out sides of packed sets.

    Attributes:
      packed_dir: folder with a packed set for each name.
      sets: names of the sets.
      batch_size: sequences a step; changes the speed, not the result.
      max_sequences: of each set, its first ones (they lie in hash order); None: all.
    """

    packed_dir: str
    sets: Sequence[str]
    batch_size: int = 8
    max_sequences: int | None = None

    name: ClassVar[str] = "bits_per_byte"

    def __post_init__(self) -> None:
        if not self.sets:
            raise InputError("BitsPerByte.sets is empty, expected names of packed sets")
        require_at_least(1, batch_size=self.batch_size)
        if self.max_sequences is not None:
            require_at_least(1, max_sequences=self.max_sequences)

    def settings(self) -> dict[str, Any]:
        return {"sets": list(self.sets), "max_sequences": self.max_sequences}

    def inputs(self) -> dict[str, str]:
        return {f"heldout {name}": self._open(name).fingerprint for name in self.sets}

    def run(self, model: LoadedModel, folder: Path) -> dict[str, Any]:
        """`{"sets": {name: {"total": score, "languages": {...}}}}`; no further file.

        Raises:
          InputError: a set was packed with another tokenizer, is longer than the model's
            context, or holds nothing back.
        """
        for name in self.sets:
            self._check_fits(self._open(name), model)
        return {"sets": {name: self._score_set(model, name) for name in self.sets}}

    def rows(self, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [
            (f"bits per byte, {name}", f"{result['total']['bits_per_byte']:.4f}")
            for name, result in results["sets"].items()
        ]

    def _open(self, name: str) -> PackedSet:
        return open_packed_set(self.packed_dir, name, "heldout")

    def _check_fits(self, heldout: PackedSet, model: LoadedModel) -> None:
        folder = set_folder(self.packed_dir, heldout.name)
        if heldout.tokenizer_fingerprint != model.tokenizer.fingerprint:
            raise InputError(
                f"{folder} was packed with tokenizer {heldout.tokenizer_fingerprint}, the model "
                f"has {model.tokenizer.fingerprint}; pack the set again with the model's tokenizer"
            )
        if heldout.sequence_length > model.config.max_length:
            raise InputError(
                f"{folder} has sequences of {heldout.sequence_length} tokens, the model takes "
                f"{model.config.max_length}; pack a set of that length for it"
            )
        if not heldout.num_records:
            raise InputError(
                f"{folder} holds nothing back; pack it with a larger HELDOUT_FRACTION, or leave "
                f"{heldout.name!r} out of BitsPerByte.sets"
            )

    def _score_set(self, model: LoadedModel, name: str) -> dict[str, Any]:
        sequences = list(
            itertools.islice(heldout_sequences(self.packed_dir, name), self.max_sequences)
        )
        with track(f"bits per byte on {name}", len(sequences), "sequences") as advance:
            scores = score_sequences(
                model.config, model.params, sequences, self.batch_size, advance
            )
        total = Score()
        for score in scores.values():
            total.add(score)
        return {
            "total": total.as_json(),
            "languages": {language: scores[language].as_json() for language in sorted(scores)},
        }


def score_sequences(
    config: TransformerConfig,
    params: Params,
    sequences: Sequence[PackedSequence],
    batch_size: int,
    advance: Callable[[int], object] = lambda count: None,
) -> dict[str, Score]:
    """Language to its sums over all `sequences`, which have one length.

    The last batch is filled up with padding, so one program serves all.
    """
    scores: dict[str, Score] = {}
    for rows in itertools.batched(sequences, batch_size):
        arrays = [
            _stacked(rows, batch_size, name) for name in ("tokens", "segment_ids", "positions")
        ]
        nats = np.asarray(token_nats(config, params, *arrays))
        for sequence, row in zip(rows, nats[: len(rows)], strict=True):
            add_segments(scores, sequence, row)
        advance(len(rows))
    return scores


@functools.partial(jax.jit, static_argnames="config")
def token_nats(
    config: TransformerConfig,
    params: Params,
    tokens: Int[Array, "B S+1"],
    segment_ids: Int[Array, "B S+1"],
    positions: Int[Array, "B S+1"],
) -> Float[Array, "B S"]:
    """Negative log likelihood, in nats, of each token but the first."""
    hidden_BSD = hidden_states(
        config, params, tokens[:, :-1], segment_ids[:, :-1], positions[:, :-1]
    )
    return nats_of_targets(config, params, hidden_BSD, tokens[:, 1:])


def nats_of_targets(
    config: TransformerConfig,
    params: Params,
    hidden_BSD: Float[Array, "B S D"],
    targets_BS: Int[Array, "B S"],
) -> Float[Array, "B S"]:
    """Negative log likelihood, in nats, of each target; logits of 64 positions at a time."""

    def at_position(inputs: tuple[Float[Array, "B D"], Int[Array, " B"]]) -> Float[Array, " B"]:
        hidden_BD, target_B = inputs
        logits_BV = project_to_vocab(config, params, hidden_BD)
        target_logits_B = jnp.take_along_axis(logits_BV, target_B[:, None], axis=1)[:, 0]
        return jax.nn.logsumexp(logits_BV, axis=1) - target_logits_B

    by_position = (hidden_BSD.swapaxes(0, 1), targets_BS.swapaxes(0, 1))
    return jax.lax.map(at_position, by_position, batch_size=_POSITIONS_AT_ONCE).swapaxes(0, 1)


def add_segments(scores: dict[str, Score], sequence: PackedSequence, nats: np.ndarray) -> None:
    """Adds one row: float[S] nats of the tokens 1..S to the languages of its segments."""
    predicted = sequence.loss_weights[1:] > 0
    segments = sequence.segment_ids[1:][predicted]
    count = len(sequence.document_languages)
    sums = np.bincount(segments, weights=nats[predicted].astype(np.float64), minlength=count + 1)
    tokens = np.bincount(segments, minlength=count + 1)
    for index, language in enumerate(sequence.document_languages):
        scores.setdefault(language, Score()).add(
            Score(
                nats=float(sums[index + 1]),
                tokens=int(tokens[index + 1]),
                bytes=sequence.document_bytes[index],
                segments=1,
            )
        )


def _stacked(rows: Sequence[PackedSequence], batch_size: int, name: str) -> np.ndarray:
    """int32[B, S+1] of the rows, padded with zeros (segment 0) to the batch size."""
    array = np.stack([getattr(row, name) for row in rows])
    return np.pad(array, ((0, batch_size - len(rows)), (0, 0)))
