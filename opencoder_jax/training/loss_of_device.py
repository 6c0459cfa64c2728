"""What one device does for the loss: its rows' sums and gradients, from some logits at a time.

`by_positions` holds the logits of some positions and all words: each logit is computed once,
and the gradient of the table, float32[P, D], is added up over the chunks. `by_words` holds the
logits of all positions and some words, so that a block's part of that gradient is whole after
one product and leaves at once; but the softmax's denominators have to be known first, and every
logit is computed twice (a fourth product with the table beside three). The way of arXiv
2411.09009, with collectives. Both run inside `fused_loss`, which has the tests.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.errors import InputError
from opencoder_jax.model.vocabulary_table import TableAxes, gather, in_rows, scatter
from opencoder_jax.training.losses import LossSums

# Sums of each sequence; gradients of hidden states [B, S, D] and, in float32, of the device's part
# of the unembedding [d, V], or nothing.
SumsAndGradients = tuple[LossSums, tuple[Array, ...]]


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


def by_positions(
    axes: TableAxes,
    hidden_BSD: Float[Array, "B S D"],
    unembedding_dV: Float[Array, "d V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
    *,
    chunk_length: int,
    z_loss: float,
    with_gradient: bool,
) -> SumsAndGradients:
    """Chunks of `chunk_length` positions of each sequence, one after the other.

    Raises:
      InputError: `chunk_length` does not divide S.
    """
    B, S, D = hidden_BSD.shape
    V = unembedding_dV.shape[1]
    chunk_length = check_chunk_length(chunk_length, S)
    # Gathered, it lies as the embedding does; where nothing is gathered it stays as it is.
    turned = bool(axes.embed)
    table = gather(unembedding_dV.T, axes) if turned else unembedding_dV
    letters = "VD" if turned else "DV"
    places = jnp.arange(table.shape[0 if turned else 1])
    words = _words(axes, places, V)

    def add_chunk(
        carry: SumsAndGradients, chunk: tuple[Array, Array, Array]
    ) -> tuple[SumsAndGradients, tuple[Array, ...]]:
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
        largest = _over_vocabulary(axes, jax.lax.pmax, jnp.max(logits, axis=-1))
        total = jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)
        log_z = largest + jnp.log(_over_vocabulary(axes, jax.lax.psum, total))
        target_logits = _over_vocabulary(
            axes, jax.lax.psum, jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
        )
        chunk_sums = LossSums.of_positions(log_z, target_logits, largest, weights)
        sums = jax.tree.map(jnp.add, sums, chunk_sums)
        if not with_gradient:
            return (sums, ()), ()
        by_logits = _by_logits(logits, log_z, is_target, weights, z_loss).astype(hidden.dtype)
        by_hidden = jnp.einsum(
            f"BsV,{letters}->BsD", by_logits, table, preferred_element_type=jnp.float32
        )
        by_hidden = _over_vocabulary(axes, jax.lax.psum, by_hidden).astype(hidden.dtype)
        by_table = jnp.einsum(
            f"BsD,BsV->{letters}", hidden, by_logits, preferred_element_type=jnp.float32
        )
        by_table += gradients[0]
        if turned:
            by_table = in_rows(by_table)
        return (sums, (by_table,)), (by_hidden,)

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
    return sums, _together(axes, by_hidden_BSD, by_table)


def by_words(
    axes: TableAxes,
    hidden_BSD: Float[Array, "B S D"],
    unembedding_dV: Float[Array, "d V"],
    targets_BS: Int[Array, "B S"],
    weights_BS: Int[Array, "B S"],
    *,
    blocks: int,
    z_loss: float,
    with_gradient: bool,
) -> SumsAndGradients:
    """`blocks` blocks of words, one after the other, twice."""
    B, S, D = hidden_BSD.shape
    V = unembedding_dV.shape[1]
    table_PD = gather(unembedding_dV.T, axes, blocks)
    weights_BS = weights_BS.astype(jnp.float32)
    size = table_PD.shape[0] // blocks

    def logits_of(block: Int[Array, ""]) -> tuple[Array, Array, Array]:
        """A block of the table, its logits, and where they are the targets'."""
        places = block * size + jnp.arange(size)
        rows_pD = jax.lax.dynamic_slice_in_dim(table_PD, block * size, size)
        logits = jnp.einsum("BSD,pD->BSp", hidden_BSD, rows_pD, preferred_element_type=jnp.float32)
        is_target = _words(axes, places, V) == targets_BS[..., None]
        return rows_pD, jnp.where(places < V, logits, -jnp.inf), is_target

    def add_block(
        carry: tuple[Array, Array, Array], block: Int[Array, ""]
    ) -> tuple[tuple[Array, Array, Array], None]:
        largest, total, target_logits = carry
        _, logits, is_target = logits_of(block)
        new_largest = jnp.maximum(largest, jnp.max(logits, axis=-1))
        total = total * jnp.exp(largest - new_largest)
        total += jnp.sum(jnp.exp(logits - new_largest[..., None]), axis=-1)
        target_logits += jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
        return (new_largest, total, target_logits), None

    zeros_BS = jnp.zeros((B, S), jnp.float32)
    of_device, total, target_logits = jax.lax.scan(
        add_block, (zeros_BS - jnp.inf, zeros_BS, zeros_BS), jnp.arange(blocks)
    )[0]
    largest = _over_vocabulary(axes, jax.lax.pmax, of_device)
    total = _over_vocabulary(axes, jax.lax.psum, total * jnp.exp(of_device - largest))
    log_z = largest + jnp.log(total)
    target_logits = _over_vocabulary(axes, jax.lax.psum, target_logits)
    sums = LossSums.of_positions(log_z, target_logits, largest, weights_BS)
    sums = jax.lax.psum(sums, axes.length) if axes.length else sums
    if not with_gradient:
        return sums, ()

    def gradients_of(
        by_hidden_BSD: Array, block: Int[Array, ""]
    ) -> tuple[Float[Array, "B S D"], Float[Array, "p d"]]:
        rows_pD, logits, is_target = logits_of(block)
        by_logits = _by_logits(logits, log_z, is_target, weights_BS, z_loss)
        by_logits = by_logits.astype(hidden_BSD.dtype)
        by_hidden_BSD += jnp.einsum(
            "BSp,pD->BSD", by_logits, rows_pD, preferred_element_type=jnp.float32
        )
        by_rows_pD = jnp.einsum(
            "BSD,BSp->pD", hidden_BSD, by_logits, preferred_element_type=jnp.float32
        )
        by_rows_pD = in_rows(by_rows_pD) if axes.embed else by_rows_pD
        return by_hidden_BSD, scatter(by_rows_pD, axes, size)

    by_hidden_BSD, by_table = jax.lax.scan(
        gradients_of, jnp.zeros((B, S, D), jnp.float32), jnp.arange(blocks)
    )
    by_hidden_BSD = _over_vocabulary(axes, jax.lax.psum, by_hidden_BSD).astype(hidden_BSD.dtype)
    by_table_dV = by_table.reshape(blocks * size, -1)[:V].T
    return sums, _together(axes, by_hidden_BSD, by_table_dV)


def _words(axes: TableAxes, places: Int[Array, "P"], V: int) -> Int[Array, "P"]:
    """Ids of the words at places of a device's table; -1 at padding."""
    first_word = jax.lax.axis_index(axes.vocab) * V if axes.vocab else 0
    return jnp.where(places < V, first_word + places, -1)


def _over_vocabulary(axes: TableAxes, reduce: Callable, x: Array) -> Array:
    return reduce(x, axes.vocab) if axes.vocab else x


def _by_logits(
    logits: Float[Array, "B s P"],
    log_z: Float[Array, "B s"],
    is_target: Bool[Array, "B s P"],
    weights: Float[Array, "B s"],
    z_loss: float,
) -> Float[Array, "B s P"]:
    """The objective's gradient."""
    probabilities = jnp.exp(logits - log_z[..., None])
    slope = weights * (1.0 + 2.0 * z_loss * log_z)
    return slope[..., None] * probabilities - jnp.where(is_target, weights[..., None], 0.0)


def _together(axes: TableAxes, by_hidden_BSD: Array, by_table_dV: Array) -> tuple[Array, Array]:
    """The layers' backward pass waits for the table's gradient, where that has to be reduced.

    Else XLA would reduce it after that, and have it whole in float32 all the time (0.8 GiB with
    the 1.5B, 1.5 GiB with the 8B).
    """
    if not axes.embed:
        return by_hidden_BSD, by_table_dV
    return jax.lax.optimization_barrier((by_hidden_BSD, by_table_dV))
