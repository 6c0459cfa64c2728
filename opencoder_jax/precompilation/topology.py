"""Names of TPU slices, and the devices of a slice that is not there.

`v5e:16x16` is libtpu's own form: chip and shape. Cloud's names are taken too, and count
differently: `v5e-256` and `v6e-256` are chips, `v5p-128` and `v4-128` are TensorCores, two
a chip, so 4x4x4. `devices` asks libtpu, the TPU's compiler and runtime as a library, which
needs no TPU; the environment variables that keep it from looking for one are set here.
"""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from opencoder_jax.errors import InputError
from opencoder_jax.precompilation.chips import Chip, chips

_SHAPED = re.compile(r"(\w+):(\d+(?:x\d+)*)")
_COUNTED = re.compile(r"(\w+)-(\d+)")
_OTHER_NAMES = {"v5litepod": "v5e", "v5lite": "v5e", "v5": "v5p", "trillium": "v6e"}
_EXAMPLES = "v5e:16x16, v5p:4x4x4, v6e-256, v5p-128"
# Slices of two dimensions that Cloud has, by chips.
_SQUARE_SHAPES = {
    1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16),
    256: (16, 16),
}  # fmt: skip
# Those of three dimensions below one cube of 4x4x4.
_BELOW_A_CUBE = {4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4)}
_POD_EDGE = 16


@dataclasses.dataclass(frozen=True)
class Topology:
    """Slices of one shape.

    Attributes:
      chip: what they are made of.
      shape: chips along each dimension of the torus of one slice.
      num_slices: slices, joined by the data centre network.
    """

    chip: Chip
    shape: tuple[int, ...]
    num_slices: int = 1

    @property
    def name(self) -> str:
        """As libtpu spells one slice, e.g. `v5e:16x16`."""
        return f"{self.chip.topology_prefix}:{'x'.join(map(str, self.shape))}"

    @property
    def num_chips(self) -> int:
        """Of all slices."""
        return math.prod(self.shape) * self.num_slices

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Whether the links of each dimension close to a ring.

        In two dimensions a whole edge of the pod (16) does; in three all do where the
        slice is made of cubes of 4x4x4 (cloud.google.com/tpu/docs/v5e, v4, v5p).
        """
        if self.chip.dimensions == 2:
            return tuple(length == _POD_EDGE for length in self.shape)
        cubes = all(length % 4 == 0 for length in self.shape)
        return (cubes,) * 3

    def describe(self) -> str:
        cores = self.num_chips * self.chip.cores_per_chip
        count = f"{self.num_chips} chips"
        if self.chip.cores_per_chip > 1:
            count += f", {cores} TensorCores"
        slices = f"{self.num_slices} slices of {self.name}" if self.num_slices > 1 else self.name
        return f"{slices} ({count})"


def parse(name: str, num_slices: int = 1) -> Topology:
    """The topology that a name means.

    Raises:
      InputError: no such chip, or no slice of that shape or size.
    """
    if num_slices < 1:
        raise InputError(f"num_slices is {num_slices}, expected at least 1")
    if match := _SHAPED.fullmatch(name):
        chip = _chip(name, match[1])
        shape = tuple(int(length) for length in match[2].split("x"))
    elif match := _COUNTED.fullmatch(name):
        chip = _chip(name, match[1])
        shape = _shape_of_count(name, chip, int(match[2]))
    else:
        raise InputError(f"topology {name!r} is no name of a slice, such as {_EXAMPLES}")
    _check_shape(name, chip, shape)
    return Topology(chip, shape, num_slices)


def devices(topology: Topology) -> Sequence[jax.Device]:
    """The JAX devices of all slices: descriptions to compile for, nothing runs on them.

    Makes this process one that compiles: JAX is told to compute on the CPU, and libtpu not
    to look for TPUs.

    Raises:
      InputError: libtpu is not installed or does not know the topology.
    """
    if not os.environ.get("TPU_LIBRARY_PATH") and importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "libtpu, the TPU's compiler, is not installed: `uv sync --extra tpu`, or "
            "`pip install libtpu`; it needs no TPU"
        )
    jax.config.update("jax_platforms", "cpu")
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        # Nothing runs on a TPU here, so nothing has to be kept from it.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        # No log files in the temporary folder, and no greeting.
        "TPU_LOG_DIR": "disabled",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }.items():
        os.environ.setdefault(variable, value)
    flat = topology.chip.dimensions == 2
    options: dict[str, Any] = {
        "chip_config_name": topology.chip.chip_config,
        "wrap": (*topology.wraps, False) if flat else topology.wraps,
    }
    if topology.num_chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if topology.num_slices > 1:
        options["num_slices"] = topology.num_slices
    try:
        described = topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options
        )
    except (RuntimeError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise InputError(f"libtpu cannot describe {topology.describe()}: {text}") from error
    return described.devices


def _chip(name: str, kind: str) -> Chip:
    known = chips()
    kind = _OTHER_NAMES.get(kind.lower(), kind.lower())
    if kind not in known:
        raise InputError(f"topology {name!r}: chips are {', '.join(known)}; e.g. {_EXAMPLES}")
    return known[kind]


def _shape_of_count(name: str, chip: Chip, number: int) -> tuple[int, ...]:
    """The shape that Cloud gives to a name with a number."""
    per_chip = chip.cores_per_chip if chip.name_counts == "cores" else 1
    num_chips, rest = divmod(number, per_chip)
    if rest == 0 and chip.dimensions == 2 and num_chips in _SQUARE_SHAPES:
        return _SQUARE_SHAPES[num_chips]
    if rest == 0 and chip.dimensions == 3:
        if num_chips in _BELOW_A_CUBE:
            return _BELOW_A_CUBE[num_chips]
        if num_chips and num_chips % 64 == 0:
            return tuple(4 * edge for edge in _most_cubic(num_chips // 64))
    sizes = _SQUARE_SHAPES if chip.dimensions == 2 else [*_BELOW_A_CUBE, 64, 128, 256, 512, 1024]
    known = ", ".join(f"{chip.kind}-{size * per_chip}" for size in sizes)
    raise InputError(
        f"topology {name!r}: the number counts {chip.name_counts}; there are {known} "
        f"and so on; or give a shape, e.g. {chip.topology_prefix}:"
        + ("8x8" if chip.dimensions == 2 else "4x4x8")
    )


def _most_cubic(volume: int) -> tuple[int, int, int]:
    """Three edges, ascending, whose product is `volume` and whose longest is shortest."""
    divisors = [d for d in range(1, volume + 1) if volume % d == 0]
    return min(
        (
            (a, b, volume // (a * b))
            for a in divisors
            for b in divisors
            if a <= b and volume % (a * b) == 0 and b <= volume // (a * b)
        ),
        key=lambda edges: edges[::-1],
    )


def _check_shape(name: str, chip: Chip, shape: tuple[int, ...]) -> None:
    if len(shape) != chip.dimensions or 0 in shape:
        raise InputError(
            f"topology {name!r}: a slice of {chip.kind} has {chip.dimensions} dimensions, e.g. "
            + "x".join(["4"] * chip.dimensions)
        )
    if math.prod(shape) > chip.max_chips:
        raise InputError(
            f"topology {name!r}: {math.prod(shape)} chips; the largest slice of {chip.kind} has "
            f"{chip.max_chips}; join several with --num_slices"
        )
    whole_hosts = shape[0] % 2 == 0 and shape[1] % 2 == 0
    if math.prod(shape) > 1 and not whole_hosts:
        raise InputError(
            f"topology {name!r}: a host has 2x2 chips, so the first two lengths are even"
        )
