"""A model of a few thousand parameters, its batches and its steps."""

import functools
from typing import Any

import jax
import numpy as np

from opencoder_jax import sharding
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training import optimizers, schedules, step
from opencoder_jax.training.losses import LossSums

VOCAB = 64
MODEL = TransformerConfig(
    vocab_size=VOCAB,
    num_layers=2,
    emb_dim=16,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=32,
    rope_theta=10000.0,
    max_length=64,
    dtype="float32",
)
CONFIG = step.StepConfig(
    MODEL,
    optimizers.AdamW(),
    schedules.WarmupStable(peak=1e-2, warmup_steps=2),
    z_loss=1e-3,
    loss_chunk_length=8,
)


def placement(data: int = 1, fsdp: int = 1, tensor: int = 1) -> step.Placement:
    """A mesh over as many of the eight virtual devices as it needs."""
    shape = (data, fsdp, tensor)
    devices = np.array(jax.devices()[: data * fsdp * tensor]).reshape(shape)
    axis_types = (jax.sharding.AxisType.Auto,) * 3
    return step.Placement(jax.sharding.Mesh(devices, sharding.MESH_AXES, axis_types=axis_types))


def packed_batch(documents: list[list[np.ndarray]], length: int) -> dict[str, np.ndarray]:
    """One row for each list of documents, packed one after the other and padded."""
    rows = []
    for row in documents:
        tokens, segments, positions, weights = ([] for _ in range(4))
        for segment, document in enumerate(row, start=1):
            tokens += list(document)
            segments += [segment] * len(document)
            positions += range(len(document))
            weights += [0] + [1] * (len(document) - 1)
        padding = length + 1 - len(tokens)
        arrays = [tokens, segments, positions, weights]
        rows.append([np.array(a + [0] * padding, np.int32) for a in arrays])
    tokens, segments, positions, weights = (np.stack(column) for column in zip(*rows, strict=True))
    return {
        "decoder_input_tokens": tokens[:, :-1],
        "decoder_target_tokens": tokens[:, 1:],
        "decoder_loss_weights": weights[:, 1:],
        "decoder_segment_ids": segments[:, :-1],
        "decoder_positions": positions[:, :-1],
    }


def random_documents(seed: int, lengths: list[int]) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(4, VOCAB, size) for size in lengths]


def random_batch(seed: int, rows: int = 8, length: int = 16) -> dict[str, np.ndarray]:
    """Rows of two documents each."""
    first = 3 + seed % 5
    lengths = [first, length + 1 - first]
    return packed_batch([random_documents(seed * rows + i, lengths) for i in range(rows)], length)


@functools.cache
def _host_state() -> step.TrainState:
    where = placement()
    with where.activate():  # Whatever mesh is active where it is wanted first.
        return jax.device_get(step.init_state(CONFIG, where, seed=0))


def initial_state(config: step.StepConfig, where: step.Placement) -> step.TrainState:
    """The same numbers every time; compiling their initializers takes seconds."""
    return jax.device_put(_host_state(), step.state_shardings(config, where))


@functools.cache
def train_step(config: step.StepConfig, where: step.Placement) -> Any:
    """The compiled step; tests of one configuration and mesh share it."""
    return step.make_train_step(config, where)


@functools.cache
def _losses(config: step.StepConfig) -> Any:
    def losses(params: Any, batch: step.Batch) -> LossSums:
        return step.loss_of_hidden(
            config, params, step.hidden_states(config, params, batch), batch
        )[1]

    return jax.jit(losses)


def losses(config: step.StepConfig, params: Any, batch: dict[str, np.ndarray]) -> LossSums:
    """Of each sequence of a batch, as a step sums them."""
    return jax.device_get(_losses(config)(params, batch))


def trained(
    config: step.StepConfig, where: step.Placement, steps: int
) -> tuple[step.TrainState, list[dict[str, float]]]:
    """The state after `steps` steps of random batches, and the figures of each."""
    figures = []
    with where.activate():
        state = initial_state(config, where)
        for k in range(steps):
            batch = step.put_batch(where, random_batch(k))
            state, metrics = train_step(config, where)(state, batch)
            figures.append({name: float(value) for name, value in metrics.items()})
    return state, figures
