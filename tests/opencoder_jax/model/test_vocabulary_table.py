"""A lookup over devices is a lookup, and so is its gradient, however table and tokens lie."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from opencoder_jax import sharding
from opencoder_jax.errors import InputError
from opencoder_jax.model.vocabulary_table import look_up
from tests.opencoder_jax.precompilation.small import Program, sent
from tests.opencoder_jax.training import small

B, S, D, V = 8, 6, 16, 34


def arrays(batch_size=B):
    keys = jax.random.split(jax.random.key(0), 3)
    return (
        jax.random.normal(keys[0], (V, D)),
        jax.random.randint(keys[1], (batch_size, S), 0, V),
        jax.random.normal(keys[2], (batch_size, S, D)),
    )


def rows_and_gradient(function, table, tokens, cotangent):
    rows, gradient = jax.jit(
        lambda *args: jax.vjp(lambda table: function(table, args[1]), args[0])
    )(table, tokens)
    return np.asarray(rows), np.asarray(jax.jit(gradient)(cotangent)[0])


def assert_it_is_a_lookup(where, batch_size=B):
    table, tokens, cotangent = arrays(batch_size)
    expected = rows_and_gradient(lambda table, tokens: table[tokens], table, tokens, cotangent)
    placed = NamedSharding(where.mesh, where.rules.spec(("vocab", "embed")))

    with where.activate():
        found = rows_and_gradient(
            lambda table, tokens: look_up(table, tokens, "float32"),
            jax.device_put(table, placed),
            tokens,
            cotangent,
        )

    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (8, 1, 1), (1, 8, 1), (2, 2, 2)], ids=str)
def test_devices_change_nothing(sizes):
    assert_it_is_a_lookup(small.placement(*sizes))


@pytest.mark.parametrize("sides", [(2, 4), (4, 2), (2, 2, 2)], ids=str)
def test_nor_do_the_sides_of_the_torus_that_they_lie_along(sides, monkeypatch):
    where = small.placement(1, 8)
    monkeypatch.setattr("opencoder_jax.sharding.rules.sides_of_axes", lambda mesh: {"fsdp": sides})
    assert_it_is_a_lookup(where)


def test_a_batch_that_devices_cannot_split_is_each_devices_own():
    assert_it_is_a_lookup(small.placement(2, 2, 2), batch_size=3)


def test_a_width_split_over_devices_of_the_same_tokens_has_each_gradient_once():
    where = small.placement(2, 4)
    assert_it_is_a_lookup(where._replace(rules=sharding.AxisRules(batch="data")))


def test_the_gradient_is_summed_in_float32():
    times = 1000  # In bfloat16, 256 + 1 is 256.
    tokens = jnp.full((1, times), 3)
    with small.placement(1, 1).activate():
        gradient = jax.grad(lambda table: look_up(table, tokens, "bfloat16").sum())(
            jnp.zeros((V, D))
        )
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient[3], times)


def test_words_along_an_axis_of_tokens_are_refused():
    where = small.placement(1, 8)
    where = where._replace(rules=dataclasses.replace(where.rules, vocab="fsdp"))
    table, tokens, _ = arrays()
    with where.activate(), pytest.raises(InputError, match=r"AxisRules\.vocab names .*'fsdp'"):
        look_up(table, tokens, "float32")


def test_on_tpus_a_gradient_whose_columns_are_no_whole_tiles_is_reduce_scattered():
    words, width, tokens = 1040, 280, 64  # 140 columns a device, of tiles of 128.

    def gradient(table, tokens, cotangent):
        with nn.logical_axis_rules(sharding.AxisRules().as_flax()):
            return jax.vjp(lambda table: look_up(table, tokens, "bfloat16"), table)[1](cotangent)

    rows = PartitionSpec(("data", "fsdp"))
    found = sent(
        Program(
            gradient,
            ((words, width), jnp.float32, PartitionSpec(None, "fsdp")),
            ((4, tokens), jnp.int32, rows),
            ((4, tokens, width), jnp.bfloat16, rows),
            mesh=sharding.MeshConfig(data=2, fsdp=2),
            out=PartitionSpec(None, "fsdp"),
        ).collectives
    )
    table = words * width * 4
    half, over_data = ("fsdp",), ("data",)
    assert found["reduce-scatter", half] == pytest.approx(table / 2, rel=0.05)
    assert found["all-to-all", half] == table / 2 / 2
    assert found["all-reduce", over_data] == pytest.approx(table / 2, rel=0.05)
    assert ("all-reduce", half) not in found
