"""Attention that never holds a score matrix: splash on TPU, cuDNN on GPU, blocks on CPU.

They serve training and prefill, where queries and keys are the same positions. Their
rule is "same segment and not later in the row", which for packed rows is that of
`attention`: a segment's tokens lie side by side and their positions grow. Only padding
differs (its positions are all 0, so in `attention` it sees all of itself), and no loss
and no other token reads what padding computes. `attention` is their reference twin and
the path of everything that reads a cache. `choose` says which of them a program takes.
Parity and lowering: tests/opencoder_jax/model/test_kernels.py. The CPU's:
`blocked_attention`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import InputError
from opencoder_jax.model import rematerialization
from opencoder_jax.model.attention import KeyValues
from opencoder_jax.model.blocked_attention import blocked_attention
from opencoder_jax.model.config import TransformerConfig

# Lanes of a TPU's vector registers: blocks of keys and padded head dimensions are multiples.
_LANES = 128
# Rows of queries and of keys that a TPU core works on at a time, by device kind. A block of
# queries reads all keys before it once, so 2 * block_q FLOPs are done for each byte of keys;
# v6e and 7x need 560 and 310 of them to be busy (FLOP/s over HBM bytes/s), v5e and v5p 240 and
# 170. Larger blocks do more masked work on the diagonal (block / S of the whole). 512 is
# MaxText's default; its published runs on v6e take 1,024 and 2,048. Not measured here.
_BLOCK = 512
_BLOCK_OF_KIND = {"TPU v6 lite": 1024, "TPU7x": 1024}


class AttentionChoiceError(InputError):
    """An attention that the model, or the devices that a program is for, cannot run."""


def choose(config: TransformerConfig, dtype: jnp.dtype) -> str:
    """`dense`, `blocked`, `splash` or `cudnn`: what a program being traced now is to take.

    `auto` asks for the devices that the program is for: those of the active mesh, also when
    they are only described (ahead-of-time compilation), or else the default backend's.

    Raises:
      AttentionChoiceError: `config.attention` names a kernel that those devices lack.
    """
    platform, device_kind = _target()
    wanted = config.attention
    if wanted == "auto":
        if platform == "tpu":
            return "splash"
        if platform == "cpu" and _length_is_whole():
            return "blocked"
        cudnn = platform in ("gpu", "cuda") and _cudnn_takes(config, dtype)
        return "cudnn" if cudnn else "dense"
    needed = {"splash": ("tpu",), "cudnn": ("gpu", "cuda")}.get(wanted, (platform,))
    if platform not in needed:
        raise AttentionChoiceError(
            f"attention={wanted!r} runs on {needed[0].upper()}s, this program is for {platform} "
            f"({device_kind}); attention='auto' takes what the devices have"
        )
    if wanted == "cudnn" and not _cudnn_takes(config, dtype):
        raise AttentionChoiceError(
            f"attention='cudnn' takes bfloat16, a head_dim of a multiple of 8 up to 256 and a "
            f"length that is not split; here dtype is {dtype}, head_dim {config.head_dim}, and "
            f"length lies on mesh axes {_specs()[0][1]}; attention='dense' takes any"
        )
    return wanted


def splash_attention(
    query_BSHh: Float[Array, "B S H h"],
    key_values: KeyValues,
    segment_ids_BS: Int[Array, "B S"],
    *,
    block: int | None = None,
    interpret: bool = False,
) -> Float[Array, "B S H h"]:
    """Attention of packed rows by JAX's Pallas kernel for TPU, blocks above the diagonal left out.

    Under a mesh each device computes its own batch rows, heads and, where the rules split
    `length`, its own queries against all keys.

    Args:
      query_BSHh: rotated and scaled by h**-0.5.
      key_values: rotated keys, and values; [B, S, K, h] each.
      segment_ids_BS: of queries and keys; padding is 0.
      block: rows of queries and of keys at a time; None takes the device's.
      interpret: run on any device, slowly: for tests.
    """
    _, S, H, h = query_BSHh.shape
    query_spec, key_spec, segment_spec = _specs()
    length_shards, head_shards = _parts(query_spec[1]), _parts(query_spec[2])
    kind = _target()[1]
    block = block or _BLOCK_OF_KIND.get(kind, _BLOCK)
    # Whole blocks for each device: no more rows than needed are padded where S is short.
    block = min(block, _round_up(-(-S // length_shards), _LANES))
    padded = _round_up(S, block * length_shards)

    mask = splash.MultiHeadMask([splash.CausalMask((padded, padded))] * H)
    sizes = splash.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=block,
        block_kv_dq=block,
    )
    kernel = splash.make_splash_mha(
        mask,
        block_sizes=sizes,
        head_shards=head_shards,
        q_seq_shards=length_shards,
        residual_checkpoint_name=rematerialization.ATTENTION,
        interpret=interpret,
    )

    def of_device(kernel: Callable, query: Array, key: Array, value: Array, *ids: Array) -> Array:
        # The head dimension is padded in here: in memory its tiles are full lanes anyway.
        width = ((0, 0), (0, 0), (0, 0), (0, _round_up(h, _LANES) - h))
        heads_first = [jnp.pad(x, width).swapaxes(1, 2) for x in (query, key, value)]
        out = jax.vmap(lambda q, k, v, *ids: kernel(q, k, v, splash.SegmentIds(*ids)))(
            *heads_first, *ids
        )
        return out.swapaxes(1, 2)[..., :h]

    # Rows that fill the last block come last: no other row sees them.
    end = ((0, 0), (0, padded - S))
    query, key, value = (
        jnp.pad(x, (*end, (0, 0), (0, 0))) for x in (query_BSHh, key_values.keys, key_values.values)
    )
    segment_ids = jnp.pad(segment_ids_BS, end)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        out = of_device(kernel, query, key, value, segment_ids, segment_ids)
    else:
        mask_spec = PartitionSpec(query_spec[2], query_spec[1])
        out = jax.shard_map(
            of_device,
            in_specs=(
                kernel.manual_sharding_spec(NamedSharding(mesh, mask_spec)),
                *(query_spec, key_spec, key_spec),
                *(segment_spec, PartitionSpec(segment_spec[0], None)),
            ),
            out_specs=query_spec,
            check_vma=False,
        )(kernel, query, key, value, segment_ids, segment_ids)
    return out[:, :S]


def cudnn_attention(
    query_BSHh: Float[Array, "B S H h"],
    key_values: KeyValues,
    segment_ids_BS: Int[Array, "B S"],
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B S H h"]:
    """Attention of packed rows by cuDNN's flash kernel.

    JAX's public function tells cuDNN of segments as a [B, 1, S, S] mask that all heads share
    (32 MB a sequence of 4,096 in bfloat16); cuDNN's packed layout, which needs none, is behind
    private names of JAX. Blocks above the diagonal are left out.

    Args:
      query_BSHh: rotated and scaled by h**-0.5; bfloat16.
      key_values: rotated keys, and values; [B, S, K, h] each.
      segment_ids_BS: of queries and keys; padding is 0.
      implementation: `xla` runs anywhere, with a score matrix: for tests.
    """

    def of_device(query: Array, key: Array, value: Array, segment_ids: Array) -> Any:
        return jax.nn.dot_product_attention(
            query,
            key,
            value,
            mask=segment_ids[:, None, :, None] == segment_ids[:, None, None, :],
            scale=1.0,
            is_causal=True,
            implementation=implementation,
        )

    query_spec, key_spec, segment_spec = _specs()
    if not jax.sharding.get_abstract_mesh().empty:
        of_device = jax.shard_map(
            of_device,
            in_specs=(query_spec, key_spec, key_spec, segment_spec),
            out_specs=query_spec,
            check_vma=False,
        )
    return of_device(query_BSHh, *key_values, segment_ids_BS)


KERNELS: dict[str, Callable[..., Array]] = {
    "blocked": blocked_attention,
    "splash": splash_attention,
    "cudnn": cudnn_attention,
}


def _cudnn_takes(config: TransformerConfig, dtype: jnp.dtype) -> bool:
    shape = config.head_dim <= 256 and config.head_dim % 8 == 0
    return shape and dtype == jnp.bfloat16 and _length_is_whole()


def _length_is_whole() -> bool:
    return _specs()[0][1] is None


def _target() -> tuple[str, str]:
    """Platform and device kind that the program being traced is for."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is not None and device.platform:
        return device.platform, device.device_kind
    default = jax.devices()[0]
    return default.platform, default.device_kind


def _specs() -> tuple[PartitionSpec, PartitionSpec, PartitionSpec]:
    """Mesh axes of queries, of keys and values (whole in length), and of segment ids."""
    query, key = (
        nn.logical_to_mesh_axes(axes) or PartitionSpec()
        for axes in (("batch", "length", "heads", None), ("batch", None, "kv_heads", None))
    )
    return query, key, PartitionSpec(*query[:2])


def _parts(mesh_axes: str | tuple[str, ...] | None) -> int:
    sizes = jax.sharding.get_abstract_mesh().shape
    names = (mesh_axes,) if isinstance(mesh_axes, str) else mesh_axes or ()
    return math.prod(sizes[name] for name in names)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
