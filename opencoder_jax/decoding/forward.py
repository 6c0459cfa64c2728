"""The forward pass of decoding: R new tokens, each at its own position of its own slot.

A step of decoding is a row from each slot, a prefill many rows of one: the same function,
so what a prompt leaves in the cache is what decoding its tokens one by one would have left.
Residuals and everything between two products are float32; inputs of products are rounded to
the model's dtype. The model is the training's (`model/transformer.py`), with the same
numbers up to rounding.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.decoding.attention import attend
from opencoder_jax.decoding.cache import Cache, LayerCache, Rows
from opencoder_jax.decoding.products import multiply
from opencoder_jax.decoding.weights import DecoderWeights, LayerWeights
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.layers import Rotation, rms_norm, rope, rotation, swiglu


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """What a program is compiled for, besides its shapes.

    Attributes:
      config: the model's dimensions; inputs of products are rounded to its dtype.
      kernels: `native` (one CPU; the layers are stacked) or `xla` (they are not).
      shards: devices that heads and MLP are shared out over.
    """

    config: TransformerConfig
    kernels: str = "xla"
    shards: int = 1


def forward(
    layout: Layout,
    weights: DecoderWeights,
    cache: Cache,
    tokens_R: Int[Array, "R"],
    rows: Rows,
    *,
    one_slot: bool,
) -> tuple[Float[Array, "R D"], Cache]:
    """The last layer's output before the final norm, and the cache with the new tokens.

    Args:
      layout: what the program is compiled for.
      weights: the model.
      cache: with all earlier positions of the rows' slots; stacked as the weights' layers are.
      tokens_R: new tokens; with `one_slot`, of consecutive positions.
      rows: where they belong.
      one_slot: all rows are of one slot; otherwise row r is of slot r.
    """
    c = layout.config
    by = rotation(rows.positions[:, None], c.head_dim, c.rope_theta)
    x_RD = weights.embedding[tokens_R][:, : c.emb_dim].astype(jnp.float32)
    if layout.kernels == "native":
        return _native_layers(layout, weights, cache, x_RD, rows, by)
    new_cache = []
    assert not isinstance(weights.layers, LayerWeights)
    assert not isinstance(cache, LayerCache)
    for layer, layer_cache in zip(weights.layers, cache, strict=True):
        attended_RD, stored = _attention(layout, layer, layer_cache, x_RD, rows, by, one_slot)
        x_RD = x_RD + attended_RD
        x_RD = x_RD + _mlp(layout, layer, x_RD, rows.active)
        new_cache.append(stored)
    return x_RD, tuple(new_cache)


def project_to_vocab(
    layout: Layout,
    weights: DecoderWeights,
    hidden_RD: Float[Array, "R D"],
    active_R: Bool[Array, "R"],
) -> Float[Array, "R V"]:
    """float32 logits of `forward`'s output."""
    c = layout.config
    normed_RD = rms_norm(hidden_RD, weights.final_norm, c.rms_norm_eps)
    return multiply(normed_RD, weights.unembedding, active_R, c.dtype, layout.kernels)


def _native_layers(
    layout: Layout,
    weights: DecoderWeights,
    cache: Cache,
    x_RD: Float[Array, "R D"],
    rows: Rows,
    by: Rotation,
) -> tuple[Float[Array, "R D"], Cache]:
    before = [x_RD, *rows, by.sin[:, 0], by.cos[:, 0], *jax.tree.leaves(weights.layers)]
    stored, structure = jax.tree.flatten(cache)
    out = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (x_RD, *stored)]
    call = jax.ffi.ffi_call(
        "opencoder_layers",
        out,
        # The cache is written where it lies.
        input_output_aliases={len(before) + i: 1 + i for i in range(len(stored))},
    )
    x_RD, *stored = call(
        *before,
        *stored,
        eps=np.float32(layout.config.rms_norm_eps),
        bfloat16=layout.config.dtype == "bfloat16",
    )
    return x_RD, jax.tree.unflatten(structure, stored)


def _attention(
    layout: Layout,
    layer: LayerWeights,
    cache: LayerCache,
    x_RD: Float[Array, "R D"],
    rows: Rows,
    by: Rotation,
    one_slot: bool,
) -> tuple[Float[Array, "R D"], LayerCache]:
    c = layout.config
    K, G = c.num_kv_heads, c.num_heads // c.num_kv_heads
    normed_RD = rms_norm(x_RD, layer.attention_norm, c.rms_norm_eps)
    fused = multiply(normed_RD, layer.query_key_value, rows.active, c.dtype, layout.kernels)
    fused_RKnh = fused.reshape(-1, K, G + 2, c.head_dim)
    rotated = rope(fused_RKnh[:, None, :, : G + 1].reshape(-1, 1, K * (G + 1), c.head_dim), by)
    rotated_RKnh = rotated.reshape(-1, K, G + 1, c.head_dim)
    mixed_RKGh, cache = attend(
        rotated_RKnh[:, :, :G],
        rotated_RKnh[:, :, G],
        fused_RKnh[:, :, G + 1],
        cache,
        rows,
        one_slot=one_slot,
    )
    mixed_RN = mixed_RKGh.reshape(-1, K * G * c.head_dim)
    return multiply(mixed_RN, layer.attention_out, rows.active, c.dtype, layout.kernels), cache


def _mlp(
    layout: Layout, layer: LayerWeights, x_RD: Float[Array, "R D"], active_R: Bool[Array, "R"]
) -> Float[Array, "R D"]:
    c = layout.config
    normed_RD = rms_norm(x_RD, layer.mlp_norm, c.rms_norm_eps)
    gate_up = multiply(normed_RD, layer.gate_up, active_R, c.dtype, layout.kernels)
    gate_up_Rs2F = gate_up.reshape(-1, layout.shards, 2, c.mlp_dim // layout.shards)
    activated_RF = swiglu(gate_up_Rs2F[:, :, 0], gate_up_Rs2F[:, :, 1]).reshape(-1, c.mlp_dim)
    return multiply(activated_RF, layer.down, active_R, c.dtype, layout.kernels)
