"""Causal attention with grouped queries over packed sequences, with or without a cache.

One rule says who sees whom in training, prefill and decoding: a query sees the keys of
its own segment at its own position and before. Positions grow inside a segment, so the
rule needs no index arithmetic, and packed documents do not see each other.

While decoding, keys and values of earlier positions are a second `Context` of the same
softmax, not concatenated to the new ones: the cache is read where it lies.
Reference twin: explicit loops in tests/opencoder_jax/model/test_attention.py. `kernels`
has faster ways to the same numbers for training and prefill on accelerators.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Finite, so that a row that sees nothing gives numbers (that no loss reads), not NaN.
_MASKED = -2.0e38


class KeyValues(NamedTuple):
    """Keys (rotated) and values, [B, T, K, h] each; of all layers [L, B, T, K, h]."""

    keys: Float[Array, "*L B T K h"]
    values: Float[Array, "*L B T K h"]


class Context(NamedTuple):
    """Keys and values of T positions, and which of them each of S queries sees."""

    key_values: KeyValues
    visible: Bool[Array, "B S T"]


def visible_in_segment(
    segment_ids_BS: Int[Array, "B S"], positions_BS: Int[Array, "B S"]
) -> Bool[Array, "B S S"]:
    """Which keys (last axis) each query sees: same segment, no later position.

    Padding is a segment (0) like any other and sees only itself.
    """
    same_segment = segment_ids_BS[:, :, None] == segment_ids_BS[:, None, :]
    not_later = positions_BS[:, :, None] >= positions_BS[:, None, :]
    return same_segment & not_later


def attend(
    query_BSHh: Float[Array, "B S H h"], contexts: Sequence[Context]
) -> Float[Array, "B S H h"]:
    """Softmax attention over all `contexts`, in float32 between the two matrix products.

    Queries are scaled by h**-0.5 already: `layers.rope` does it before it rounds. Query head
    n reads key and value head n // (H / K) (arXiv 2305.13245).
    """
    B, S, H, h = query_BSHh.shape
    K = contexts[0].key_values.keys.shape[-2]
    query_BSKGh = query_BSHh.reshape(B, S, K, H // K, h)
    scores_BKGST = jnp.concatenate(
        [_scores(query_BSKGh, c.key_values.keys, c.visible) for c in contexts], axis=-1
    )
    weights_BKGST = jax.nn.softmax(scores_BKGST, axis=-1).astype(query_BSHh.dtype)
    out_BSKGh = jnp.zeros_like(query_BSKGh)
    start = 0
    for key_values, visible_BST in contexts:
        stop = start + visible_BST.shape[-1]
        out_BSKGh += jnp.einsum(
            "BKGST,BTKh->BSKGh", weights_BKGST[..., start:stop], key_values.values
        )
        start = stop
    return out_BSKGh.reshape(B, S, H, h)


def _scores(
    query_BSKGh: Float[Array, "B S K G h"],
    keys_BTKh: Float[Array, "B T K h"],
    visible_BST: Bool[Array, "B S T"],
) -> Float[Array, "B K G S T"]:
    scores_BKGST = jnp.einsum(
        "BSKGh,BTKh->BKGST", query_BSKGh, keys_BTKh, preferred_element_type=jnp.float32
    )
    return jnp.where(visible_BST[:, None, None], scores_BKGST, _MASKED)
