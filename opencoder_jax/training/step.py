"""One optimizer step over a mesh, compiled once.

The step is `jax.jit` with the shardings of parameters, optimizer state and batch written
out; XLA adds the collectives that they imply. The loss is a sum over all predicted
tokens of the global batch divided by their number, so neither the number of devices nor
of microbatches changes what a step computes (beyond the order of float additions).
Metrics leave the device as scalars with T5X's names. A step that is a spike, or no number,
leaves all but the count of steps as it was (`spikes`). Trace the steps (first call, or
`lower`) inside `Placement.activate`, where the model's sharding constraints take effect.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from opencoder_jax import sharding
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.packed import BATCH_KEYS
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training.fused_loss import loss_and_sums
from opencoder_jax.training.loss_of_device import check_chunk_length
from opencoder_jax.training.losses import LossSums
from opencoder_jax.training.optimizers import Optimizer
from opencoder_jax.training.schedules import Schedule
from opencoder_jax.training.spikes import SpikeConfig, SpikeState, judge

# Of each of T5X's keys int32[B, S]; with a mixture's sources, of `SOURCE_IDS` int32[B].
Batch = dict[str, Int[Array, "B ..."]]
Metrics = dict[str, Array]

SOURCE_IDS = "source_ids"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step changes.

    Attributes:
      step: int32[], how many steps have been made, counted across phases.
      params: nested dict of arrays, see `opencoder_jax.model.transformer`.
      opt_state: of `Optimizer.for_parameters`.
      spikes: `SpikeState`; None where no step is ever skipped.
    """

    step: Any
    params: Any
    opt_state: Any
    spikes: Any = None


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """What `train_step` computes; the recipe's numbers, and how it is split and reported.

    Attributes:
      model: dimensions.
      optimizer: its hyper-parameters.
      schedule: learning rate by step within the phase.
      first_step: global step at which the phase began.
      z_loss: factor of the squared log of the softmax's denominator (T5X's `z_loss`).
      loss_chunk_length: positions whose logits are in memory at a time.
      loss_vocab_blocks: 1, or parts of the vocabulary whose logits are in memory at a time, then
        of all positions: less memory for a fourth product with the table (`loss_of_device`).
      num_microbatches: parts that a batch is computed in, one after the other.
      spikes: which steps are skipped; None for none.
      sources: names of the mixture's sources, which a batch's `SOURCE_IDS` count in; each
        gets a loss of its own. Empty: batches have no `SOURCE_IDS`.
    """

    model: TransformerConfig
    optimizer: Optimizer
    schedule: Schedule
    first_step: int = 0
    z_loss: float = 0.0
    loss_chunk_length: int = 512
    loss_vocab_blocks: int = 1
    num_microbatches: int = 1
    spikes: SpikeConfig | None = None
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_at_least(
            1,
            num_microbatches=self.num_microbatches,
            loss_chunk_length=self.loss_chunk_length,
            loss_vocab_blocks=self.loss_vocab_blocks,
        )
        require_at_least(0, z_loss=self.z_loss)

    @classmethod
    def of_training(cls, settings: Mapping[str, Any]) -> Self:
        """The step that parameters of `opencoder_jax.train.train` ask for, by name.

        What is no part of a step is left aside; `first_step` and `sources`, which follow from
        checkpoint and data, stay as they are by default.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in settings.items() if name in names})


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
    window = SpikeState.fresh(config.spikes) if config.spikes else None
    return state_at(placement, config.first_step, params, opt_state, window)


def state_at(
    placement: Placement,
    step: int,
    params: Any,
    opt_state: Any,
    window: SpikeState | None = None,
) -> TrainState:
    """A state put together, e.g. from what a checkpoint gives."""
    replicated = sharding.replicated(placement.mesh)
    return TrainState(
        jax.device_put(np.int32(step), replicated),
        params,
        opt_state,
        jax.device_put(window, replicated),
    )


def abstract_state(config: StepConfig, placement: Placement) -> TrainState:
    """Shapes, dtypes and shardings of the state; no array is made."""
    params = transformer.abstract_params(config.model)
    state = TrainState(
        jax.ShapeDtypeStruct((), jnp.int32),
        params,
        jax.eval_shape(_transformation(config).init, params),
        _abstract_window(config),
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
        # A hole is a moment that this part of the optimizer does not keep.
        lambda moment, placed: moment if _is_hole(moment) else placed,
        abstract,
        params,
        transform_non_params=lambda _: replicated,
        is_leaf=_is_hole,
    )
    window = jax.tree.map(lambda _: replicated, _abstract_window(config))
    return TrainState(replicated, params, opt_state, window)


def batch_shardings(config: StepConfig, placement: Placement) -> dict[str, NamedSharding]:
    """A sharding for each array of a batch."""
    arrays = dict.fromkeys(BATCH_KEYS, sharding.batch_sharding(*placement))
    if config.sources:
        rows = placement.rules.spec(sharding.BATCH_AXES[:1])
        arrays[SOURCE_IDS] = NamedSharding(placement.mesh, rows)
    return arrays


def put_batch(placement: Placement, arrays: Mapping[str, np.ndarray]) -> Batch:
    """This host's rows of a batch, as parts of the global arrays [B, S] (or [B])."""

    def put(array: np.ndarray) -> Array:
        spec = placement.rules.spec(sharding.BATCH_AXES[: array.ndim])
        placed = NamedSharding(placement.mesh, spec)
        return jax.make_array_from_process_local_data(placed, array)

    return {name: put(array) for name, array in arrays.items()}


def make_train_step(config: StepConfig, placement: Placement) -> jax.stages.Wrapped:
    """`train_step(state, batch) -> (state, metrics)`, jitted.

    It takes the old state's memory: do not use that state again.
    """
    shardings = state_shardings(config, placement)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, (sums, by_source) = _gradient_sums(config, state.params, batch)
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
            **_source_metrics(config, by_source),
            "learning_rate": learning_rate,
            "learning/grad_norm": optax.tree.norm(grads),
            "learning/param_norm": optax.tree.norm(params),
        }
        new = TrainState(state.step + 1, params, opt_state, state.spikes)
        return _without_spike(config, state, new, metrics) if config.spikes else (new, metrics)

    return jax.jit(
        train_step,
        in_shardings=(shardings, batch_shardings(config, placement)),
        out_shardings=(shardings, sharding.replicated(placement.mesh)),
        donate_argnums=0,
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
    if config.loss_vocab_blocks == 1:
        check_chunk_length(config.loss_chunk_length, sequence_length)
    microbatch = (batch_size // config.num_microbatches, sequence_length)
    sharding.check_divides("microbatch", sharding.BATCH_AXES, microbatch, *placement)
    if sequence_length > config.model.max_length:
        raise InputError(
            f"sequences of {sequence_length} tokens, but the model's max_length is "
            f"{config.model.max_length}"
        )


def _without_spike(
    config: StepConfig, old: TrainState, new: TrainState, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    """`new`, or `old` with one more step and the reason counted."""
    assert config.spikes
    verdict = judge(
        config.spikes,
        old.spikes,
        metrics["loss_per_nonpadding_target_token"],
        metrics["learning/grad_norm"],
        metrics["learning/param_norm"],
    )

    def kept(new_tree: Any, old_tree: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(verdict.take, n, o), new_tree, old_tree)

    params = kept(new.params, old.params)
    state = TrainState(new.step, params, kept(new.opt_state, old.opt_state), verdict.state)
    return state, metrics | {"learning/param_norm": optax.tree.norm(params)} | verdict.metrics()


def _source_metrics(config: StepConfig, by_source: LossSums | None) -> Metrics:
    """Of each source in this batch; without a token in it, its loss is no number."""
    if by_source is None:
        return {}
    means = by_source.loss / by_source.weight
    return {
        f"{name}/{source}": values[i]
        for i, source in enumerate(config.sources)
        for name, values in (
            ("loss_per_nonpadding_target_token", means),
            ("nonpadding_target_tokens", by_source.weight),
        )
    }


def _abstract_window(config: StepConfig) -> SpikeState | None:
    fresh = SpikeState.fresh(config.spikes) if config.spikes else None
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), fresh)


def _is_hole(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _transformation(config: StepConfig) -> optax.GradientTransformation:
    return config.optimizer.for_parameters(transformer.logical_axes(config.model))


def hidden_states(config: StepConfig, params: Any, batch: Batch) -> Float[Array, "B S D"]:
    """The model's output on a batch, before the unembedding."""
    return transformer.hidden_states(
        config.model,
        params,
        batch["decoder_input_tokens"],
        batch["decoder_segment_ids"],
        batch["decoder_positions"],
    )


def loss_of_hidden(
    config: StepConfig, params: Any, hidden_BSD: Float[Array, "B S D"], batch: Batch
) -> tuple[Float[Array, ""], LossSums]:
    """What training minimizes, over the batch, and its parts, of each sequence."""
    return loss_and_sums(
        hidden_BSD,
        transformer.unembedding(config.model, params),
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        config.loss_chunk_length,
        config.z_loss,
        config.loss_vocab_blocks,
    )


def _loss(config: StepConfig, params: Any, batch: Batch) -> tuple[Float[Array, ""], LossSums]:
    return loss_of_hidden(config, params, hidden_states(config, params, batch), batch)


_Sums = tuple[LossSums, LossSums | None]


def _gradient_sums(config: StepConfig, params: Any, batch: Batch) -> tuple[Any, _Sums]:
    """Gradient of the summed loss, and the loss sums in all and by source, of all microbatches."""

    def objective(params: Any, batch: Batch) -> tuple[Float[Array, ""], _Sums]:
        loss, rows = _loss(config, params, batch)
        by_source = _by_source(config, rows, batch) if config.sources else None
        return loss, (rows.total(), by_source)

    # Cast here and not layer by layer, the layers' gradients lie in memory in the dtype in which
    # they are summed until the optimizer takes them. The numbers are the same.
    used = {**params, "layers": transformer.cast_matrices(config.model, params["layers"])}

    def gradient(batch: Batch) -> tuple[Any, _Sums]:
        grads, sums = jax.grad(objective, has_aux=True)(used, batch)
        return jax.tree.map(lambda grad, param: grad.astype(param.dtype), grads, params), sums

    if config.num_microbatches == 1:
        return gradient(batch)

    def add_microbatch(total: Any, microbatch: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(microbatch)), None

    # Every device keeps its own rows: microbatch m takes each device's m-th share.
    def split(x: Int[Array, "B ..."]) -> Int[Array, "M b ..."]:
        return jnp.moveaxis(x.reshape(-1, config.num_microbatches, *x.shape[1:]), 1, 0)

    microbatches = jax.tree.map(split, batch)
    first = jax.tree.map(lambda x: x[0], microbatches)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), jax.eval_shape(gradient, first))
    total, _ = jax.lax.scan(add_microbatch, zero, microbatches)
    return total


def _by_source(config: StepConfig, rows: LossSums, batch: Batch) -> LossSums:
    """Sums of sequences, float32[B], to sums of sources, float32[N]."""
    is_source_BN = batch[SOURCE_IDS][:, None] == jnp.arange(len(config.sources))
    return LossSums(*(jnp.sum(field[:, None], where=is_source_BN, axis=0) for field in rows))
