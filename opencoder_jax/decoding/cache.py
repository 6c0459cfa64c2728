"""Keys and values of the texts under way: a slot for each, and attention over them.

A slot has a place for each position, so a row of new tokens says where it goes with a slot
and a position, and sees everything in its slot up to there. What an earlier text left
behind its end is overwritten before anything sees it. Stored in float32, bfloat16, or int8
with a factor a token and head. In `attend` keys pass in blocks under a running softmax (arXiv
2205.14135), as many as the longest text has: one compiled program for all lengths, and
blocks that a text does not have change none of its bits. On a CPU `native` does it instead.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.model.config import TransformerConfig

CACHES = ("float32", "bfloat16", "int8")
# Behind the end of each slot, for padding to be written to: a piece of a prompt at most.
SPARE_POSITIONS = 256
_BLOCK = 256
# Finite, so that a row that sees nothing gives numbers (that nobody reads), not NaN.
_MASKED = -2.0e38


class LayerCache(NamedTuple):
    """Of one layer: B slots of T positions.

    Attributes:
      keys: rotated, [B, T, K, h]; positions come before heads, or the TPU's compiler turns the
        whole cache around for each token that it writes.
      values: [B, T, K, h].
      key_scales: what an int8 key is to be multiplied with, [B, T, K]; [0] for other types.
      value_scales: the same of values.
    """

    keys: Float[Array, "B T K h"]
    values: Float[Array, "B T K h"]
    key_scales: Float[Array, "B T K"]
    value_scales: Float[Array, "B T K"]


# Of each layer, or of all stacked, with an axis L before (`weights` says why).
Cache = tuple[LayerCache, ...] | LayerCache


class Rows(NamedTuple):
    """Where R tokens that are computed together belong.

    Attributes:
      slots: of each, [R].
      positions: of each in its slot, [R].
      active: rows that count; the others are padding, [R].
    """

    slots: Int[Array, "R"]
    positions: Int[Array, "R"]
    active: Bool[Array, "R"]


def make_cache(
    config: TransformerConfig, slots: int, length: int, dtype: str, *, stack: bool = False
) -> Cache:
    """Empty slots of `length` positions, and spare ones; `dtype` is one of `CACHES`."""
    shape = (slots, length + SPARE_POSITIONS, config.num_kv_heads, config.head_dim)
    scales = shape[:3] if dtype == "int8" else (0,)
    before = (config.num_layers,) if stack else ()

    def layer() -> LayerCache:
        # Each an array of its own, for all are donated to the next step.
        keys, values = (jnp.zeros((*before, *shape), dtype) for _ in range(2))
        key_scales, value_scales = (jnp.zeros((*before, *scales), jnp.float32) for _ in range(2))
        return LayerCache(keys, values, key_scales, value_scales)

    return layer() if stack else tuple(layer() for _ in range(config.num_layers))


def copy_slot(cache: Cache, source: Int[Array, ""], target: Int[Array, ""]) -> Cache:
    """`cache` with one slot's content in another too."""
    if isinstance(cache, LayerCache):
        return jax.tree.map(lambda x: x.at[:, target].set(x[:, source]) if x.size else x, cache)
    return jax.tree.map(lambda x: x.at[target].set(x[source]) if x.size else x, cache)


def attend(
    queries_RKGh: Float[Array, "R K G h"],
    keys_RKh: Float[Array, "R K h"],
    values_RKh: Float[Array, "R K h"],
    cache: LayerCache,
    rows: Rows,
    *,
    one_slot: bool,
) -> tuple[Float[Array, "R K G h"], LayerCache]:
    """Stores new keys and values, and attends to all that each row may see, in float32.

    Args:
      queries_RKGh: rotated, not scaled; G query heads for each key head.
      keys_RKh: rotated.
      values_RKh: as they are.
      cache: of this layer.
      rows: where the R tokens belong.
      one_slot: whether all rows are of one slot (prefill); otherwise row r is of slot r.
    """
    cache = _store(cache, keys_RKh, values_RKh, rows, one_slot=one_slot)
    if one_slot:
        # One text of R tokens; the slot is taken out of the cache, never the cache as a whole.
        seen = LayerCache(
            *(jax.lax.dynamic_slice_in_dim(x, rows.slots[0], 1) if x.size else x for x in cache)
        )
        out = _attend_in_blocks(queries_RKGh[None], seen, Rows(*(x[None] for x in rows)))
        return out[0], cache
    out = _attend_in_blocks(queries_RKGh[:, None], cache, Rows(*(x[:, None] for x in rows)))
    return out[:, 0], cache


def _store(
    cache: LayerCache, keys_RKh: Array, values_RKh: Array, rows: Rows, *, one_slot: bool
) -> LayerCache:
    put = _put_in_one_slot if one_slot else _put_in_every_slot
    keys, key_scales = _rounded(keys_RKh, cache.keys.dtype)
    values, value_scales = _rounded(values_RKh, cache.values.dtype)
    if key_scales is None or value_scales is None:
        return cache._replace(
            keys=put(cache.keys, keys, rows), values=put(cache.values, values, rows)
        )
    return LayerCache(
        put(cache.keys, keys, rows),
        put(cache.values, values, rows),
        put(cache.key_scales, key_scales, rows),
        put(cache.value_scales, value_scales, rows),
    )


def _put_in_every_slot(stored: Array, new_BK: Array, rows: Rows) -> Array:
    """A position of each slot, one after the other: XLA copies a cache that it scatters to."""
    places_B = jnp.where(rows.active, rows.positions, stored.shape[1] - 1)
    zeros = (0,) * (stored.ndim - 2)

    def put(slot: Array, stored: Array) -> Array:
        new = new_BK[slot][None, None].astype(stored.dtype)
        return jax.lax.dynamic_update_slice(stored, new, (slot, places_B[slot], *zeros))

    return jax.lax.fori_loop(0, stored.shape[0], put, stored)


def _put_in_one_slot(stored: Array, new_SK: Array, rows: Rows) -> Array:
    """Consecutive positions of a slot; padding behind them too, which later tokens overwrite."""
    start: list[Array | int] = [rows.slots[0], rows.positions[0], *[0] * (stored.ndim - 2)]
    return jax.lax.dynamic_update_slice(stored, new_SK[None].astype(stored.dtype), start)


def _rounded(x_RKh: Array, dtype: jnp.dtype) -> tuple[Array, Array | None]:
    if dtype != jnp.int8:
        return x_RKh, None
    scales_RK = jnp.max(jnp.abs(x_RKh), axis=-1) / 127
    return jnp.rint(x_RKh / jnp.where(scales_RK > 0, scales_RK, 1)[..., None]), scales_RK


def _attend_in_blocks(
    queries_BSKGh: Float[Array, "B S K G h"], cache: LayerCache, rows_BS: Rows
) -> Float[Array, "B S K G h"]:
    length, h = cache.keys.shape[1], cache.keys.shape[3]
    block = min(_BLOCK, length)
    queries = queries_BSKGh * h**-0.5
    shape = queries.shape[:-1]
    last = jnp.max(jnp.where(rows_BS.active, rows_BS.positions, 0))

    def attend_to_block(number: Array, state: tuple[Array, Array, Array]) -> tuple:
        highest, total, out = state
        # The last block of a length that is no multiple begins earlier, and repeats positions.
        start = jnp.minimum(number * block, length - block)
        keys, values = (
            _widened(x, scales, start, block)
            for x, scales in ((cache.keys, cache.key_scales), (cache.values, cache.value_scales))
        )
        places = start + jnp.arange(block)
        visible_BSt = (places <= rows_BS.positions[..., None]) & (places >= number * block)
        scores = jnp.einsum("BSKGh,BtKh->BSKGt", queries, keys)
        scores = jnp.where(visible_BSt[:, :, None, None], scores, _MASKED)
        new_highest = jnp.maximum(highest, scores.max(-1))
        weights = jnp.where(
            visible_BSt[:, :, None, None], jnp.exp(scores - new_highest[..., None]), 0
        )
        kept = jnp.exp(highest - new_highest)
        out = out * kept[..., None] + jnp.einsum("BSKGt,BtKh->BSKGh", weights, values)
        return new_highest, total * kept + weights.sum(-1), out

    start = (jnp.full(shape, _MASKED), jnp.zeros(shape), jnp.zeros_like(queries))
    _, total, out = jax.lax.fori_loop(0, last // block + 1, attend_to_block, start)
    return out / jnp.maximum(total, 1e-30)[..., None]


def _widened(stored: Array, scales: Array, start: Array, block: int) -> Array:
    part = jax.lax.dynamic_slice_in_dim(stored, start, block, axis=1).astype(jnp.float32)
    if not scales.size:
        return part
    return part * jax.lax.dynamic_slice_in_dim(scales, start, block, axis=1)[..., None]
