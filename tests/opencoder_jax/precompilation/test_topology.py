"""Names of slices mean what Cloud and libtpu mean by them; others are refused with examples."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.precompilation import topology
from opencoder_jax.precompilation.chips import chips


@pytest.mark.parametrize(
    ("name", "libtpu_name", "num_chips"),
    [
        ("v5e-256", "v5e:16x16", 256),
        ("v5litepod-16", "v5e:4x4", 16),
        ("v6e-8", "v6e:2x4", 8),
        ("v5p-128", "v5p:4x4x4", 64),
        ("v5p-1024", "v5p:8x8x8", 512),
        ("v5p-640", "v5p:4x4x20", 320),
        ("v4-16", "v4:2x2x2", 8),
        ("tpu7x-128", "tpu7x:4x4x4", 64),
        ("v5p:4x4x8", "v5p:4x4x8", 128),
    ],
)
def test_a_name_is_a_shape(name, libtpu_name, num_chips):
    where = topology.parse(name)
    assert (where.name, where.num_chips) == (libtpu_name, num_chips)
    assert topology.parse(name, num_slices=3).num_chips == 3 * num_chips


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v9-256", "chips are v4, v5e, v5p, v6e, tpu7x"),
        ("v5e", "is no name of a slice"),
        ("v5e-100", "the number counts chips; there are v5e-1, v5e-4"),
        ("v5p-7", "the number counts cores; there are v5p-8, v5p-16"),
        ("v5e:4x4x4", "has 2 dimensions"),
        ("v6e:32x32", "the largest slice of v6e has 256"),
        ("v5p:3x4x4", "the first two lengths are even"),
    ],
)
def test_other_names_are_refused(name, says):
    with pytest.raises(InputError, match=says):
        topology.parse(name)


def test_a_whole_edge_of_a_pod_and_a_slice_of_cubes_wrap():
    wraps = {name: topology.parse(name).wraps for name in ("v5e:8x16", "v5p:4x4x8", "v5p:2x4x4")}
    assert wraps == {
        "v5e:8x16": (False, True),
        "v5p:4x4x8": (True, True, True),
        "v5p:2x4x4": (False, False, False),
    }


@pytest.mark.parametrize("kind", list(chips()))
def test_the_compiler_has_the_devices_of_each_chip(kind):
    pytest.importorskip("libtpu")
    chip = chips()[kind]
    where = topology.parse(f"{chip.topology_prefix}:{'4x4' if chip.dimensions == 2 else '4x4x4'}")
    devices = topology.devices(where)
    assert len(devices) == where.num_chips * chip.devices_per_chip
    assert {device.platform for device in devices} == {"tpu"}


def test_slices_are_told_apart():
    pytest.importorskip("libtpu")
    devices = topology.devices(topology.parse("v5e:4x4", num_slices=2))
    assert sorted({device.slice_index for device in devices}) == [0, 1]
    assert len(devices) == 32
