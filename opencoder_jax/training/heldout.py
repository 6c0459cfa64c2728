"""Evaluation in the loop: loss and bits per byte of held-out sequences, on the training mesh.

Always the same sequences, the first ones of each set in the order of their records (they lie
in hash order), each once; so bits per byte are those that `opencoder_jax.evaluate` gives for
the same parameters and as many sequences, language by language, up to rounding. One pass over
the layers serves the loss and the single tokens' likelihoods. Next: `evaluation/bits_per_byte`.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from opencoder_jax import sharding
from opencoder_jax.data.dataset import Dataset, DatasetConfig
from opencoder_jax.data.packed_set import sequences
from opencoder_jax.evaluation.bits_per_byte import Score, add_segments, nats_of_targets
from opencoder_jax.formats.packed import PackedSequence, features
from opencoder_jax.training import step
from opencoder_jax.training.losses import LossSums

Sequences = tuple[PackedSequence, ...]


def open_heldout(config: DatasetConfig, placement: step.Placement) -> Dataset:
    """The held-out sets, checked before anything is trained.

    Raises:
      InputError: as `Dataset`, or the mesh does not divide a batch.
    """
    dataset = Dataset(config)
    shape = (config.batch_size, dataset.sequence_length)
    sharding.check_divides("held-out batch", sharding.BATCH_AXES, shape, *placement)
    return dataset


def heldout_metrics(
    config: step.StepConfig,
    placement: step.Placement,
    dataset: Dataset,
    eval_steps: int,
) -> Callable[[Any], dict[str, float]]:
    """Parameters to held-out figures.

    Args:
      config: of the training step.
      placement: of the parameters.
      dataset: see `open_heldout`.
      eval_steps: batches in all; the sets have equal parts of their eval_steps x B sequences.

    Returns:
      A function of parameters that gives T5X's metrics of the loss, `bits_per_byte`, and
      `bits_per_byte/<language>` where the language has text.
    """
    evaluate = _make_evaluate(config, placement)
    batch_size = dataset.config.batch_size
    count = -(-eval_steps * batch_size // len(dataset.names))

    def metrics(params: Any) -> dict[str, float]:
        sums: list[LossSums] = []
        scores: dict[str, Score] = {}
        # A batch is read while the devices compute the one before.
        waiting: tuple[Sequences, Array] | None = None
        for rows in _batches(dataset, count):
            batch = _put(placement, rows, batch_size)
            batch_sums, nats = evaluate(params, batch)
            sums.append(batch_sums)
            if waiting:
                _add(scores, *waiting)
            waiting = rows, nats
        if waiting:
            _add(scores, *waiting)
        total = LossSums(*(sum(parts[1:], start=parts[0]) for parts in zip(*sums, strict=True)))
        loss = {name: float(value) for name, value in step.loss_metrics(config, total).items()}
        return loss | bits_per_byte_metrics(scores)

    return metrics


def bits_per_byte_metrics(scores: Mapping[str, Score]) -> dict[str, float]:
    """Of all languages together, and of each that has text."""
    total = Score()
    for score in scores.values():
        total.add(score)
    named = {
        "bits_per_byte": total,
        **{f"bits_per_byte/{language}": scores[language] for language in sorted(scores)},
    }
    values = {name: score.bits_per_byte for name, score in named.items()}
    return {name: value for name, value in values.items() if value is not None}


def _make_evaluate(config: step.StepConfig, placement: step.Placement) -> jax.stages.Wrapped:
    """`evaluate(params, batch) -> (LossSums of the batch, nats float32[B, S])`, jitted."""

    def evaluate(params: Any, batch: step.Batch) -> tuple[LossSums, Float[Array, "B S"]]:
        hidden_BSD = step.hidden_states(config, params, batch)
        nats_BS = nats_of_targets(config.model, params, hidden_BSD, batch["decoder_target_tokens"])
        _, sums = step.loss_of_hidden(config, params, hidden_BSD, batch)
        return sums.total(), nats_BS

    shardings = {key: sharding.batch_sharding(*placement) for key in step.BATCH_KEYS}
    return jax.jit(
        evaluate,
        in_shardings=(sharding.param_shardings(config.model, *placement), shardings),
        # Every host adds up all tokens: B x S numbers a batch.
        out_shardings=sharding.replicated(placement.mesh),
    )


def _batches(dataset: Dataset, count: int) -> Iterator[Sequences]:
    """The first `count` sequences of each set, B at a time; the last batch may be smaller."""
    sets = (dataset.sets[name] for name in dataset.names)
    first = (itertools.islice(sequences(packed_set), count) for packed_set in sets)
    return itertools.batched(itertools.chain.from_iterable(first), dataset.config.batch_size)


def _put(placement: step.Placement, rows: Sequences, batch_size: int) -> step.Batch:
    """Rows as global arrays, filled up with padding; every host has all of them at hand."""
    arrays = [features(row) for row in rows]
    placed = sharding.batch_sharding(*placement)

    def put(name: str) -> Array:
        array = np.stack([row[name] for row in arrays])
        array = np.pad(array, ((0, batch_size - len(rows)), (0, 0)))
        return jax.make_array_from_callback(array.shape, placed, lambda index: array[index])

    return {name: put(name) for name in step.BATCH_KEYS}


def _add(scores: dict[str, Score], rows: Sequences, nats_BS: Array) -> None:
    for row, nats_S in zip(rows, np.asarray(nats_BS), strict=False):
        add_segments(scores, row, nats_S)
