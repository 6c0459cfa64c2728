"""Collectives of real compiled programs, against bytes that one knows beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from opencoder_jax import sharding
from opencoder_jax.precompilation.collectives import groups
from tests.opencoder_jax.precompilation.small import Program, sent, weights

WIDTH, LAYERS, ROWS = 1024, 6, 64
ROWS_SPLIT = ((ROWS, WIDTH), jnp.bfloat16, PartitionSpec("fsdp"))
LAYER_BYTES = 2 * WIDTH * WIDTH


def layer(x, w):
    # Whole rows stay where they are, so the weights are gathered.
    return jax.lax.with_sharding_constraint(jnp.tanh(x @ w), PartitionSpec("fsdp")), None


def scanned(stack, x):
    return jax.lax.scan(layer, x, stack)[0]


def unrolled(stack, x):
    for index in range(LAYERS):
        x, _ = layer(x, stack[index])
    return x


@pytest.mark.parametrize("function", [scanned, unrolled])
def test_weights_are_gathered_once_a_layer_in_a_loop_or_out_of_it(function):
    found = sent(Program(function, weights(LAYERS, WIDTH), ROWS_SPLIT).collectives)
    assert found == {("all-gather", ("fsdp",)): LAYERS * LAYER_BYTES * 3 / 4}


def test_loops_in_loops_multiply():
    def repeated(stack, x):
        return jax.lax.scan(lambda x, _: (scanned(stack, x), None), x, length=5)[0]

    found = sent(Program(repeated, weights(LAYERS, WIDTH), ROWS_SPLIT).collectives)
    # What does not change from turn to turn may be gathered before the outer loop.
    gathered = found.pop(("all-gather", ("fsdp",)))
    assert gathered in (LAYERS * LAYER_BYTES * 3 / 4, 5 * LAYERS * LAYER_BYTES * 3 / 4)
    assert found == {}


def test_a_sum_over_one_axis_of_the_mesh_is_an_all_reduce_over_it():
    program = Program(
        lambda x, w: x @ w,
        ((64, 512), jnp.float32, PartitionSpec(None, "data")),
        ((512, 256), jnp.float32, PartitionSpec("data")),
        mesh=sharding.MeshConfig(data=2, fsdp=2),
        out=PartitionSpec(),
    )
    (found,) = program.collectives
    assert (found.kind, found.axes, found.group_size) == ("all-reduce", ("data",), 2)
    assert found.sent_bytes == 2 * (64 * 256 * 4) / 2
    assert found.count == 1


def test_a_sum_that_each_chip_needs_a_part_of_is_a_reduce_scatter():
    program = Program(
        lambda x, w: x @ w,
        ((256, 4096), jnp.bfloat16, PartitionSpec(None, "fsdp")),
        ((4096, 1024), jnp.bfloat16, PartitionSpec("fsdp")),
        out=PartitionSpec("fsdp"),
    )
    found = sent(program.collectives)
    assert found == {("reduce-scatter", ("fsdp",)): 256 * 1024 * 2 * 3 / 4}


def test_two_of_one_shard_map_are_two_though_they_share_a_channel():
    def turned_twice(x):
        return jax.shard_map(
            lambda x: jnp.tanh(_turned(jnp.tanh(_turned(x, 0)), 1)),
            in_specs=PartitionSpec(None, "fsdp"),
            out_specs=PartitionSpec(None, "fsdp"),
        )(x)

    def _turned(x, axis):
        return jax.lax.all_to_all(x, "fsdp", split_axis=axis, concat_axis=1 - axis, tiled=True)

    program = Program(turned_twice, ((512, 512), jnp.float32, PartitionSpec(None, "fsdp")))
    (found,) = [c for c in program.collectives if c.kind == "all-to-all"]
    assert found.count == 2
    assert found.sent_bytes == 2 * (512 * 512 * 4 / 4) * 3 / 4


def test_a_sum_over_slices_crosses_the_network_between_them():
    program = Program(
        lambda x, w: x @ w,
        ((64, 1024), jnp.float32, PartitionSpec(None, "data")),
        ((1024, 256), jnp.float32, PartitionSpec("data")),
        num_slices=2,
        mesh=sharding.MeshConfig(data=1, fsdp=4, dcn_data=2),
        out=PartitionSpec(),
    )
    (found,) = [c for c in program.collectives if c.num_slices > 1]
    assert found.axes == ("data",)
    assert found.dcn_bytes == 2 * (64 * 256 * 4) / 2
    assert found.sent_bytes == 0


def test_links_are_those_of_the_dimensions_in_which_a_group_lies():
    # On a whole pod both dimensions are rings: 2 links for one axis, 4 for both.
    def both(x, w):
        return x @ w

    for spec, links in ((("data",), 2), (("data", "fsdp"), 4)):
        program = Program(
            both,
            ((64, 4096), jnp.float32, PartitionSpec(None, spec)),
            ((4096, 256), jnp.float32, PartitionSpec(spec)),
            where="v5e:16x16",
            mesh=sharding.MeshConfig(data=16, fsdp=16),
            out=PartitionSpec(),
        )
        assert {c.links for c in program.collectives} == {links}


def test_groups_are_read_in_all_three_spellings():
    listed = groups("replica_groups={{0,1},{2,3}}, x=y", 4)
    iota = groups("replica_groups=[2,2]<=[4], x=y", 4)
    mesh = groups("replica_groups=mesh['data'=2,'fsdp'=2] {'fsdp'}, x=y", 4)
    np.testing.assert_array_equal(listed, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(iota, listed)
    np.testing.assert_array_equal(mesh, listed)

    listed = groups("replica_groups={{0,2},{1,3}}, x=y", 4)
    iota = groups("replica_groups=[2,2]<=[2,2]T(1,0), x=y", 4)
    mesh = groups("replica_groups=mesh['data'=2,'fsdp'=2] {'data'}, x=y", 4)
    np.testing.assert_array_equal(iota, listed)
    np.testing.assert_array_equal(mesh, listed)
    np.testing.assert_array_equal(groups("replica_groups={}, x=y", 3), [[0, 1, 2]])
    # Half of an axis: places 0 and 1 of it, then 2 and 3.
    half = groups("replica_groups=mesh['fsdp'=4] {'fsdp':(2)2}, x=y", 4)
    np.testing.assert_array_equal(half, [[0, 1], [2, 3]])
