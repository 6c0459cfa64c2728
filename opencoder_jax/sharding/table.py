"""The table of a model on a mesh: parameter, logical axes, mesh axes, bytes per device."""

import dataclasses
import math

import jax
from jax.sharding import PartitionSpec
from rich.console import Console
from rich.table import Table

from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import abstract_params, logical_axes
from opencoder_jax.sharding.mesh import AnyMesh
from opencoder_jax.sharding.rules import (
    AxisRules,
    MeshAxes,
    mesh_axes_of,
    param_name,
    param_shardings,
)


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterRow:
    """One line of the parameter table."""

    name: str
    shape: tuple[int, ...]
    logical_axes: tuple[str, ...]
    mesh_axes: PartitionSpec
    bytes_per_device: int


def parameter_table(
    config: TransformerConfig, mesh: AnyMesh, rules: AxisRules
) -> list[ParameterRow]:
    """Every parameter with how it is split.

    Raises:
      ShardingError: a mesh axis does not divide a dimension.
    """
    shapes = jax.tree_util.tree_leaves_with_path(abstract_params(config))
    axes = jax.tree.leaves(logical_axes(config), is_leaf=lambda x: isinstance(x, tuple))
    shardings = jax.tree.leaves(param_shardings(config, mesh, rules))
    return [
        ParameterRow(
            name=param_name(path),
            shape=array.shape,
            logical_axes=names,
            mesh_axes=sharding.spec,
            bytes_per_device=math.prod(sharding.shard_shape(array.shape)) * array.dtype.itemsize,
        )
        for (path, array), names, sharding in zip(shapes, axes, shardings, strict=True)
    ]


def format_parameter_table(rows: list[ParameterRow], mesh: AnyMesh) -> str:
    """The table as plain text, with the sums: what `model-info.txt` holds."""
    table = Table(box=None, pad_edge=False)
    for title in ("parameter", "shape", "logical axes", "mesh axes"):
        table.add_column(title, no_wrap=True)
    table.add_column("bytes/device", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            " ".join(map(str, row.shape)),
            " ".join(row.logical_axes),
            " ".join(_entry_text(entry) for entry in row.mesh_axes),
            f"{row.bytes_per_device:,}",
        )
    total = sum(math.prod(row.shape) for row in rows)
    per_device = sum(row.bytes_per_device for row in rows)
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(table)
    sizes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    return (
        "\n".join(line.rstrip() for line in capture.get().splitlines())
        + f"\n\nmesh: {sizes} ({mesh.size} devices)\n"
        f"parameters: {total:,}\nbytes of parameters per device: {per_device:,}\n"
    )


def _entry_text(entry: MeshAxes) -> str:
    return "+".join(mesh_axes_of(entry)) or "-"
