"""The two tables of the vocabulary under a mesh: whole where they are used, in parts elsewhere.

As parameters they lie in columns: a device has all its words and a part of the width
(`embed`). A lookup and the loss want whole rows. `gather` and `scatter` go by way of parts of
whole rows, which are whole tiles of TPU memory: 96,640 words split well, the 2,240 columns of
the 1.5B over 16 or 64 devices do not, and what does not, the TPU's compiler copies twice more
to gather, and sums everywhere before it cuts. To turn a device's columns into rows sends one
device's part, of as many as there are devices. Inside `jax.shard_map`; the loss is
`training.fused_loss`. Tests: tests/opencoder_jax/model/test_vocabulary_table.py.
"""

import functools
import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.errors import InputError

Axes = tuple[str, ...]

# Rows of a tile of TPU memory.
_SUBLANES = 8

# Mesh axis to the sides of the torus along which it runs, the last the fastest; an axis that is
# not in it is one line. `sharding.activate` sets it.
torus_sides: ContextVar[Mapping[str, tuple[int, ...]]] = ContextVar(
    "torus_sides", default=MappingProxyType({})
)


class TableAxes(NamedTuple):
    """Mesh axes that split the dimensions of tokens (the first two) and of a table.

    Axes of size 1 are not among them.
    """

    batch: Axes = ()
    length: Axes = ()
    embed: Axes = ()
    vocab: Axes = ()

    @property
    def tokens(self) -> Axes:
        """Axes along which devices have different tokens."""
        return self.batch + self.length


def active_axes() -> TableAxes:
    """By the active mesh and rules.

    Raises:
      InputError: a mesh axis splits both words and tokens: no device has all logits of a token,
        not even together with others.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return TableAxes()
    axes = TableAxes(*(_mesh_axes(name) for name in TableAxes._fields))
    if both := sorted(set(axes.vocab) & set(axes.tokens + axes.embed)):
        raise InputError(
            f"AxisRules.vocab names mesh axis {both[0]!r}, which also splits batch, length or "
            "embed; give vocab another one, or None"
        )
    return axes


def gather(part_Vd: Float[Array, "V d"], axes: TableAxes, blocks: int = 1) -> Float[Array, "P D"]:
    """A device's words in full width; the P - V rows at the end are zeros.

    Args:
      part_Vd: its columns of the table.
      axes: of the mesh.
      blocks: equal parts that the rows are to make, each of which `scatter` can take.
    """
    words = part_Vd.shape[0]
    part_Pd = jnp.pad(part_Vd, ((0, _padded(words, axes, blocks) - words), (0, 0)))
    if not axes.embed:
        return part_Pd
    rows_pD = jax.lax.all_to_all(part_Pd, axes.embed, split_axis=0, concat_axis=1, tiled=True)
    # Turned before they are gathered: the unembedding's columns would be gathered, then copied.
    return jax.lax.all_gather(in_rows(rows_pD), axes.embed, tiled=True)


def scatter(gradient_PD: Float[Array, "P D"], axes: TableAxes, words: int) -> Float[Array, "V d"]:
    """The way back: a device's part of the sum of all devices' gradients.

    Args:
      gradient_PD: of what `gather` gave.
      axes: the same.
      words: V.
    """
    if axes.embed:
        # Devices that split the width and not the tokens have one and the same gradient.
        copies = _size(tuple(axis for axis in axes.embed if axis not in axes.tokens))
        rows_pD = _reduce_scattered(gradient_PD, axes.embed) / copies
        gradient_PD = jax.lax.all_to_all(
            rows_pD, axes.embed, split_axis=1, concat_axis=0, tiled=True
        )
    summed = tuple(axis for axis in axes.tokens if axis not in axes.embed)
    gradient_Vd = gradient_PD[:words]
    return jax.lax.psum(gradient_Vd, summed) if summed else gradient_Vd


def in_rows(x_PD: Float[Array, "P D"]) -> Float[Array, "P D"]:
    """Rows as rows in memory, or the TPU's compiler does not reduce-scatter them."""
    return with_layout_constraint(x_PD, Layout((0, 1)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def look_up(
    table_VD: Float[Array, "V D"], tokens_BS: Int[Array, "B S"], dtype: str
) -> Float[Array, "B S D"]:
    """Rows of a table in `dtype`; their gradient is summed over tokens and devices in float32.

    Args:
      table_VD: as stored.
      tokens_BS: below V.
      dtype: of the result.
    """
    axes = _axes_of(tokens_BS)

    def of_device(part_Vd: Array, tokens_BS: Array) -> Array:
        places_BS, is_mine_BS = _places(tokens_BS, part_Vd.shape[0], axes)
        rows_BSD = gather(part_Vd.astype(dtype), axes)[places_BS]
        if not axes.vocab:
            return rows_BSD
        return jax.lax.psum(jnp.where(is_mine_BS[..., None], rows_BSD, 0), axes.vocab)

    table, tokens, rows = _specs(axes)
    return over_devices(of_device, (table, tokens), rows)(table_VD, tokens_BS)


def _forward(table_VD: Array, tokens_BS: Array, dtype: str) -> tuple[Array, tuple[Array, Array]]:
    return look_up(table_VD, tokens_BS, dtype), (table_VD, tokens_BS)


def _backward(
    dtype: str, residuals: tuple[Array, Array], cotangent_BSD: Array
) -> tuple[Array, None]:
    table_VD, tokens_BS = residuals
    axes = _axes_of(tokens_BS)
    words = table_VD.shape[0] // _size(axes.vocab)

    def of_device(tokens_BS: Array, cotangent_BSD: Array) -> Array:
        places_BS, is_mine_BS = _places(tokens_BS, words, axes)
        rows_BSD = jnp.where(is_mine_BS[..., None], cotangent_BSD.astype(jnp.float32), 0)
        zeros_PD = jnp.zeros((_padded(words, axes), rows_BSD.shape[-1]), jnp.float32)
        return scatter(zeros_PD.at[places_BS].add(rows_BSD), axes, words)

    table, tokens, rows = _specs(axes)
    gradient_VD = over_devices(of_device, (tokens, rows), table)(tokens_BS, cotangent_BSD)
    return gradient_VD.astype(table_VD.dtype), None


look_up.defvjp(_forward, _backward)


def _reduce_scattered(x_PD: Float[Array, "P D"], axes: Axes) -> Float[Array, "p D"]:
    """A device's rows of the sum over devices, along one side of the torus after the other.

    Along several sides at once the TPU's compiler makes a sum of everything everywhere, for
    which it needs a second array of that size, and cuts it.
    """
    for axis in axes:
        size = _size((axis,))
        sides = torus_sides.get().get(axis, (size,))
        places = np.arange(size).reshape(sides)
        for side in range(len(sides)):
            groups = np.moveaxis(places, side, -1).reshape(-1, sides[side]).tolist()
            x_PD = jax.lax.psum_scatter(
                x_PD, axis, axis_index_groups=groups if len(sides) > 1 else None, tiled=True
            )
            x_PD = in_rows(x_PD)
    return x_PD


def _axes_of(tokens_BS: Array) -> TableAxes:
    """The active ones, without those of tokens where they do not divide these."""
    axes = active_axes()
    B, S = tokens_BS.shape
    splits = B % _size(axes.batch) == 0 and S % _size(axes.length) == 0
    return axes if splits else axes._replace(batch=(), length=())


def _places(
    tokens_BS: Array, words: int, axes: TableAxes
) -> tuple[Int[Array, "B S"], Bool[Array, "B S"]]:
    """Rows of a device's part, and whether they are those of the tokens."""
    if not axes.vocab:
        return tokens_BS, jnp.ones_like(tokens_BS, bool)
    places_BS = tokens_BS - jax.lax.axis_index(axes.vocab) * words
    is_mine_BS = (places_BS >= 0) & (places_BS < words)
    return jnp.where(is_mine_BS, places_BS, 0), is_mine_BS


def _specs(axes: TableAxes) -> tuple[PartitionSpec, PartitionSpec, PartitionSpec]:
    """Of a table, of tokens, of a row for each token."""
    tokens = (axes.batch, axes.length)
    return PartitionSpec(axes.vocab, axes.embed), PartitionSpec(*tokens), PartitionSpec(*tokens)


def over_devices(of_device: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """`of_device` on each device's parts of its arrays; without an active mesh, on all of them."""
    if jax.sharding.get_abstract_mesh().empty:
        return of_device
    return jax.shard_map(of_device, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _padded(words: int, axes: TableAxes, blocks: int = 1) -> int:
    """Rows that make `blocks` equal parts, of which each device of `embed` has whole tiles."""
    multiple = blocks * (_SUBLANES * _size(axes.embed) if axes.embed else 1)
    return -(-words // multiple) * multiple


def _size(axes: Axes) -> int:
    sizes = jax.sharding.get_abstract_mesh().shape
    return math.prod(sizes[axis] for axis in axes)


def _mesh_axes(name: str) -> Axes:
    """Mesh axes that split a logical axis by the active rules; those of size 1 do not."""
    entry = (nn.logical_to_mesh_axes((name,)) or (None,))[0]
    names = () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
    sizes = jax.sharding.get_abstract_mesh().shape
    return tuple(name for name in names if sizes[name] > 1)
