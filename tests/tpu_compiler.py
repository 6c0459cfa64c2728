"""The real TPU compiler on a machine without TPUs, for tests that look at its programs."""

import os

import pytest
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh

from opencoder_jax import sharding

# What libtpu otherwise asks the cloud for; and it may be loaded by tests side by side.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def tpu_mesh(topology: str, shape: tuple[int, int, int]) -> Mesh:
    """A mesh of described TPUs, e.g. of `v5e:4x4`; skips the test where libtpu is missing."""
    pytest.importorskip("libtpu")
    os.environ.update(_ENVIRONMENT)
    devices = topologies.get_topology_desc(topology, platform="tpu").devices
    placed = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(placed, sharding.MESH_AXES, axis_types=(AxisType.Auto,) * 3)
