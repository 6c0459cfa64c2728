"""Which steps are not taken: those whose figures are no numbers, and spikes.

A step is judged inside the compiled program, from its loss per token and the norm of its
gradient, against the mean and the standard deviation over the last steps that were taken
(OLMo-core's `SkipStepOptimizer`: 128 steps, 6 standard deviations, no judgement before half
of them are there; arXiv 2501.00656 §3). Two things differ: a skipped step does not enter the
window, so one spike does not make room for the next; and norms are judged by their logarithm,
for small batches spread them over a multiple, and healthy steps would be skipped. A skipped
step leaves parameters and optimizer as they were, yet counts as a step: batch k stays the batch
of step k. The window is part of the training state and travels in the checkpoint, hence a
resumed run skips what it would have.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.errors import InputError, require_at_least, require_positive

# Why a step was skipped; where several hold, the first is counted.
REASONS = ("non_finite", "loss_spike", "grad_norm_spike")

# Of norms whose logarithm is taken; float32's smallest normal number is near.
_SMALLEST = 1e-37


@dataclasses.dataclass(frozen=True)
class SpikeConfig:
    """What is a spike.

    Attributes:
      window: taken steps that a step is compared with.
      sigmas: standard deviations above their mean that are still no spike, of losses and of
        logarithms of gradient norms.
      max_in_a_row: steps skipped one after the other after which the run stops.
    """

    window: int = 128
    sigmas: float = 6.0
    max_in_a_row: int = 16

    def __post_init__(self) -> None:
        require_at_least(4, window=self.window)
        require_positive(sigmas=self.sigmas)
        require_at_least(1, max_in_a_row=self.max_in_a_row)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpikeState:
    """The window, a ring of W = `SpikeConfig.window` places, and the counts.

    Attributes:
      losses: float32[W], nats per token of the steps taken.
      grad_norms: float32[W], norms of their gradients before clipping.
      taken: int32[], steps in the window and before; the next goes to place `taken` mod W.
      skipped: int32[3], steps skipped so far for each of `REASONS`.
      in_a_row: int32[], how many of the latest steps were skipped.
    """

    losses: Any
    grad_norms: Any
    taken: Any
    skipped: Any
    in_a_row: Any

    @classmethod
    def fresh(cls, config: SpikeConfig) -> "SpikeState":
        """Nothing seen yet, as numpy arrays."""
        return cls(
            losses=np.zeros(config.window, np.float32),
            grad_norms=np.zeros(config.window, np.float32),
            taken=np.int32(0),
            skipped=np.zeros(len(REASONS), np.int32),
            in_a_row=np.int32(0),
        )

    def forget(self) -> "SpikeState":
        """An empty window with the same counts: what comes next is other data."""
        return dataclasses.replace(self, taken=self.taken * 0)

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint's metadata; floats keep their last bit."""
        arrays = jax.device_get(self)
        return {
            field.name: getattr(arrays, field.name).tolist() for field in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, config: SpikeConfig, value: Mapping[str, Any]) -> "SpikeState":
        """The inverse of `to_json`, as numpy arrays.

        Raises:
          InputError: it is of another window.
        """
        fresh = cls.fresh(config)
        if len(value["losses"]) != config.window:
            raise InputError(
                f"SpikeConfig.window is {config.window}, the checkpoint's was "
                f"{len(value['losses'])}"
            )
        return cls(
            **{
                field.name: np.asarray(value[field.name], getattr(fresh, field.name).dtype)
                for field in dataclasses.fields(cls)
            }
        )


class Verdict(NamedTuple):
    """On one step.

    Attributes:
      take: whether to take it.
      state: with this step in it.
      loss_threshold, grad_norm_threshold: above which it would have been a spike; infinite
        while the window is not half full.
    """

    take: Bool[Array, ""]
    state: SpikeState
    loss_threshold: Float[Array, ""]
    grad_norm_threshold: Float[Array, ""]

    def metrics(self) -> dict[str, Array]:
        """Counts since the phase began, by reason too, and the thresholds."""
        skipped = self.state.skipped
        return {
            "skipped_steps": jnp.sum(skipped),
            **{f"skipped_steps/{reason}": skipped[i] for i, reason in enumerate(REASONS)},
            "skipped_steps/in_a_row": self.state.in_a_row,
            "spike_threshold/loss_per_nonpadding_target_token": self.loss_threshold,
            "spike_threshold/learning/grad_norm": self.grad_norm_threshold,
        }


def judge(
    config: SpikeConfig,
    state: SpikeState,
    loss: Float[Array, ""],
    grad_norm: Float[Array, ""],
    param_norm: Float[Array, ""],
) -> Verdict:
    """Whether to take a step.

    Args:
      config: what is a spike.
      state: of the steps before.
      loss: nats per token.
      grad_norm: before clipping.
      param_norm: of the parameters that the step would leave; an update that overflows
        them must not be taken either.
    """
    loss_threshold = _threshold(config, state.losses, state.taken)
    logs_W = jnp.log(jnp.maximum(state.grad_norms, _SMALLEST))
    grad_norm_threshold = jnp.exp(_threshold(config, logs_W, state.taken))
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & jnp.isfinite(param_norm)
    faults = jnp.stack([~finite, loss > loss_threshold, grad_norm > grad_norm_threshold])
    skip = jnp.any(faults)
    first = jnp.argmax(faults)
    here_W = ~skip & (jnp.arange(config.window) == state.taken % config.window)
    return Verdict(
        take=~skip,
        state=SpikeState(
            losses=jnp.where(here_W, loss, state.losses),
            grad_norms=jnp.where(here_W, grad_norm, state.grad_norms),
            taken=state.taken + jnp.where(skip, 0, 1),
            skipped=state.skipped + (skip & (jnp.arange(len(REASONS)) == first)),
            in_a_row=jnp.where(skip, state.in_a_row + 1, 0),
        ),
        loss_threshold=loss_threshold,
        grad_norm_threshold=grad_norm_threshold,
    )


def _threshold(
    config: SpikeConfig, values_W: Float[Array, " W"], taken: Int[Array, ""]
) -> Float[Array, ""]:
    """Mean plus `sigmas` sample standard deviations of the places that are filled."""
    count = jnp.minimum(taken, config.window)
    filled_W = jnp.arange(config.window) < count
    mean = jnp.sum(values_W, where=filled_W) / jnp.maximum(count, 1)
    variance = jnp.sum(jnp.square(values_W - mean), where=filled_W) / jnp.maximum(count - 1, 1)
    enough = count >= config.window // 2
    return jnp.where(enough, mean + config.sigmas * jnp.sqrt(variance), jnp.inf)
