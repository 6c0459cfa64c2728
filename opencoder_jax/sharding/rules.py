"""One table of logical axis rules: which mesh axis splits which dimension of which array.

`AxisRules` maps the model's logical axis names to mesh axes, as T5X does; within one array
a mesh axis is used once, by the first dimension that asks for it. That is why `embed` is
split over `fsdp` in a parameter and whole in an activation, whose batch has taken `fsdp`
already. A mesh that does not divide a dimension is refused with the numbers.
Next: `table`, which prints what comes of it.
"""

import collections
import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params, abstract_params, logical_axes
from opencoder_jax.model.vocabulary_table import torus_sides
from opencoder_jax.sharding.mesh import MESH_AXES, AnyMesh, ShardingError, sides_of_axes

BATCH_AXES = ("batch", "length")

MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class AxisRules:
    """Logical axis name to the mesh axes that split it; None leaves it whole."""

    batch: MeshAxes = ("data", "fsdp")
    length: MeshAxes = None
    embed: MeshAxes = "fsdp"
    heads: MeshAxes = "tensor"
    kv_heads: MeshAxes = "tensor"
    kv: MeshAxes = None
    mlp: MeshAxes = "tensor"
    vocab: MeshAxes = "tensor"
    layers: MeshAxes = None

    def __post_init__(self) -> None:
        for name, axes in self.as_flax():
            unknown = sorted(set(mesh_axes_of(axes)) - set(MESH_AXES))
            if unknown:
                raise ShardingError(f"rule {name}={axes!r}: mesh axes are {', '.join(MESH_AXES)}")

    def as_flax(self) -> tuple[tuple[str, MeshAxes], ...]:
        return tuple((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))

    def spec(self, axes: tuple[str, ...]) -> PartitionSpec:
        """The mesh axes of an array with these logical axes."""
        used: set[str] = set()
        entries: list[MeshAxes] = []
        for name in axes:
            free = tuple(axis for axis in mesh_axes_of(getattr(self, name)) if axis not in used)
            used.update(free)
            entries.append(free[0] if len(free) == 1 else free or None)
        return PartitionSpec(*entries)


@contextlib.contextmanager
def activate(mesh: AnyMesh, rules: AxisRules) -> Iterator[None]:
    """Makes the model's constraints on activations refer to this mesh and these rules.

    Functions must be traced (first called, or lowered) inside it.
    """
    use: contextlib.AbstractContextManager = (
        jax.set_mesh(mesh) if isinstance(mesh, Mesh) else jax.sharding.use_abstract_mesh(mesh)
    )
    token = torus_sides.set(sides_of_axes(mesh))
    try:
        with use, nn.logical_axis_rules(rules.as_flax()):
            yield
    finally:
        torus_sides.reset(token)


def param_shardings(config: TransformerConfig, mesh: AnyMesh, rules: AxisRules) -> Params:
    """The tree of the model's parameters with a `NamedSharding` for each.

    Raises:
      ShardingError: a mesh axis does not divide a dimension.
    """
    shapes = abstract_params(config)

    def sharding(path: tuple, axes: tuple[str, ...], array: jax.ShapeDtypeStruct) -> NamedSharding:
        check_divides(param_name(path), axes, array.shape, mesh, rules)
        return NamedSharding(mesh, rules.spec(axes))

    return jax.tree_util.tree_map_with_path(
        sharding, logical_axes(config), shapes, is_leaf=lambda x: isinstance(x, tuple)
    )


def batch_sharding(mesh: AnyMesh, rules: AxisRules) -> NamedSharding:
    """The sharding of each [B, S] array of a batch."""
    return NamedSharding(mesh, rules.spec(BATCH_AXES))


def local_rows(batch_size: int, mesh: AnyMesh, rules: AxisRules) -> list[int]:
    """The rows of a batch that lie on devices of this process, ascending.

    Raises:
      ShardingError: the mesh does not divide the batch.
    """
    return process_rows(batch_size, mesh, rules)[jax.process_index()]


def process_rows(batch_size: int, mesh: AnyMesh, rules: AxisRules) -> dict[int, list[int]]:
    """The rows of a batch on the devices of each process, ascending.

    Processes whose devices hold the same rows (along `tensor`) get the same ones, and on a
    torus the rows of a process are not always neighbours.

    Raises:
      ShardingError: the mesh does not divide the batch.
    """
    check_divides("batch", BATCH_AXES[:1], (batch_size,), mesh, rules)
    placed = NamedSharding(mesh, rules.spec(BATCH_AXES[:1]))
    rows: dict[int, set[int]] = collections.defaultdict(set)
    blocks: Mapping[Any, Any] = placed.devices_indices_map((batch_size,))
    for device, (block,) in blocks.items():
        rows[device.process_index].update(range(batch_size)[block])
    return {process: sorted(found) for process, found in rows.items()}


def replicated(mesh: AnyMesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def check_divides(
    name: str, axes: tuple[str, ...], shape: tuple[int, ...], mesh: AnyMesh, rules: AxisRules
) -> None:
    """Refuses an array that the mesh cannot split evenly.

    Args:
      name: of the array, for the message, e.g. `batch`.
      axes: its logical axes.
      shape: its shape.
      mesh: the mesh.
      rules: the rules.

    Raises:
      ShardingError: the message has the axis, the sizes and those that work.
    """
    sizes = dict(mesh.shape)
    for axis, length, entry in zip(axes, shape, rules.spec(axes), strict=True):
        parts = math.prod(sizes[mesh_axis] for mesh_axis in mesh_axes_of(entry))
        if length % parts:
            divisors = [d for d in range(1, length + 1) if length % d == 0]
            where = " x ".join(f"{m}={sizes[m]}" for m in mesh_axes_of(entry))
            raise ShardingError(
                f"{name}: the mesh ({where}) splits {axis} into {parts} parts, which does not "
                f"divide its length {length}; these do: {', '.join(map(str, divisors))}"
            )


def param_name(path: tuple) -> str:
    """`layers/attention/query/kernel` of a path in the parameter tree."""
    return "/".join(str(key.key) for key in path)


def mesh_axes_of(entry: MeshAxes) -> tuple[str, ...]:
    """An entry of a rule or of a `PartitionSpec` as a tuple of mesh axes."""
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
