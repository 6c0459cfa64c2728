"""Next-token cross-entropy: what is summed, and how a textbook sums it.

The sums are of each sequence, not means: over microbatches, devices or the sources of a
mixture they add up to the sum over all, and whoever reports divides once. Training computes
them with `fused_loss`, which never holds all logits; `reference_cross_entropy` does, and is
its twin in the tests.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class LossSums(NamedTuple):
    """Sums over target tokens: each float32[B], of a sequence, or float32[], of a batch.

    Attributes:
      loss: negative log-likelihood in nats, weighted.
      z_loss: squared log of the softmax's denominator, weighted (PaLM §5; not yet scaled).
      weight: loss weights, i.e. the number of predicted tokens.
      correct: weighted count of tokens that were the most likely one.
    """

    loss: Float[Array, "*B"]
    z_loss: Float[Array, "*B"]
    weight: Float[Array, "*B"]
    correct: Float[Array, "*B"]

    def total(self) -> "LossSums":
        """Of all sequences together, each float32[]."""
        return LossSums(*(jnp.sum(field) for field in self))

    @classmethod
    def of_positions(
        cls,
        log_z: Float[Array, "B S"],
        target_logits: Float[Array, "B S"],
        largest: Float[Array, "B S"],
        weights: Float[Array, "B S"],
    ) -> "LossSums":
        """Of each sequence.

        Args:
          log_z: log of the softmax's denominator.
          target_logits: of the target words.
          largest: the largest logit.
          weights: float32, of the targets.
        """
        return cls(
            loss=jnp.sum((log_z - target_logits) * weights, axis=-1),
            z_loss=jnp.sum(jnp.square(log_z) * weights, axis=-1),
            weight=jnp.sum(weights, axis=-1),
            correct=jnp.sum((target_logits >= largest) * weights, axis=-1),
        )


def reference_cross_entropy(
    hidden_BSD: Float[Array, "B S D"],
    unembedding_DV: Float[Array, "D V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
) -> LossSums:
    """Loss sums of each sequence from all logits at once; arguments as `fused_loss` has them."""
    logits = (hidden_BSD @ unembedding_DV.astype(hidden_BSD.dtype)).astype(jnp.float32)
    log_probabilities = jax.nn.log_softmax(logits)
    target = jnp.take_along_axis(log_probabilities, targets_BS[..., None], axis=-1)[..., 0]
    z = logits.max(-1) - log_probabilities.max(-1)
    correct = logits.argmax(-1) == targets_BS
    return LossSums(
        loss=-(target * weights_BS).sum(-1),
        z_loss=(z**2 * weights_BS).sum(-1),
        weight=weights_BS.sum(-1).astype(jnp.float32),
        correct=(correct * weights_BS).sum(-1).astype(jnp.float32),
    )
