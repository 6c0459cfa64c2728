"""One optimizer step over a mesh, compiled once.

The step is `jax.jit` with the shardings of parameters, optimizer state and batch written
out; XLA adds the collectives that they imply. The loss is a sum over all predicted
tokens of the global batch divided by their number, so neither the number of devices nor
of microbatches changes what a step computes (beyond the order of float additions).
Metrics leave the device as scalars with T5X's names. Trace the steps (first call, or
`lower`) inside `Placement.activate`, where the model's sharding constraints take effect.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from opencoder_jax import sharding
from opencoder_jax.errors import InputError
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training.fused_loss import loss_and_sums
from opencoder_jax.training.losses import LossSums
from opencoder_jax.training.optimizers import AdamW, decayed_parameters
from opencoder_jax.training.schedules import Schedule

Batch = dict[str, Int[Array, "B S"]]
Metrics = dict[str, Float[Array, ""]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step changes.

    Attributes:
      step: int32[], how many steps have been made, counted across phases.
      params: nested dict of arrays, see `opencoder_jax.model.transformer`.
      opt_state: of `AdamW.transformation`.
    """

    step: Any
    params: Any
    opt_state: Any


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """What `train_step` computes; every field is a number of the recipe but the last two.

    Attributes:
      model: dimensions.
      optimizer: AdamW's hyper-parameters.
      schedule: learning rate by step within the phase.
      first_step: global step at which the phase began.
      z_loss: factor of the squared log of the softmax's denominator (T5X's `z_loss`).
      loss_chunk_length: positions whose logits are in memory at a time.
      num_microbatches: parts that a batch is computed in, one after the other.
    """

    model: TransformerConfig
    optimizer: AdamW
    schedule: Schedule
    first_step: int = 0
    z_loss: float = 0.0
    loss_chunk_length: int = 512
    num_microbatches: int = 1


class Placement(NamedTuple):
    """Devices, and which logical axis lies along which axis of them."""

    mesh: sharding.AnyMesh
    rules: sharding.AxisRules = sharding.AxisRules()

    def activate(self) -> contextlib.AbstractContextManager[None]:
        return sharding.activate(self.mesh, self.rules)


def init_state(config: StepConfig, placement: Placement, seed: int) -> TrainState:
    """Fresh parameters and optimizer state, made on the devices that will hold them.

    The same seed gives the same numbers on any mesh.
    """
    key = jax.random.key(seed)
    params = jax.jit(
        lambda key: transformer.init_params(config.model, key),
        out_shardings=sharding.param_shardings(config.model, *placement),
    )(key)
    return fresh_state(config, placement, params)


def fresh_state(config: StepConfig, placement: Placement, params: Any) -> TrainState:
    """`params` with an optimizer that has seen nothing, at `config.first_step`."""
    shardings = state_shardings(config, placement)
    opt_state = jax.jit(_transformation(config).init, out_shardings=shardings.opt_state)(params)
    return state_at(placement, config.first_step, params, opt_state)


def state_at(placement: Placement, step: int, params: Any, opt_state: Any) -> TrainState:
    """A state put together, e.g. from what a checkpoint gives."""
    replicated = sharding.replicated(placement.mesh)
    return TrainState(jax.device_put(np.int32(step), replicated), params, opt_state)


def abstract_state(config: StepConfig, placement: Placement) -> TrainState:
    """Shapes, dtypes and shardings of the state; no array is made."""
    params = transformer.abstract_params(config.model)
    state = TrainState(
        jax.ShapeDtypeStruct((), jnp.int32),
        params,
        jax.eval_shape(_transformation(config).init, params),
    )
    return jax.tree.map(
        lambda leaf, placed: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed),
        state,
        state_shardings(config, placement),
    )


def state_shardings(config: StepConfig, placement: Placement) -> TrainState:
    """A `NamedSharding` for each array of the state; moments lie where their weights lie."""
    params = sharding.param_shardings(config.model, *placement)
    replicated = sharding.replicated(placement.mesh)
    abstract = jax.eval_shape(
        _transformation(config).init, transformer.abstract_params(config.model)
    )
    opt_state = optax.tree_map_params(
        _transformation(config),
        lambda _, placed: placed,
        abstract,
        params,
        transform_non_params=lambda _: replicated,
    )
    return TrainState(replicated, params, opt_state)


def put_batch(placement: Placement, arrays: Mapping[str, np.ndarray]) -> Batch:
    """This host's rows of a batch, as parts of the global arrays [B, S]."""
    placed = sharding.batch_sharding(*placement)
    return {
        name: jax.make_array_from_process_local_data(placed, array)
        for name, array in arrays.items()
    }


def make_train_step(config: StepConfig, placement: Placement) -> jax.stages.Wrapped:
    """`train_step(state, batch) -> (state, metrics)`, jitted.

    It takes the old state's memory: do not use that state again.
    """
    shardings = state_shardings(config, placement)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, sums = _gradient_sums(config, state.params, batch)
        tokens = jnp.maximum(sums.weight, 1.0)
        grads = jax.tree.map(lambda grad: grad / tokens, grads)
        updates, opt_state = _transformation(config).update(grads, state.opt_state, state.params)
        learning_rate = config.schedule(state.step - config.first_step)
        params = jax.tree.map(
            lambda param, update: param - (learning_rate * update).astype(param.dtype),
            state.params,
            updates,
        )
        metrics = loss_metrics(config, sums) | {
            "learning_rate": learning_rate,
            "learning/grad_norm": optax.tree.norm(grads),
            "learning/param_norm": optax.tree.norm(params),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return jax.jit(
        train_step,
        in_shardings=(shardings, sharding.batch_sharding(*placement)),
        out_shardings=(shardings, sharding.replicated(placement.mesh)),
        donate_argnums=0,
    )


def make_eval_step(config: StepConfig, placement: Placement) -> jax.stages.Wrapped:
    """`eval_step(params, batch) -> LossSums`, jitted."""

    def eval_step(params: Any, batch: Batch) -> LossSums:
        return _loss_sums(config, params, batch)

    return jax.jit(
        eval_step,
        in_shardings=(
            sharding.param_shardings(config.model, *placement),
            sharding.batch_sharding(*placement),
        ),
        out_shardings=sharding.replicated(placement.mesh),
    )


def loss_metrics(config: StepConfig, sums: LossSums) -> Metrics:
    """T5X's names: `loss` is a sum over target tokens, the others are means."""
    tokens = jnp.maximum(sums.weight, 1.0)
    return {
        "loss": sums.loss + config.z_loss * sums.z_loss,
        "loss_per_nonpadding_target_token": sums.loss / tokens,
        "z_loss_per_nonpadding_target_token": config.z_loss * sums.z_loss / tokens,
        "accuracy": sums.correct / tokens,
        "nonpadding_target_tokens": sums.weight,
    }


def check_sizes(
    config: StepConfig, placement: Placement, batch_size: int, sequence_length: int
) -> None:
    """Refuses a batch that the mesh and the microbatches cannot split, or the model take.

    Raises:
      InputError: with the numbers.
    """
    if batch_size % config.num_microbatches:
        raise InputError(
            f"num_microbatches {config.num_microbatches} does not divide the batch size "
            f"{batch_size}"
        )
    chunk_length = min(config.loss_chunk_length, sequence_length)
    if sequence_length % chunk_length:
        raise InputError(
            f"loss_chunk_length {chunk_length} does not divide the sequence length "
            f"{sequence_length}"
        )
    microbatch = (batch_size // config.num_microbatches, sequence_length)
    sharding.check_divides("microbatch", sharding.BATCH_AXES, microbatch, *placement)
    if sequence_length > config.model.max_length:
        raise InputError(
            f"sequences of {sequence_length} tokens, but the model's max_length is "
            f"{config.model.max_length}"
        )


def _transformation(config: StepConfig) -> optax.GradientTransformation:
    decayed = decayed_parameters(transformer.logical_axes(config.model))
    return config.optimizer.transformation(decayed)


def _loss_sums(config: StepConfig, params: Any, batch: Batch) -> LossSums:
    return _loss(config, params, batch)[1]


def _loss(config: StepConfig, params: Any, batch: Batch) -> tuple[Float[Array, ""], LossSums]:
    """What training minimizes, over the batch, and its parts."""
    hidden_BSD = transformer.hidden_states(
        config.model,
        params,
        batch["decoder_input_tokens"],
        batch["decoder_segment_ids"],
        batch["decoder_positions"],
    )
    return loss_and_sums(
        hidden_BSD,
        transformer.unembedding(config.model, params),
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        config.loss_chunk_length,
        config.z_loss,
    )


def _gradient_sums(config: StepConfig, params: Any, batch: Batch) -> tuple[Any, LossSums]:
    """Gradient of the summed loss, and the loss sums, over all microbatches."""

    def gradient(batch: Batch) -> tuple[Any, LossSums]:
        loss = functools.partial(_loss, config)
        grads, sums = jax.grad(loss, has_aux=True)(params, batch)
        return grads, sums

    if config.num_microbatches == 1:
        return gradient(batch)

    def add_microbatch(total: Any, microbatch: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(microbatch)), None

    # Every device keeps its own rows: microbatch m takes each device's m-th share.
    def split(x: Int[Array, "B S"]) -> Int[Array, "M b S"]:
        return jnp.moveaxis(x.reshape(-1, config.num_microbatches, x.shape[-1]), 1, 0)

    microbatches = jax.tree.map(split, batch)
    first = jax.tree.map(lambda x: x[0], microbatches)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), jax.eval_shape(gradient, first))
    total, _ = jax.lax.scan(add_microbatch, zero, microbatches)
    return total
