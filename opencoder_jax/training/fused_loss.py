"""The training loss with its gradient: taken together, chunk by chunk, each device by itself.

At the paper's sizes the logits of one sequence of 4096 are 1.6 GB in float32 (vocabulary
96,640), more than all other activations of a rematerialised step; so only a chunk of them is
ever held. Recomputing them in the backward pass would take a fourth product with the
unembedding. Here each chunk's logits give the loss and its gradients at once: the objective
is a sum, so what the backward pass brings is one factor. Under a mesh each device
gathers the unembedding once, adds up its own rows' gradient in float32 over all chunks, and
takes part in one reduce-scatter of it, which a loop left to the compiler does for every
chunk. Reference twin: `losses.reference_cross_entropy`, in tests/.../test_fused_loss.py.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import InputError
from opencoder_jax.model.vocabulary_table import (
    TableAxes,
    active_axes,
    gather,
    over_devices,
    scatter,
)
from opencoder_jax.training.losses import LossSums

Arrays = tuple[Array, Array, Array, Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def loss_and_sums(
    hidden_BSD: Float[Array, "B S D"],
    unembedding_DV: Float[Array, "D V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
    chunk_length: int,
    z_loss: float,
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

    Returns:
      `sums.loss + z_loss * sums.z_loss` over the batch, and the sums of each sequence. Only the
      first has a gradient.

    Raises:
      InputError: `chunk_length` does not divide the positions of a device.
    """
    arrays = (hidden_BSD, unembedding_DV, targets_BS, weights_BS)
    sums, _ = _over_devices(arrays, chunk_length, z_loss, with_gradient=False)
    return _objective(sums, z_loss), sums


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


def _forward(
    hidden_BSD: Array,
    unembedding_DV: Array,
    targets_BS: Array,
    weights_BS: Array,
    chunk_length: int,
    z_loss: float,
) -> tuple[tuple[Array, LossSums], tuple[Array, Array]]:
    arrays = (hidden_BSD, unembedding_DV, targets_BS, weights_BS)
    sums, gradients = _over_devices(arrays, chunk_length, z_loss, with_gradient=True)
    hidden_gradient, unembedding_gradient = gradients
    gradients = hidden_gradient, unembedding_gradient.astype(unembedding_DV.dtype)
    return (_objective(sums, z_loss), sums), gradients


def _backward(
    chunk_length: int, z_loss: float, gradients: tuple[Array, Array], cotangents: tuple
) -> tuple[Array, Array, None, None]:
    factor = cotangents[0]
    hidden, unembedding = (factor.astype(gradient.dtype) * gradient for gradient in gradients)
    return hidden, unembedding, None, None


loss_and_sums.defvjp(_forward, _backward)


def _objective(sums: LossSums, z_loss: float) -> Float[Array, ""]:
    return jnp.sum(sums.loss + z_loss * sums.z_loss)


def _over_devices(
    arrays: Arrays, chunk_length: int, z_loss: float, *, with_gradient: bool
) -> tuple[LossSums, tuple[Array, ...]]:
    """Sums of each sequence, and gradients of hidden states and (float32) of the unembedding."""
    hidden_BSD, unembedding_DV, targets_BS, weights_BS = arrays
    arrays = hidden_BSD, unembedding_DV.astype(hidden_BSD.dtype), targets_BS, weights_BS
    axes = active_axes()
    of_device: Callable = functools.partial(
        _of_device, axes, chunk_length=chunk_length, z_loss=z_loss, with_gradient=with_gradient
    )
    tokens = PartitionSpec(axes.batch, axes.length)
    unembedding = PartitionSpec(axes.embed, axes.vocab)
    gradients = (tokens, unembedding) if with_gradient else ()
    in_specs = (tokens, unembedding, tokens, tokens)
    out_specs = (PartitionSpec(axes.batch), gradients)
    return over_devices(of_device, in_specs, out_specs)(*arrays)


def _of_device(
    axes: TableAxes,
    hidden_BSD: Array,
    unembedding_dV: Array,
    targets_BS: Array,
    weights_BS: Array,
    *,
    chunk_length: int,
    z_loss: float,
    with_gradient: bool,
) -> tuple[LossSums, tuple[Array, ...]]:
    """`_over_devices` as one device runs it on its own rows and part of the vocabulary."""
    B, S, D = hidden_BSD.shape
    V = unembedding_dV.shape[1]
    chunk_length = check_chunk_length(chunk_length, S)
    first_word = jax.lax.axis_index(axes.vocab) * V if axes.vocab else 0
    # Gathered, it lies as the embedding does; where nothing is gathered it stays as it is.
    turned = bool(axes.embed)
    table = gather(unembedding_dV.T, axes) if turned else unembedding_dV
    letters = "VD" if turned else "DV"
    places = jnp.arange(table.shape[0 if turned else 1])
    words = jnp.where(places < V, first_word + places, -1)

    def over_vocabulary(reduce: Callable, x: Array) -> Array:
        return reduce(x, axes.vocab) if axes.vocab else x

    def add_chunk(
        carry: tuple[LossSums, tuple[Array, ...]], chunk: tuple[Array, Array, Array]
    ) -> tuple[tuple[LossSums, tuple[Array, ...]], tuple[Array, ...]]:
        sums, gradients = carry
        hidden, targets, weights = chunk
        logits = jnp.einsum(
            f"BsD,{letters}->BsV", hidden, table, preferred_element_type=jnp.float32
        )
        if places.size > V:
            logits = jnp.where(places < V, logits, -jnp.inf)
        weights = weights.astype(jnp.float32)
        # A masked sum in place of a gather: each device looks at its own words only.
        is_target = words == targets[..., None]
        largest = over_vocabulary(jax.lax.pmax, jnp.max(logits, axis=-1))
        total = jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)
        log_z = largest + jnp.log(over_vocabulary(jax.lax.psum, total))
        target_logits = over_vocabulary(
            jax.lax.psum, jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
        )
        chunk_sums = LossSums(
            loss=jnp.sum((log_z - target_logits) * weights, axis=-1),
            z_loss=jnp.sum(jnp.square(log_z) * weights, axis=-1),
            weight=jnp.sum(weights, axis=-1),
            correct=jnp.sum((target_logits >= largest) * weights, axis=-1),
        )
        sums = jax.tree.map(jnp.add, sums, chunk_sums)
        if not with_gradient:
            return (sums, ()), ()
        probabilities = jnp.exp(logits - log_z[..., None])
        slope = weights * (1.0 + 2.0 * z_loss * log_z)
        by_logits = slope[..., None] * probabilities - jnp.where(is_target, weights[..., None], 0.0)
        by_logits = by_logits.astype(hidden.dtype)
        by_hidden = jnp.einsum(
            f"BsV,{letters}->BsD", by_logits, table, preferred_element_type=jnp.float32
        )
        by_hidden = over_vocabulary(jax.lax.psum, by_hidden).astype(hidden.dtype)
        by_unembedding = jnp.einsum(
            f"BsD,BsV->{letters}", hidden, by_logits, preferred_element_type=jnp.float32
        )
        by_unembedding += gradients[0]
        if turned:
            # Rows as rows in memory, or the TPU's compiler does not reduce-scatter them.
            by_unembedding = with_layout_constraint(by_unembedding, Layout((0, 1)))
        return (sums, (by_unembedding,)), (by_hidden,)

    def chunked(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(B, S // chunk_length, chunk_length, *x.shape[2:]), 1, 0)

    zero = LossSums(*[jnp.zeros(B, jnp.float32)] * len(LossSums._fields))
    nothing: tuple[Array, ...] = (jnp.zeros(table.shape, jnp.float32),) if with_gradient else ()
    parts = (chunked(hidden_BSD), chunked(targets_BS), chunked(weights_BS))
    (sums, gradients), by_hidden = jax.lax.scan(add_chunk, (zero, nothing), parts)
    sums = jax.lax.psum(sums, axes.length) if axes.length else sums
    if not with_gradient:
        return sums, ()
    by_table = gradients[0]
    if chunk_length == S and not turned and by_table.dtype != hidden_BSD.dtype:
        # A loop of one turn is no loop, and with a tied table XLA would fold its transposition into
        # the product: a form that its CPU backend does not have in bfloat16.
        by_table = jax.lax.optimization_barrier(by_table)
    by_table = scatter(by_table if turned else by_table.T, axes, V).T
    by_hidden_BSD = jnp.moveaxis(by_hidden[0], 0, 1).reshape(B, S, D)
    if turned:
        # The layers' backward pass waits: else XLA would reduce the gradient after it, and have it
        # whole in float32 all the time (0.8 GiB with the 1.5B, 1.5 GiB with the 8B).
        by_hidden_BSD, by_table = jax.lax.optimization_barrier((by_hidden_BSD, by_table))
    return sums, (by_hidden_BSD, by_table)
