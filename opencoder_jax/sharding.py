"""Where every array lies: the mesh, one table of logical axis rules, and a table to look at.

The mesh has three axes. `data` copies the parameters, `fsdp` splits both the batch and
the parameters, `tensor` splits heads, feed-forward and vocabulary. `AxisRules` maps the
model's logical axis names to them, as T5X does; within one array a mesh axis is used
once, by the first dimension that asks for it. That is why `embed` is split over `fsdp`
in a parameter and whole in an activation, whose batch has taken `fsdp` already.

A mesh that does not divide a dimension is refused with the numbers. To see the result:
`python -m opencoder_jax.sharding --gin_file=sharding/opencoder_1b5.gin`; it needs no
devices, so it answers for any pod from a laptop.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params, abstract_params, logical_axes

MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("batch", "length")

MeshAxes = str | tuple[str, ...] | None
AnyMesh = Mesh | AbstractMesh


class ShardingError(InputError):
    """A mesh that the devices or the model's dimensions cannot fill."""


@dataclasses.dataclass(frozen=True, slots=True)
class MeshConfig:
    """Sizes of the mesh axes; one of them may be -1, for all devices that are left.

    Attributes:
      data: copies of the parameters.
      fsdp: parts that the batch and every parameter are split into.
      tensor: parts that heads, feed-forward and vocabulary are split into.
      virtual_cpu_devices: make the CPU look like this many devices; 0 leaves it alone.
    """

    data: int = 1
    fsdp: int = -1
    tensor: int = 1
    virtual_cpu_devices: int = 0

    def __post_init__(self) -> None:
        sizes = {axis: getattr(self, axis) for axis in MESH_AXES}
        if any(size < 1 and size != -1 for size in sizes.values()):
            raise ShardingError(f"mesh {sizes}: sizes are at least 1, or -1 for the rest")
        if list(sizes.values()).count(-1) > 1:
            raise ShardingError(f"mesh {sizes}: only one axis can be -1")

    def shape(self, device_count: int) -> tuple[int, int, int]:
        """The three sizes for `device_count` devices.

        Raises:
          ShardingError: they do not multiply to it.
        """
        sizes = [self.data, self.fsdp, self.tensor]
        named = ", ".join(f"{axis}={size}" for axis, size in zip(MESH_AXES, sizes, strict=True))
        fixed = math.prod(size for size in sizes if size != -1)
        if -1 in sizes:
            if device_count % fixed:
                raise ShardingError(
                    f"mesh {named}: {fixed} does not divide the {device_count} devices"
                )
            sizes[sizes.index(-1)] = device_count // fixed
        elif fixed != device_count:
            raise ShardingError(f"mesh {named} needs {fixed} devices; there are {device_count}")
        return sizes[0], sizes[1], sizes[2]


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
            unknown = sorted(set(_as_tuple(axes)) - set(MESH_AXES))
            if unknown:
                raise ShardingError(f"rule {name}={axes!r}: mesh axes are {', '.join(MESH_AXES)}")

    def as_flax(self) -> tuple[tuple[str, MeshAxes], ...]:
        return tuple((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))

    def spec(self, axes: tuple[str, ...]) -> PartitionSpec:
        """The mesh axes of an array with these logical axes."""
        used: set[str] = set()
        entries: list[MeshAxes] = []
        for name in axes:
            free = tuple(axis for axis in _as_tuple(getattr(self, name)) if axis not in used)
            used.update(free)
            entries.append(free[0] if len(free) == 1 else free or None)
        return PartitionSpec(*entries)


def use_virtual_cpu_devices(count: int) -> None:
    """Makes the CPU look like `count` devices.

    Raises:
      ShardingError: JAX has been used already, with another number of devices.
    """
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if jax.device_count() != count:
            raise ShardingError(
                f"virtual_cpu_devices={count}: JAX runs on {jax.device_count()} devices already; "
                "make the mesh before any array"
            ) from error


def make_mesh(config: MeshConfig) -> Mesh:
    """The mesh over all devices of all hosts.

    Raises:
      ShardingError: the sizes do not multiply to the number of devices.
    """
    if config.virtual_cpu_devices:
        use_virtual_cpu_devices(config.virtual_cpu_devices)
    shape = config.shape(jax.device_count())
    return jax.make_mesh(shape, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def make_abstract_mesh(config: MeshConfig) -> AbstractMesh:
    """A mesh without devices, to lower programs for and to compute shardings with."""
    sizes = [getattr(config, axis) for axis in MESH_AXES]
    if -1 in sizes:
        raise ShardingError(f"an abstract mesh has no devices to count: give all of {MESH_AXES}")
    return AbstractMesh(tuple(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


@contextlib.contextmanager
def activate(mesh: AnyMesh, rules: AxisRules) -> Iterator[None]:
    """Makes the model's constraints on activations refer to this mesh and these rules.

    Functions must be traced (first called, or lowered) inside it.
    """
    use: contextlib.AbstractContextManager = (
        jax.set_mesh(mesh) if isinstance(mesh, Mesh) else jax.sharding.use_abstract_mesh(mesh)
    )
    with use, nn.logical_axis_rules(rules.as_flax()):
        yield


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
        parts = math.prod(sizes[mesh_axis] for mesh_axis in _as_tuple(entry))
        if length % parts:
            divisors = [d for d in range(1, length + 1) if length % d == 0]
            where = " x ".join(f"{m}={sizes[m]}" for m in _as_tuple(entry))
            raise ShardingError(
                f"{name}: the mesh ({where}) splits {axis} into {parts} parts, which does not "
                f"divide its length {length}; these do: {', '.join(map(str, divisors))}"
            )


def param_name(path: tuple) -> str:
    """`layers/attention/query/kernel` of a path in the parameter tree."""
    return "/".join(str(key.key) for key in path)


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


def print_parameter_table(
    model: TransformerConfig, mesh: MeshConfig, rules: AxisRules | None = None
) -> None:
    """Prints parameter, logical axes, mesh axes and bytes per device; needs no devices."""
    abstract_mesh = make_abstract_mesh(mesh)
    rows = parameter_table(model, abstract_mesh, rules or AxisRules())
    print(format_parameter_table(rows, abstract_mesh), end="")


def _as_tuple(axes: MeshAxes) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)


def _entry_text(entry: Any) -> str:
    return "+".join(_as_tuple(entry)) or "-"


if __name__ == "__main__":
    raise SystemExit(
        configuration.main(print_parameter_table, default_gin_files=["sharding/opencoder_1b5.gin"])
    )
