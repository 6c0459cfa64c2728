"""Learning rates as functions of the step within a phase.

The paper's WSD schedule (MiniCPM's warm-up, stable, decay; paper §3.2) is two phases
here: pretraining is `WarmupStable`, annealing `ExponentialDecay` from the same peak, and
each is a run of its own on its own data. SFT is `WarmupCosine` (paper §4.3). A schedule
counts from the first step of its own phase; `step.py` shifts the global step.
They are dataclasses, not closures, so that a manifest can say which one made a model.
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import require_at_least, require_positive

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

    def __call__(self, step: Step) -> Float[Array, ""]:
        progress = jnp.clip(jnp.asarray(step, jnp.float32) / self.decay_steps, 0.0, 1.0)
        return self.peak * (self.final / self.peak) ** progress


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
