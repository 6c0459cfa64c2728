"""AdamW, without a learning rate in it.

The paper says nothing of its optimizer but the learning rate (docs/deviations.md), so
pretraining takes what Megatron-LM users take for such models (β 0.9 and 0.95, weight
decay 0.1, clipping at norm 1) and SFT takes what the authors' released script does
(β 0.9 and 0.999, no decay). Weight decay applies to every matrix, embeddings included,
and not to norm scales: Megatron-LM's rule, the paper's framework.

The learning rate is multiplied in by `step.py`: the optimizer's state has one form in
every phase, so annealing continues the state that pretraining left.
"""

import dataclasses
from typing import Any

import jax
import optax

from opencoder_jax.errors import InputError, require_at_least, require_positive


@dataclasses.dataclass(frozen=True)
class AdamW:
    """Hyper-parameters of AdamW.

    Attributes:
      b1, b2: decay of the first and second moment.
      eps: added to the root of the second moment.
      weight_decay: decoupled, times the learning rate.
      max_grad_norm: the gradient is scaled down to this global norm.
    """

    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 <= {name} < 1")
        require_positive(eps=self.eps, max_grad_norm=self.max_grad_norm)
        require_at_least(0, weight_decay=self.weight_decay)

    def transformation(self, decayed: Any) -> optax.GradientTransformation:
        """Gradients to updates at learning rate 1.

        Args:
          decayed: tree of bool like the parameters, see `decayed_parameters`.
        """
        return optax.chain(
            optax.clip_by_global_norm(self.max_grad_norm),
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.add_decayed_weights(self.weight_decay, mask=decayed),
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
