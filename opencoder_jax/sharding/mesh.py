"""The mesh: devices in a grid of three named axes, laid out so that neighbours are neighbours.

`data` copies the parameters, `fsdp` splits both the batch and the parameters, `tensor`
splits heads, feed-forward and vocabulary. Over several TPU slices, `dcn_data` and
`dcn_fsdp` say how often `data` and `fsdp` are repeated over the network between slices;
the axes keep their names, so nothing else has to know about slices.

`make_mesh` takes the devices of this run or of a described topology alike, so what is
compiled ahead of time has the layout of the run. Next: `rules`, which axis splits what.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, Mesh

from opencoder_jax.errors import InputError

# From the least communication to the most: the last takes the closest neighbours.
MESH_AXES = ("data", "fsdp", "tensor")

AnyMesh = Mesh | AbstractMesh
Shape = tuple[int, int, int]

_AUTO = (AxisType.Auto,) * len(MESH_AXES)


class ShardingError(InputError):
    """A mesh that the devices or the model's dimensions cannot fill."""


@dataclasses.dataclass(frozen=True, slots=True)
class MeshConfig:
    """Sizes of the mesh axes; one of the first three may be -1, for all devices left.

    Attributes:
      data: copies of the parameters within a slice.
      fsdp: parts that the batch and every parameter are split into, within a slice.
      tensor: parts that heads, feed-forward and vocabulary are split into.
      dcn_data: slices, or groups of them, that each hold copies: multiplies `data`.
      dcn_fsdp: slices that the parameters are split over: multiplies `fsdp`. The network
        between slices is slow, so this is for models that do not fit into one.
      allow_split_physical_axes: let a mesh axis take a part of a side of the TPU's torus,
        where sizes are no products of whole sides. Rings over a part have no wrap-around.
      virtual_cpu_devices: make the CPU look like this many devices; 0 leaves it alone.
    """

    data: int = 1
    fsdp: int = -1
    tensor: int = 1
    dcn_data: int = 1
    dcn_fsdp: int = 1
    allow_split_physical_axes: bool = False
    virtual_cpu_devices: int = 0

    def __post_init__(self) -> None:
        sizes = {axis: getattr(self, axis) for axis in MESH_AXES}
        if any(size < 1 and size != -1 for size in sizes.values()):
            raise ShardingError(f"mesh {sizes}: sizes are at least 1, or -1 for the rest")
        if list(sizes.values()).count(-1) > 1:
            raise ShardingError(f"mesh {sizes}: only one axis can be -1")
        if min(self.dcn_data, self.dcn_fsdp) < 1:
            raise ShardingError(
                f"mesh dcn_data={self.dcn_data}, dcn_fsdp={self.dcn_fsdp}: sizes are at least 1"
            )

    @property
    def num_slices(self) -> int:
        """How many TPU slices the mesh is over."""
        return self.dcn_data * self.dcn_fsdp

    @property
    def dcn_shape(self) -> Shape:
        """Parts of each mesh axis over the network between slices."""
        return self.dcn_data, self.dcn_fsdp, 1

    def shape(self, device_count: int) -> Shape:
        """The three sizes over all slices, for `device_count` devices in all.

        Raises:
          ShardingError: they do not multiply to it.
        """
        if device_count % self.num_slices:
            raise ShardingError(
                f"mesh {self}: {self.num_slices} slices do not divide the {device_count} devices"
            )
        data, fsdp, tensor = self._slice_shape(device_count // self.num_slices)
        return data * self.dcn_data, fsdp * self.dcn_fsdp, tensor

    def _slice_shape(self, device_count: int) -> Shape:
        """The sizes within one slice of `device_count` devices."""
        sizes = [self.data, self.fsdp, self.tensor]
        of_slice = " of a slice" if self.num_slices > 1 else ""
        fixed = math.prod(size for size in sizes if size != -1)
        if -1 in sizes:
            if device_count % fixed:
                raise ShardingError(
                    f"mesh {self}: {fixed} does not divide the {device_count} devices{of_slice}"
                )
            sizes[sizes.index(-1)] = device_count // fixed
        elif fixed != device_count:
            raise ShardingError(
                f"mesh {self} needs {fixed} devices{of_slice}; there are {device_count}"
            )
        return sizes[0], sizes[1], sizes[2]

    def __str__(self) -> str:
        """`data=2, fsdp=4, tensor=1`, for messages."""
        names = (*MESH_AXES, *(("dcn_data", "dcn_fsdp") if self.num_slices > 1 else ()))
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def use_virtual_cpu_devices(count: int) -> None:
    """Makes the CPU look like `count` devices.

    Raises:
      ShardingError: JAX has been used already, with another number of devices.
    """
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if jax.local_device_count() != count:
            raise ShardingError(
                f"virtual_cpu_devices={count}: JAX runs on {jax.local_device_count()} devices "
                "already; make the mesh before any array"
            ) from error


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over all devices of all hosts.

    Args:
      config: its sizes.
      devices: real ones, or those of `jax.experimental.topologies.get_topology_desc`; None
        takes all that JAX has.

    Raises:
      ShardingError: the sizes do not multiply to the number of devices or slices, or do not
        fit the torus that they form.
    """
    if devices is None:
        if config.virtual_cpu_devices:
            use_virtual_cpu_devices(config.virtual_cpu_devices)
        devices = jax.devices()
    on_torus = devices[0].platform == "tpu"
    grid = _grid_on_torus(config, devices) if on_torus else _grid_in_order(config, devices)
    return Mesh(grid, MESH_AXES, axis_types=_AUTO)


def make_abstract_mesh(config: MeshConfig, device: AbstractDevice | None = None) -> AbstractMesh:
    """A mesh without devices, to lower programs for and to compute shardings with.

    Args:
      config: its sizes; -1 is none.
      device: what it would be made of, for programs that choose by it; None leaves it open.
    """
    sizes = [getattr(config, axis) for axis in MESH_AXES]
    if -1 in sizes:
        raise ShardingError(f"an abstract mesh has no devices to count: give all of {MESH_AXES}")
    shape = config.shape(math.prod(sizes) * config.num_slices)
    return AbstractMesh(shape, MESH_AXES, axis_types=_AUTO, abstract_device=device)


def sides_of_axes(mesh: AnyMesh) -> dict[str, tuple[int, ...]]:
    """Sides of the torus that each mesh axis runs along, where they are several.

    `{"fsdp": (16, 16)}`: neighbours in `fsdp` are so along the second side, and every 16th
    along the first. An axis in no such order, or over several slices, is left out.
    """
    if not isinstance(mesh, Mesh) or mesh.devices.flat[0].platform != "tpu":
        return {}
    found = {}
    for number, name in enumerate(mesh.axis_names):
        line = np.moveaxis(mesh.devices, number, 0).reshape(mesh.devices.shape[number], -1)[:, 0]
        sides = _sides(np.array([(*device.coords, device.core_on_chip) for device in line]))
        if len({getattr(device, "slice_index", 0) for device in line}) == 1 and len(sides) > 1:
            found[name] = sides
    return found


def _sides(places: np.ndarray) -> tuple[int, ...]:
    """Lengths of the sides that `places` (int[n, dimensions]) runs through, the last the fastest.

    Empty where it runs in no such order.
    """
    moving = [along for along in places.T if (along != along[0]).any()]
    moving.sort(key=lambda along: -int(np.argmax(along != along[0])))
    sides = tuple(len(set(along)) for along in moving)
    if math.prod(sides) != len(places):
        return ()
    for side, along in enumerate(moving):
        # One value for each place along this side, wherever along the others.
        by_place = np.moveaxis(along.reshape(sides), side, 0).reshape(sides[side], -1)
        if (by_place != by_place[:, :1]).any():
            return ()
    return sides


def _grid_in_order(config: MeshConfig, devices: Sequence[Any]) -> np.ndarray:
    """CPUs and GPUs have no torus: processes one after the other, slices outermost."""
    shape = config.shape(len(devices))
    inner = [size // parts for size, parts in zip(shape, config.dcn_shape, strict=True)]
    grid = np.asarray(devices, dtype=object).reshape(*config.dcn_shape, *inner)
    return grid.transpose(0, 3, 1, 4, 2, 5).reshape(shape)


def _grid_on_torus(config: MeshConfig, devices: Sequence[Any]) -> np.ndarray:
    """Mesh axes on sides of the torus; slices outermost."""
    # A topology of one slice does not number it.
    slices: dict[int, list[Any]] = {}
    for device in devices:
        slices.setdefault(getattr(device, "slice_index", 0), []).append(device)
    if len(slices) != config.num_slices:
        raise ShardingError(
            f"mesh {config} is over {config.num_slices} slice(s), the devices are of "
            f"{len(slices)}: MeshConfig.dcn_data * dcn_fsdp has to be that (most often "
            f"dcn_data={len(slices)}, dcn_fsdp=1)"
        )
    inner = config._slice_shape(len(devices) // len(slices))
    try:
        if len(slices) == 1:
            return mesh_utils.create_device_mesh(
                inner, devices, allow_split_physical_axes=config.allow_split_physical_axes
            )
        return mesh_utils.create_hybrid_device_mesh(
            inner,
            config.dcn_shape,
            devices,
            allow_split_physical_axes=config.allow_split_physical_axes,
        )
    except NotImplementedError as error:
        raise ShardingError(_misfit(config, inner, next(iter(slices.values())))) from error


def _misfit(config: MeshConfig, inner: Shape, devices: Sequence[Any]) -> str:
    """Why a slice's torus cannot hold the mesh, and which meshes it can."""
    sides = _torus(devices)
    fitting = sorted(
        {_assigned(sides, where) for where in itertools.product(range(3), repeat=len(sides))}
    )
    same_tensor = [f"data={d} fsdp={f}" for d, f, t in fitting if t == inner[2]]
    others = ", ".join(str(t) for t in sorted({t for *_, t in fitting}))
    works = (
        f"with tensor={inner[2]} these fit: {', '.join(same_tensor)}"
        if same_tensor
        else f"tensor has to be one of {others}"
    )
    return (
        f"mesh {config} does not fit the torus {'x'.join(map(str, sides))} of "
        f"{devices[0].device_kind}: each size has to be the product of whole sides of it; {works}. "
        "Or set MeshConfig.allow_split_physical_axes=True, for rings over parts of a side"
    )


def _torus(devices: Sequence[Any]) -> tuple[int, ...]:
    """Lengths of the sides of a slice that are longer than 1, e.g. (16, 16)."""
    places = np.array([(*device.coords, device.core_on_chip) for device in devices])
    lengths = places.max(axis=0) - places.min(axis=0) + 1
    return tuple(int(length) for length in lengths if length > 1)


def _assigned(sides: tuple[int, ...], where: tuple[int, ...]) -> Shape:
    """The mesh shape where side i lies along mesh axis `where[i]`."""
    shape = [1, 1, 1]
    for side, axis in zip(sides, where, strict=True):
        shape[axis] *= side
    return shape[0], shape[1], shape[2]
