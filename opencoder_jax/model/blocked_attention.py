"""Attention of packed rows in blocks of queries, for CPUs: never a whole matrix of scores.

A block of queries meets only the keys up to its own end, so nearly half of the products and
of the memory traffic of `attention.attend` is not done, and what a block computes stays in a
core's cache. The backward pass computes scores again from the stored log of the softmax's
denominator, as flash attention does (arXiv 2205.14135). It computes them transposed: then
every product finds its large operand in the order that it reads, and only queries, keys and
values are ever transposed. `kernels` says which programs take it, and has its siblings on
accelerators. Parity: tests/opencoder_jax/model/test_kernels.py.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.model import rematerialization
from opencoder_jax.model.attention import KeyValues

# Rows of queries in a block; more where a row of tokens would have more than 16 blocks, each of
# which is code to compile. 64 to 256 were about equally fast (docs/measured.md).
_BLOCK = 128
_MOST_BLOCKS = 16
# Finite, as in `attention`.
_MASKED = -2.0e38

_einsum = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)

_Residuals = tuple[Array, Array, Array, Array, Array, Array]


def blocked_attention(
    query_BSHh: Float[Array, "B S H h"],
    key_values: KeyValues,
    segment_ids_BS: Int[Array, "B S"],
    *,
    block: int | None = None,
) -> Float[Array, "B S H h"]:
    """Attention of packed rows: a query sees its own segment, not later in the row.

    Args:
      query_BSHh: rotated and scaled by h**-0.5.
      key_values: rotated keys, and values; [B, S, K, h] each.
      segment_ids_BS: of queries and keys; padding is 0.
      block: rows of queries at a time; None takes a good one.
    """
    S = query_BSHh.shape[1]
    block = block or max(_BLOCK, -(-S // _MOST_BLOCKS))
    return _attend(block, query_BSHh, *key_values, segment_ids_BS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(block: int, query: Array, key: Array, value: Array, segment_ids: Array) -> Array:
    return _forward(block, query, key, value, segment_ids)[0]


def _forward(
    block: int, query_BSHh: Array, key_BSKh: Array, value_BSKh: Array, segment_ids_BS: Array
) -> tuple[Array, _Residuals]:
    B, S, H, h = query_BSHh.shape
    K = key_BSKh.shape[2]
    query = _grouped(query_BSHh, K)
    key, value = (x.swapaxes(1, 2) for x in (key_BSKh, value_BSKh))
    outs, logs = [], []
    for start, stop in _blocks(S, block):
        # The queries of a group are rows (R) of one product with their key head.
        rows_of = (B, K, (stop - start) * (H // K))
        scores_BKRT = _einsum(
            "BKRh,BKTh->BKRT",
            query[:, :, :, start:stop].reshape(*rows_of, h),
            key[:, :, :stop],
        )
        visible = _visible(segment_ids_BS, start, stop)[:, None, None]
        scores = jnp.where(
            visible, scores_BKRT.reshape(B, K, H // K, stop - start, stop), _MASKED
        ).reshape(*rows_of, stop)
        largest = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.exp(scores - largest)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        mixed = _einsum("BKRT,BKTh->BKRh", weights.astype(value.dtype), value[:, :, :stop])
        outs.append((mixed / total).reshape(B, K, H // K, stop - start, h))
        logs.append((largest + jnp.log(total)).reshape(B, K, H // K, stop - start))
    out = _ungrouped(jnp.concatenate(outs, axis=3).astype(query_BSHh.dtype))
    out = rematerialization.name(out, rematerialization.ATTENTION)
    log_total_BKGS = rematerialization.name(
        jnp.concatenate(logs, axis=3), rematerialization.ATTENTION
    )
    return out, (query, key, value, segment_ids_BS, out, log_total_BKGS)


def _backward(
    block: int, residuals: _Residuals, cotangent_BSHh: Array
) -> tuple[Array, Array, Array, None]:
    query, key, value, segment_ids_BS, out_BSHh, log_total_BKGS = residuals
    B, K, G, S, h = query.shape
    cotangent = _grouped(cotangent_BSHh, K)
    # What the softmax's normalization takes from every score's gradient.
    shared_BSH = jnp.sum(cotangent_BSHh.astype(jnp.float32) * out_BSHh, axis=-1)
    shared_BKGS = shared_BSH.reshape(B, S, K, G).transpose(0, 2, 3, 1)
    by_query = []
    by_key, by_value = (jnp.zeros(key.shape, jnp.float32) for _ in range(2))
    for start, stop in _blocks(S, block):
        rows_of = (B, K, (stop - start) * G)
        query_BKRh, cotangent_BKRh = (
            x[:, :, :, start:stop].reshape(*rows_of, h) for x in (query, cotangent)
        )
        log_total, shared = (
            x[:, :, :, start:stop].reshape(B, K, 1, rows_of[2])
            for x in (log_total_BKGS, shared_BKGS)
        )
        keys_BKTh, values_BKTh = key[:, :, :stop], value[:, :, :stop]
        scores_BKTR = _einsum("BKTh,BKRh->BKTR", keys_BKTh, query_BKRh)
        weights = jnp.exp(scores_BKTR - log_total).reshape(B, K, stop, G, stop - start)
        visible = _visible(segment_ids_BS, start, stop).swapaxes(1, 2)[:, None, :, None]
        weights = jnp.where(visible, weights, 0.0).reshape(B, K, stop, rows_of[2])
        by_weights = _einsum("BKTh,BKRh->BKTR", values_BKTh, cotangent_BKRh)
        by_scores = (weights * (by_weights - shared)).astype(query.dtype)
        by_query_BKhR = _einsum("BKTh,BKTR->BKhR", keys_BKTh, by_scores)
        by_query.append(by_query_BKhR.swapaxes(2, 3).reshape(B, K, G, stop - start, h))
        by_key = by_key.at[:, :, :stop].add(_einsum("BKTR,BKRh->BKTh", by_scores, query_BKRh))
        by_value = by_value.at[:, :, :stop].add(
            _einsum("BKTR,BKRh->BKTh", weights.astype(value.dtype), cotangent_BKRh)
        )
    return (
        _ungrouped(jnp.concatenate(by_query, axis=3).astype(query.dtype)),
        by_key.swapaxes(1, 2).astype(key.dtype),
        by_value.swapaxes(1, 2).astype(value.dtype),
        None,
    )


_attend.defvjp(_forward, _backward)


def _blocks(S: int, block: int) -> Iterator[tuple[int, int]]:
    """First and last row, of each block; the last may be short."""
    return ((start, min(start + block, S)) for start in range(0, S, block))


def _visible(segment_ids_BS: Array, start: int, stop: int) -> Bool[Array, "B q T"]:
    """Which of the keys 0 to `stop` queries from `start` to `stop` see."""
    same_segment = segment_ids_BS[:, start:stop, None] == segment_ids_BS[:, None, :stop]
    return same_segment & (jnp.arange(start, stop)[:, None] >= jnp.arange(stop))


def _grouped(x_BSHh: Float[Array, "B S H h"], K: int) -> Float[Array, "B K G S h"]:
    B, S, H, h = x_BSHh.shape
    return x_BSHh.reshape(B, S, K, H // K, h).transpose(0, 2, 3, 1, 4)


def _ungrouped(x_BKGSh: Float[Array, "B K G S h"]) -> Float[Array, "B S H h"]:
    B, K, G, S, h = x_BKGSh.shape
    return x_BKGSh.transpose(0, 3, 1, 2, 4).reshape(B, S, K * G, h)
