"""Learning rates as functions of the step within a phase.

The paper's WSD schedule (MiniCPM's warm-up, stable, decay; paper §3.2) is two phases
here: pretraining is `WarmupStable`, annealing `ExponentialDecay` from the same peak, and
each is a run of its own on its own data; `WarmupStableDecay` is all of it in one run. SFT
is `WarmupCosine` (paper §4.3). A schedule counts from the first step of its own phase;
`step.py` shifts the global step.
They are dataclasses, not closures, so that a manifest can say which one made a model.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import InputError, require_at_least, require_positive

Step = int | Int[Array, ""]


class Schedule(Protocol):
    """Learning rate of the update that takes a phase from `step` to `step + 1`."""

    def __call__(self, step: Step) -> Float[Array, ""]: ...


@dataclasses.dataclass(frozen=True)
class WarmupStable:
    """Linear warm-up to `peak`, then constant; `warmup_steps=0` is constant from the start."""

    peak: float
    warmup_steps: int

    def __post_init__(self) -> None:
        require_positive(peak=self.peak)
        require_at_least(0, warmup_steps=self.warmup_steps)

    def __call__(self, step: Step) -> Float[Array, ""]:
        return self.peak * _warmup(step, self.warmup_steps)


@dataclasses.dataclass(frozen=True)
class ExponentialDecay:
    """From `peak` at step 0 by a constant factor a step to `final` at `decay_steps`."""

    peak: float
    final: float
    decay_steps: int

    def __post_init__(self) -> None:
        require_positive(peak=self.peak, final=self.final)
        require_at_least(1, decay_steps=self.decay_steps)
        if self.final > self.peak:
            raise InputError(f"final is {self.final}, above the peak {self.peak}")

    def __call__(self, step: Step) -> Float[Array, ""]:
        progress = jnp.clip(jnp.asarray(step, jnp.float32) / self.decay_steps, 0.0, 1.0)
        return self.peak * (self.final / self.peak) ** progress


# Progress of the decay (0 to 1), peak and final to the learning rate.
_DECAYS: dict[str, Callable[[Array, float, float], Array]] = {
    # A constant factor a step: the paper's, as ours reads it (docs/deviations.md).
    "exponential": lambda p, peak, final: peak * (final / peak) ** p,
    "linear": lambda p, peak, final: peak + (final - peak) * p,
    # Best of those that Hägele et al. tried (arXiv 2405.18392 §3).
    "one_minus_sqrt": lambda p, peak, final: peak + (final - peak) * jnp.sqrt(p),
    "cosine": lambda p, peak, final: final + (peak - final) * 0.5 * (1 + jnp.cos(jnp.pi * p)),
}


@dataclasses.dataclass(frozen=True)
class WarmupStableDecay:
    """WSD in one run: `stable`, then in the last `decay_steps` down to `final`.

    Attributes:
      stable: warm-up and peak.
      final: learning rate at `total_steps`.
      decay_steps: length of the decay.
      total_steps: of the phase, `TRAIN_STEPS`.
      decay: `exponential`, `linear`, `one_minus_sqrt` or `cosine`.
    """

    stable: WarmupStable
    final: float
    decay_steps: int
    total_steps: int
    decay: str = "exponential"

    def __post_init__(self) -> None:
        if self.decay not in _DECAYS:
            raise InputError(f"decay is {self.decay!r}, expected one of {', '.join(_DECAYS)}")
        require_at_least(1, decay_steps=self.decay_steps)
        if self.decay == "exponential":
            require_positive(final=self.final)
        require_at_least(0, final=self.final)
        if self.final > self.stable.peak:
            raise InputError(f"final is {self.final}, above the peak {self.stable.peak}")
        if self.stable.warmup_steps + self.decay_steps > self.total_steps:
            raise InputError(
                f"warmup_steps {self.stable.warmup_steps} and decay_steps {self.decay_steps} are "
                f"more than total_steps {self.total_steps}"
            )

    def __call__(self, step: Step) -> Float[Array, ""]:
        begin = self.total_steps - self.decay_steps
        after = (jnp.asarray(step, jnp.float32) - begin) / self.decay_steps
        decayed = _DECAYS[self.decay](jnp.clip(after, 0.0, 1.0), self.stable.peak, self.final)
        return jax.lax.select(after < 0, self.stable(step), decayed)


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up to `peak`, then half a cosine down to 0 at `total_steps`."""

    peak: float
    warmup_steps: int
    total_steps: int

    def __post_init__(self) -> None:
        require_positive(peak=self.peak)
        require_at_least(0, warmup_steps=self.warmup_steps)
        require_at_least(1, total_steps=self.total_steps)

    def __call__(self, step: Step) -> Float[Array, ""]:
        length = max(1, self.total_steps - self.warmup_steps)
        after = jnp.asarray(step, jnp.float32) - self.warmup_steps
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(after / length, 0.0, 1.0)))
        return self.peak * jax.lax.select(after < 0, _warmup(step, self.warmup_steps), cosine)


def _warmup(step: Step, warmup_steps: int) -> Float[Array, ""]:
    """(step + 1) / warmup_steps up to 1: the very first update already moves something."""
    done = jnp.asarray(step, jnp.float32) + 1.0
    return jnp.minimum(done / max(1, warmup_steps), 1.0)
