"""Next-token cross-entropy that never holds the logits of a whole sequence.

At the paper's sizes the logits of one sequence of 4096 are 1.6 GB in float32
(vocabulary 96,640), more than all other activations of a rematerialised step. So the
last matmul, the softmax and their gradients run chunk by chunk over positions, each
chunk recomputed in the backward pass. What comes back are sums of each sequence, not
means: over microbatches, devices or the sources of a mixture they add up to the sum over
all. Devices have nothing to tell each other inside the loop over chunks either.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import InputError


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


def cross_entropy(
    hidden_BSD: Float[Array, "B S D"],
    unembedding_DV: Float[Array, "D V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
    chunk_length: int,
) -> LossSums:
    """Loss sums of each sequence, with logits of B x chunk_length positions at a time.

    Args:
      hidden_BSD: output of the final norm.
      unembedding_DV: taken to the dtype of `hidden_BSD`; logits are accumulated in float32.
      targets_BS: the token after each position.
      weights_BS: 0 where the target is not to be predicted.
      chunk_length: positions of each sequence in a chunk; must divide S.

    Raises:
      InputError: `chunk_length` does not divide S.
    """
    B, S, _ = hidden_BSD.shape
    chunk_length = check_chunk_length(chunk_length, S)
    chunks = S // chunk_length

    def chunked(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(B, chunks, chunk_length, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def add_chunk(sums: LossSums, chunk: tuple[Array, Array, Array]) -> tuple[LossSums, None]:
        return jax.tree.map(jnp.add, sums, _sums(unembedding_DV, *chunk)), None

    zero = LossSums(*[jnp.zeros(B, jnp.float32)] * len(LossSums._fields))
    parts = (chunked(hidden_BSD), chunked(targets_BS), chunked(weights_BS))
    sums, _ = jax.lax.scan(add_chunk, zero, parts)
    return sums


def check_chunk_length(chunk_length: int, length: int) -> int:
    """`chunk_length`, or `length` where that is shorter.

    Raises:
      InputError: it does not divide `length`.
    """
    chunk_length = min(chunk_length, length)
    if length % chunk_length:
        raise InputError(
            f"loss_chunk_length {chunk_length} does not divide the sequence length {length}; "
            f"take one of its divisors"
        )
    return chunk_length


def reference_cross_entropy(
    hidden_BSD: Float[Array, "B S D"],
    unembedding_DV: Float[Array, "D V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
) -> LossSums:
    """`cross_entropy` as one reads it in a textbook, all logits at once: its twin in tests."""
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


def _sums(
    unembedding_DV: Float[Array, "D V"],
    hidden_BSD: Float[Array, "B s D"],
    targets_BS: Int[Array, "B s"],
    weights_BS: Int[Array, "B s"],
) -> LossSums:
    logits = jnp.einsum(
        "BsD,DV->BsV",
        hidden_BSD,
        unembedding_DV.astype(hidden_BSD.dtype),
        preferred_element_type=jnp.float32,
    )
    log_z = jax.nn.logsumexp(logits, axis=-1)
    # A masked sum in place of a gather: its gradient is no scatter, and where the
    # vocabulary is sharded each device looks at its own part only.
    is_target = jnp.arange(logits.shape[-1]) == targets_BS[..., None]
    target_logits = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
    correct = target_logits >= jnp.max(logits, axis=-1)
    weights_BS = weights_BS.astype(jnp.float32)
    return LossSums(
        loss=jnp.sum((log_z - target_logits) * weights_BS, axis=-1),
        z_loss=jnp.sum(jnp.square(log_z) * weights_BS, axis=-1),
        weight=jnp.sum(weights_BS, axis=-1),
        correct=jnp.sum(correct * weights_BS, axis=-1),
    )
