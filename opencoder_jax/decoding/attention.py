"""Attention over a cache as XLA computes it (on a CPU `native` does it instead).

Keys pass in blocks under a running softmax (arXiv 2205.14135), as many as the longest text
has: one compiled program for all lengths, and blocks that a text does not have change none
of its bits. A step of decoding reads every slot's keys where they lie: a product a slot with
[t, n] of them, all heads side by side, and queries that are zero outside their own head's
part. On a TPU that is K times the operations, which the matrix unit has to spare beside the
memory's time, and the only form that moves no key before it is read.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from opencoder_jax.decoding.cache import BLOCK, SPARE_POSITIONS, TILE, LayerCache, Rows

# Finite, so that a row that sees nothing gives numbers (that nobody reads), not NaN.
_MASKED = -2.0e38


def attend(
    queries_RKGh: Float[Array, "R K G h"],
    keys_RKh: Float[Array, "R K h"],
    values_RKh: Float[Array, "R K h"],
    cache: LayerCache,
    rows: Rows,
    *,
    one_slot: bool,
) -> tuple[Float[Array, "R K G h"], LayerCache]:
    """Stores new keys and values, and attends to all that each row may see.

    Products have inputs of the cache's type (bfloat16 for int8) and sums in float32.

    Args:
      queries_RKGh: rotated, not scaled; G query heads for each key head.
      keys_RKh: rotated.
      values_RKh: as they are.
      cache: of this layer, not stacked.
      rows: where the R tokens belong.
      one_slot: whether all rows are of one slot (prefill); otherwise row r is of slot r.
    """
    cache = _store(cache, keys_RKh, values_RKh, rows, one_slot=one_slot)
    queries_RKGh = queries_RKGh * queries_RKGh.shape[-1] ** -0.5
    if one_slot:
        return _attend_to_one_slot(queries_RKGh, cache, rows), cache
    return _attend_to_every_slot(queries_RKGh, cache, rows), cache


def _store(
    cache: LayerCache, keys_RKh: Array, values_RKh: Array, rows: Rows, *, one_slot: bool
) -> LayerCache:
    put = _put_in_one_slot if one_slot else _put_in_every_slot
    s = cache.keys.shape[1]
    R, K, _ = keys_RKh.shape

    def stored(x_RKh: Array, to: Array, scales: Array) -> tuple[Array, Array]:
        if to.dtype == jnp.int8:
            scales_RK = jnp.max(jnp.abs(x_RKh), axis=-1) / 127
            x_RKh = jnp.rint(x_RKh / jnp.where(scales_RK > 0, scales_RK, 1)[..., None])
            scales = put(scales, scales_RK.reshape(R, s, K // s, 1), rows, axis=3)
        x_Rs1n = _padded(x_RKh.reshape(R, s, 1, -1), to.shape[3])
        return put(to, x_Rs1n, rows, axis=2), scales

    keys, key_scales = stored(keys_RKh, cache.keys, cache.key_scales)
    values, value_scales = stored(values_RKh, cache.values, cache.value_scales)
    return LayerCache(keys, values, key_scales, value_scales)


def _padded(x: Array, width: int) -> Array:
    """`x` with zeros behind its last dimension."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])


def _put_in_every_slot(stored: Array, new_B: Array, rows: Rows, axis: int) -> Array:
    """A position of each slot."""
    places_B = jnp.where(rows.active, rows.positions, stored.shape[axis] - 1)
    if stored.dtype != jnp.int8 and axis == 2:
        slots_B = jnp.arange(stored.shape[0])
        return stored.at[slots_B, :, places_B].set(
            new_B[:, :, 0].astype(stored.dtype),
            mode="promise_in_bounds",
            indices_are_sorted=True,
            unique_indices=True,
        )

    # One after the other: for a scatter a TPU copies an array of int8, or one along its lanes.
    def put(slot: Array, stored: Array) -> Array:
        return _put(stored, new_B[slot][None], slot, places_B[slot], axis)

    return jax.lax.fori_loop(0, stored.shape[0], put, stored)


def _put_in_one_slot(stored: Array, new_S: Array, rows: Rows, axis: int) -> Array:
    """Consecutive positions of a slot; padding behind them too, which later tokens overwrite."""
    new = jnp.moveaxis(new_S, 0, axis - 1).squeeze(axis)[None]
    return _put(stored, new, rows.slots[0], rows.positions[0], axis)


def _put(stored: Array, new: Array, slot: Array, place: Array, axis: int) -> Array:
    """Positions of one slot from `place` on.

    A TPU can change whole tiles only: of an update at any place, its compiler makes one of the
    whole cache in another layout. So those around it are taken out and put back.
    """
    length = new.shape[axis]
    start: list[Array | int] = [slot, 0, 0, 0]
    start[axis] = place // TILE * TILE
    shape = [1, *stored.shape[1:]]
    shape[axis] = TILE + -(-(length - 1) // TILE) * TILE
    tiles = jax.lax.dynamic_slice(stored, start, shape)
    # In float32, whose rows can be shifted; an update of `tiles` would be made one of the whole.
    inside: list[Array | int] = [0, 0, 0, 0]
    inside[axis] = place % TILE
    shifted = jax.lax.dynamic_update_slice(jnp.zeros(shape), new.astype(jnp.float32), inside)
    offsets = jax.lax.broadcasted_iota(jnp.int32, shape, axis) - place % TILE
    tiles = jnp.where((offsets >= 0) & (offsets < length), shifted.astype(stored.dtype), tiles)
    return jax.lax.dynamic_update_slice(stored, tiles, start)


def _attend_to_every_slot(
    queries_BKGh: Float[Array, "B K G h"], cache: LayerCache, rows: Rows
) -> Float[Array, "B K G h"]:
    B, K, G, h = queries_BKGh.shape
    s = cache.keys.shape[1]
    k = K // s
    dtype = _product_dtype(cache)
    own = jnp.eye(k, dtype=dtype)[:, None, :, None]
    queries = queries_BKGh.reshape(B, s, k, G, 1, h).astype(dtype) * own
    n = cache.keys.shape[3]
    queries_BsHn = _padded(queries.reshape(B, s, k * G, k * h), n)

    def scores(start: Array, block: int) -> Float[Array, "B s H t"]:
        keys = _part(cache.keys, start, block).astype(dtype)
        found = jnp.einsum(
            "BsHn,Bstn->BsHt", queries_BsHn, keys, preferred_element_type=jnp.float32
        )
        return _times_scales(found, cache.key_scales, start, block)

    def mix(weights_BsHt: Array, start: Array, block: int) -> Float[Array, "B s H n"]:
        weights_BsHt = _times_scales(weights_BsHt, cache.value_scales, start, block)
        values = _part(cache.values, start, block).astype(dtype)
        return jnp.einsum(
            "BsHt,Bstn->BsHn",
            weights_BsHt.astype(dtype),
            values,
            preferred_element_type=jnp.float32,
        )

    mixed_BsHn = _running_softmax(
        scores, mix, (B, s, k * G), n, cache.keys.shape[2], rows, lambda x: x[:, None, None]
    )
    # Of what a query head mixed, its own key head's part.
    mixed = mixed_BsHn[..., : k * h].reshape(B, s, k, G, k, h)
    return jnp.where(own != 0, mixed, 0).sum(4).reshape(B, K, G, h)


def _times_scales(x_BsHt: Array, scales: Array, start: Array, block: int) -> Array:
    if not scales.size:
        return x_BsHt
    B, s, H, t = x_BsHt.shape
    part = jax.lax.dynamic_slice_in_dim(scales, start, block, axis=3)
    k = part.shape[2]
    return (x_BsHt.reshape(B, s, k, H // k, t) * part[:, :, :, None]).reshape(x_BsHt.shape)


def _part(stored: Array, start: Array, block: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(stored, start, block, axis=2)


def _product_dtype(cache: LayerCache) -> jnp.dtype:
    return jnp.dtype(jnp.bfloat16) if cache.keys.dtype == jnp.int8 else cache.keys.dtype


def _attend_to_one_slot(
    queries_SKGh: Float[Array, "S K G h"], cache: LayerCache, rows: Rows
) -> Float[Array, "S K G h"]:
    S, K, G, h = queries_SKGh.shape
    s, length = cache.keys.shape[1:3]
    k = K // s
    dtype = _product_dtype(cache)
    queries = queries_SKGh.reshape(S, s, k, G, h).astype(dtype)
    slot = rows.slots[0]

    def part(stored: Array, start: Array, block: int) -> Array:
        # Of one slot, never of the cache as a whole.
        found = jax.lax.dynamic_slice(stored, (slot, 0, start, 0), (1, s, block, stored.shape[3]))
        return found[..., : k * h].reshape(s, block, k, h).astype(dtype)

    def times_scales(x: Array, scales: Array, start: Array, block: int) -> Array:
        if not scales.size:
            return x
        found = jax.lax.dynamic_slice(scales, (slot, 0, 0, start), (1, s, k, block))
        return x * found[0][:, :, None, None]

    def scores(start: Array, block: int) -> Float[Array, "s k G S t"]:
        found = jnp.einsum(
            "SskGh,stkh->skGSt",
            queries,
            part(cache.keys, start, block),
            preferred_element_type=jnp.float32,
        )
        return times_scales(found, cache.key_scales, start, block)

    def mix(weights: Array, start: Array, block: int) -> Float[Array, "s k G S h"]:
        return jnp.einsum(
            "skGSt,stkh->skGSh",
            times_scales(weights, cache.value_scales, start, block).astype(dtype),
            part(cache.values, start, block),
            preferred_element_type=jnp.float32,
        )

    mixed = _running_softmax(scores, mix, (s, k, G, S), h, length, rows, lambda x: x)
    return jnp.moveaxis(mixed, 3, 0).reshape(S, K, G, h)


def _running_softmax(
    scores: Callable[[Array, int], Array],
    mix: Callable[[Array, Array, int], Array],
    shape: tuple[int, ...],
    width: int,
    length: int,
    rows: Rows,
    in_shape: Callable[[Array], Array],
) -> Array:
    """Mixed values, [*shape, width], of all positions that each row may see.

    Args:
      scores: of a block: from its first position and its length to [*shape, t].
      mix: weights of a block, with the same two, to the sum of its values, [*shape, width].
      shape: of the rows and what else has a softmax of its own.
      width: of the values.
      length: positions of a slot.
      rows: where the rows belong.
      in_shape: something of each row, [R], to what broadcasts against `shape`.
    """
    block = min(BLOCK, length - SPARE_POSITIONS)
    last = jnp.max(jnp.where(rows.active, rows.positions, 0))
    positions = in_shape(rows.positions)[..., None]

    def attend_to_block(number: Array, state: tuple[Array, Array, Array]) -> tuple:
        highest, total, out = state
        start = number * block
        places = start + jnp.arange(block)
        visible = places <= positions
        found = jnp.where(visible, scores(start, block), _MASKED)
        new_highest = jnp.maximum(highest, found.max(-1))
        weights = jnp.where(visible, jnp.exp(found - new_highest[..., None]), 0)
        kept = jnp.exp(highest - new_highest)
        out = out * kept[..., None] + mix(weights, start, block)
        return new_highest, total * kept + weights.sum(-1), out

    start = (jnp.full(shape, _MASKED), jnp.zeros(shape), jnp.zeros((*shape, width)))
    _, total, out = jax.lax.fori_loop(0, last // block + 1, attend_to_block, start)
    return out / jnp.maximum(total, 1e-30)[..., None]
