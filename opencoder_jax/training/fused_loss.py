"""The training loss with its gradient: taken together, part by part, each device by itself.

At the paper's sizes the logits of one sequence of 4096 are 1.6 GB in float32 (vocabulary
96,640), more than all other activations of a rematerialised step; so only a part of them is
ever held. Autodiff would compute each part again in the backward pass. Here a part's logits
give the loss and its gradients at once: the objective is a sum, so what the backward pass
brings is one factor. Under a mesh each device gathers the unembedding once and reduces its own
rows' gradient in float32 once, which a loop left to the compiler does for every part. What a
device does with its rows: `loss_of_device`. Reference twin: `losses.reference_cross_entropy`,
in tests/.../test_fused_loss.py.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from opencoder_jax.model.vocabulary_table import active_axes, over_devices
from opencoder_jax.training.loss_of_device import by_positions, by_words
from opencoder_jax.training.losses import LossSums

Arrays = tuple[Array, Array, Array, Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def loss_and_sums(
    hidden_BSD: Float[Array, "B S D"],
    unembedding_DV: Float[Array, "D V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
    chunk_length: int,
    z_loss: float,
    vocab_blocks: int = 1,
) -> tuple[Float[Array, ""], LossSums]:
    """What training minimizes, and what it consists of.

    Args:
      hidden_BSD: output of the final norm.
      unembedding_DV: as stored, taken to the dtype of `hidden_BSD`. Its gradient is summed
        over positions and devices in float32.
      targets_BS: the token after each position.
      weights_BS: 0 where the target is not to be predicted.
      chunk_length: positions of each sequence whose logits a device holds at a time.
      z_loss: factor of the z-loss in the objective.
      vocab_blocks: 1, or parts of the vocabulary of which a device holds the logits and the
        gradient at a time, then of all its positions: see `loss_of_device`.

    Returns:
      `sums.loss + z_loss * sums.z_loss` over the batch, and the sums of each sequence. Only the
      first has a gradient.

    Raises:
      InputError: `chunk_length` does not divide the positions of a device.
    """
    arrays = (hidden_BSD, unembedding_DV, targets_BS, weights_BS)
    sums, _ = _over_devices(arrays, chunk_length, z_loss, vocab_blocks, with_gradient=False)
    return _objective(sums, z_loss), sums


def _forward(
    hidden_BSD: Array,
    unembedding_DV: Array,
    targets_BS: Array,
    weights_BS: Array,
    chunk_length: int,
    z_loss: float,
    vocab_blocks: int,
) -> tuple[tuple[Array, LossSums], tuple[Array, Array]]:
    arrays = (hidden_BSD, unembedding_DV, targets_BS, weights_BS)
    sums, gradients = _over_devices(arrays, chunk_length, z_loss, vocab_blocks, with_gradient=True)
    hidden_gradient, unembedding_gradient = gradients
    gradients = hidden_gradient, unembedding_gradient.astype(unembedding_DV.dtype)
    return (_objective(sums, z_loss), sums), gradients


def _backward(
    chunk_length: int,
    z_loss: float,
    vocab_blocks: int,
    gradients: tuple[Array, Array],
    cotangents: tuple,
) -> tuple[Array, Array, None, None]:
    factor = cotangents[0]
    hidden, unembedding = (factor.astype(gradient.dtype) * gradient for gradient in gradients)
    return hidden, unembedding, None, None


loss_and_sums.defvjp(_forward, _backward)


def _objective(sums: LossSums, z_loss: float) -> Float[Array, ""]:
    return jnp.sum(sums.loss + z_loss * sums.z_loss)


def _over_devices(
    arrays: Arrays, chunk_length: int, z_loss: float, vocab_blocks: int, *, with_gradient: bool
) -> tuple[LossSums, tuple[Array, ...]]:
    """Sums of each sequence, and gradients of hidden states and (float32) of the unembedding."""
    hidden_BSD, unembedding_DV, targets_BS, weights_BS = arrays
    arrays = hidden_BSD, unembedding_DV.astype(hidden_BSD.dtype), targets_BS, weights_BS
    axes = active_axes()
    way: Callable = (
        functools.partial(by_words, blocks=vocab_blocks)
        if vocab_blocks > 1
        else functools.partial(by_positions, chunk_length=chunk_length)
    )
    of_device = functools.partial(way, axes, z_loss=z_loss, with_gradient=with_gradient)
    tokens = PartitionSpec(axes.batch, axes.length)
    unembedding = PartitionSpec(axes.embed, axes.vocab)
    gradients = (tokens, unembedding) if with_gradient else ()
    in_specs = (tokens, unembedding, tokens, tokens)
    out_specs = (PartitionSpec(axes.batch), gradients)
    return over_devices(of_device, in_specs, out_specs)(*arrays)
