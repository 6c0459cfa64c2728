"""Keys and values of the texts under way: a slot for each.

A slot has a place for each position, so a row of new tokens says where it goes with a slot
and a position, and sees everything in its slot up to there. What an earlier text left
behind its end is overwritten before anything sees it. Stored in float32, bfloat16, or int8
with a factor a token and head, and laid out for what reads it: XLA (`attention`) or the CPU's
kernels (`native`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.decoding.weights import LANES, TENSOR
from opencoder_jax.model.config import TransformerConfig

CACHES = ("float32", "bfloat16", "int8")
# Positions that a TPU can write: an array's last two dimensions lie in tiles, and one of int8
# has 32 rows.
TILE = 32
# Behind the end of each slot, for padding to be written to: a piece of a prompt at most, which
# may begin inside of a tile.
SPARE_POSITIONS = 256 + TILE
# Positions that XLA reads together.
BLOCK = 512


class LayerCache(NamedTuple):
    """Of one layer: B slots of T positions.

    For XLA n is K / s * h, the heads of one of s shards side by side, and zeros to a multiple of
    128: what a TPU pads the last dimension to (a head alone would be: 160 to 256). It reads that
    as a matrix [T, n] where it lies. Without the zeros T would come last there.

    Attributes:
      keys: rotated, [B, s, T, n]; for the native kernels [L, B, T, K, h].
      values: the same.
      key_scales: what an int8 key is to be multiplied with, [B, s, K / s, T]; native
        [L, B, T, K]; [0] for other types.
      value_scales: the same of values.
    """

    keys: Float[Array, "..."]
    values: Float[Array, "..."]
    key_scales: Float[Array, "..."]
    value_scales: Float[Array, "..."]


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
    config: TransformerConfig,
    slots: int,
    length: int,
    dtype: str,
    mesh: Mesh | None = None,
    *,
    stack: bool = False,
) -> Cache:
    """Empty slots.

    Args:
      config: the model's dimensions.
      slots: how many.
      length: positions of each; spare ones come behind them.
      dtype: one of `CACHES`.
      mesh: where to put them: heads shared out over its axis `tensor`.
      stack: whether the layers are stacked, as the native kernels have them.
    """
    c = config
    if not stack:
        # Whole blocks, so that all are at places that a TPU can read from.
        length += -length % (BLOCK if length > BLOCK // 2 else BLOCK // 2)
    length += SPARE_POSITIONS
    if stack:
        shape: tuple[int, ...] = (c.num_layers, slots, length, c.num_kv_heads, c.head_dim)
        scales: tuple[int, ...] = shape[:4]
    else:
        s = mesh.shape[TENSOR] if mesh else 1
        heads = c.num_kv_heads // s * c.head_dim
        shape = (slots, s, length, heads + -heads % LANES)
        scales = (slots, s, c.num_kv_heads // s, length)
    if dtype != "int8":
        scales = (0,)

    def zeros(shape: tuple[int, ...], dtype: str) -> Array:
        sharding = shard_of_cache(mesh, shape) if mesh else None
        return jnp.zeros(shape, dtype, device=sharding)

    def layer() -> LayerCache:
        # Each an array of its own, for all are donated to the next step.
        keys, values = (zeros(shape, dtype) for _ in range(2))
        key_scales, value_scales = (zeros(scales, "float32") for _ in range(2))
        return LayerCache(keys, values, key_scales, value_scales)

    return layer() if stack else tuple(layer() for _ in range(c.num_layers))


def shard_of_cache(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Where an array of `LayerCache` that is not stacked lies."""
    return NamedSharding(mesh, PartitionSpec(*(None, TENSOR) if len(shape) > 1 else ()))


def copy_slot(cache: Cache, source: Int[Array, ""], target: Int[Array, ""]) -> Cache:
    """`cache` with one slot's content in another too."""
    axis = 1 if isinstance(cache, LayerCache) else 0

    def copy(x: Array) -> Array:
        slot = jax.lax.dynamic_index_in_dim(x, source, axis)
        return jax.lax.dynamic_update_index_in_dim(x, slot, target, axis)

    return jax.tree.map(lambda x: copy(x) if x.size else x, cache)
