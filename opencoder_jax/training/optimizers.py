"""AdamW and Muon, without a learning rate in them.

The paper says nothing of its optimizer but the learning rate (docs/deviations.md), so
pretraining takes what Megatron-LM users take for such models (β 0.9 and 0.95, weight
decay 0.1, clipping at norm 1) and SFT takes what the authors' released script does
(β 0.9 and 0.999, no decay). Weight decay applies to every matrix, embeddings included,
and not to norm scales: Megatron-LM's rule, the paper's framework. Muon (`muon`) is for
experiments of one's own; the paper has none.

The learning rate is multiplied in by `step.py`: the optimizer's state has one form in
every phase, so annealing continues the state that pretraining left.
"""

import dataclasses
from typing import Any, Protocol

import jax
import optax

from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.training.muon import is_layer_matrix, orthogonalized, rms_scale

_MOMENT_DTYPES = ("float32", "bfloat16")


class Optimizer(Protocol):
    """Hyper-parameters that make an optax transformation."""

    def for_parameters(self, logical_axes: Any) -> optax.GradientTransformation:
        """Gradients to updates at learning rate 1.

        Args:
          logical_axes: tree of axis-name tuples, as the model gives it.
        """
        ...


@dataclasses.dataclass(frozen=True)
class AdamW:
    """Hyper-parameters of AdamW.

    Attributes:
      b1, b2: decay of the first and second moment.
      eps: added to the root of the second moment.
      weight_decay: decoupled, times the learning rate.
      max_grad_norm: the gradient is scaled down to this global norm.
      moment_dtype: of the first moment as it is kept; `bfloat16` saves two bytes a parameter.
    """

    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    moment_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 <= {name} < 1")
        require_positive(eps=self.eps, max_grad_norm=self.max_grad_norm)
        require_at_least(0, weight_decay=self.weight_decay)
        if self.moment_dtype not in _MOMENT_DTYPES:
            raise InputError(
                f"moment_dtype is {self.moment_dtype!r}, expected one of {_MOMENT_DTYPES}"
            )

    def for_parameters(self, logical_axes: Any) -> optax.GradientTransformation:
        """See `Optimizer`."""
        return self.transformation(decayed_parameters(logical_axes))

    def transformation(self, decayed: Any) -> optax.GradientTransformation:
        """Gradients to updates at learning rate 1.

        Args:
          decayed: tree of bool like the parameters, see `decayed_parameters`.
        """
        return optax.chain(
            optax.clip_by_global_norm(self.max_grad_norm),
            self.moments(),
            optax.add_decayed_weights(self.weight_decay, mask=decayed),
        )

    def moments(self) -> optax.GradientTransformation:
        """Adam's own part, between clipping and weight decay."""
        return optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps, mu_dtype=self.moment_dtype)


@dataclasses.dataclass(frozen=True)
class Muon:
    """Muon for the matrices of the layers, AdamW for embeddings and norms.

    Attributes:
      adamw: of the other parameters; clipping, weight decay and the dtype of the moment are
        taken from it for all.
      momentum: decay of the gradient's sum, with Nesterov's look-ahead (Jordan: 0.95).
      iterations: of Newton-Schulz (Jordan: 5).
      update_rms: root mean square of an update's elements at learning rate 1; at 0.2, about
        AdamW's (Moonlight), its learning rate and weight decay can stay.
    """

    adamw: AdamW
    momentum: float = 0.95
    iterations: int = 5
    update_rms: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}, expected 0 <= momentum < 1")
        require_at_least(1, iterations=self.iterations)
        require_positive(update_rms=self.update_rms)

    def for_parameters(self, logical_axes: Any) -> optax.GradientTransformation:
        """See `Optimizer`."""
        is_axes = lambda node: isinstance(node, tuple)  # noqa: E731
        labels = jax.tree.map(
            lambda axes: "muon" if is_layer_matrix(axes) else "adamw", logical_axes, is_leaf=is_axes
        )
        # Where AdamW has the parameter, partition leaves a hole: look the axes up by path.
        axes_at = dict(jax.tree_util.tree_leaves_with_path(logical_axes, is_leaf=is_axes))

        def update(path: Any, momentum: jax.Array) -> jax.Array:
            axes = axes_at[path]
            scale = rms_scale(momentum.shape, axes, self.update_rms)
            return scale * orthogonalized(momentum, axes, self.iterations)

        muon = optax.chain(
            optax.trace(self.momentum, nesterov=True, accumulator_dtype=self.adamw.moment_dtype),
            optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(update, updates)),
        )
        return optax.chain(
            optax.clip_by_global_norm(self.adamw.max_grad_norm),
            optax.partition({"muon": muon, "adamw": self.adamw.moments()}, labels),
            optax.add_decayed_weights(
                self.adamw.weight_decay, mask=decayed_parameters(logical_axes)
            ),
        )


def decayed_parameters(logical_axes: Any) -> Any:
    """True for matrices. `logical_axes`: tree of axis-name tuples, as the model gives it.

    The stacked `layers` axis does not count: a norm scale of every layer is no matrix.
    """
    return jax.tree.map(
        lambda axes: sum(axis != "layers" for axis in axes) >= 2,
        logical_axes,
        is_leaf=lambda node: isinstance(node, tuple),
    )
