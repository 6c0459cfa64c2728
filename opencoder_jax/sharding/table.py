"""The table of a model on a mesh: parameter, logical axes, mesh axes, bytes per device.

The optimizer's state is shown beside the parameters that it belongs to, whatever optimizer
it is of: an array of the state belongs to the parameter whose path its own path ends with.
Activations are not here, for they depend on the program: `opencoder_jax.precompile` has them.
"""

import collections
import dataclasses
import math
from typing import Any

import jax
from jax.sharding import PartitionSpec
from rich.console import Console
from rich.table import Table

from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import abstract_params, logical_axes
from opencoder_jax.sharding.mesh import AnyMesh
from opencoder_jax.sharding.rules import (
    BATCH_AXES,
    AxisRules,
    MeshAxes,
    batch_sharding,
    check_divides,
    mesh_axes_of,
    param_name,
    param_shardings,
)


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterRow:
    """One line of the parameter table.

    Attributes:
      name: path of the parameter.
      shape: of the whole array.
      logical_axes: names of its dimensions.
      mesh_axes: what splits each of them.
      bytes_per_device: of the parameter; its gradient has as many.
      optimizer_bytes: of the optimizer's arrays for it, per device; 0 without an optimizer.
    """

    name: str
    shape: tuple[int, ...]
    logical_axes: tuple[str, ...]
    mesh_axes: PartitionSpec
    bytes_per_device: int
    optimizer_bytes: int = 0


def parameter_table(
    config: TransformerConfig, mesh: AnyMesh, rules: AxisRules, opt_state: Any = None
) -> list[ParameterRow]:
    """Every parameter with how it is split.

    Args:
      config: the model.
      mesh: the mesh.
      rules: the rules.
      opt_state: the optimizer's state as `jax.ShapeDtypeStruct`s with shardings
        (`training.step.abstract_state`); None for no optimizer.

    Raises:
      ShardingError: a mesh axis does not divide a dimension.
    """
    shapes = jax.tree_util.tree_leaves_with_path(abstract_params(config))
    axes = jax.tree.leaves(logical_axes(config), is_leaf=lambda x: isinstance(x, tuple))
    shardings = jax.tree.leaves(param_shardings(config, mesh, rules))
    of_optimizer = _bytes_by_parameter(opt_state)
    return [
        ParameterRow(
            name=param_name(path),
            shape=array.shape,
            logical_axes=names,
            mesh_axes=sharding.spec,
            bytes_per_device=math.prod(sharding.shard_shape(array.shape)) * array.dtype.itemsize,
            optimizer_bytes=of_optimizer[param_name(path)],
        )
        for (path, array), names, sharding in zip(shapes, axes, shardings, strict=True)
    ]


def format_parameter_table(rows: list[ParameterRow], mesh: AnyMesh) -> str:
    """The table as plain text, with the sums: what `model-info.txt` holds."""
    table = Table(box=None, pad_edge=False)
    for title in ("parameter", "shape", "logical axes", "mesh axes"):
        table.add_column(title, no_wrap=True)
    for title in ("bytes/device", "optimizer"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            " ".join(map(str, row.shape)),
            " ".join(row.logical_axes),
            " ".join(_entry_text(entry) for entry in row.mesh_axes),
            f"{row.bytes_per_device:,}",
            f"{row.optimizer_bytes:,}" if row.optimizer_bytes else "-",
        )
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    sizes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    parameters = sum(row.bytes_per_device for row in rows)
    optimizer = sum(row.optimizer_bytes for row in rows)
    lines += [
        "",
        f"mesh: {sizes} ({mesh.size} devices)",
        f"parameters: {sum(math.prod(row.shape) for row in rows):,}",
        f"bytes of parameters per device: {parameters:,}",
    ]
    if optimizer:
        lines += [
            f"bytes of gradients per device: {parameters:,}",
            f"bytes of optimizer state per device: {optimizer:,}",
            f"bytes of all three per device: {2 * parameters + optimizer:,}",
        ]
    return "\n".join(lines) + "\n"


def format_batch(batch_size: int, length: int, mesh: AnyMesh, rules: AxisRules) -> str:
    """One line: what a device gets of a batch.

    Raises:
      ShardingError: the mesh does not divide it.
    """
    check_divides("batch", BATCH_AXES, (batch_size, length), mesh, rules)
    rows, columns = batch_sharding(mesh, rules).shard_shape((batch_size, length))
    return (
        f"batch: {batch_size:,} sequences of {length:,} tokens, on a device {rows:,} of them"
        f"{'' if columns == length else f', {columns:,} tokens of each'} "
        f"({rows * columns:,} tokens)\n"
    )


def _bytes_by_parameter(opt_state: Any) -> collections.Counter[str]:
    """Bytes per device of an optimizer's arrays, by the parameter that they are for."""
    found: collections.Counter[str] = collections.Counter()
    for path, array in jax.tree_util.tree_leaves_with_path(opt_state):
        keys = [key for key in path if isinstance(key, jax.tree_util.DictKey)]
        shard = array.sharding.shard_shape(array.shape)
        found[param_name(tuple(keys))] += math.prod(shard) * array.dtype.itemsize
    return found


def _entry_text(entry: MeshAxes) -> str:
    return "+".join(mesh_axes_of(entry)) or "-"
