import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from opencoder_jax import configuration, sharding
from opencoder_jax.model import transformer
from opencoder_jax.sharding import AxisRules, MeshConfig, ShardingError
from tests.opencoder_jax.model.small_models import GROUPED, configured_model, params_of

RULES = AxisRules()


def test_logits_on_eight_devices_equal_those_on_one():
    mesh = sharding.make_mesh(MeshConfig(data=2, fsdp=2, tensor=2, virtual_cpu_devices=8))
    shardings = sharding.param_shardings(GROUPED, mesh, RULES)
    batch = sharding.batch_sharding(mesh, RULES)
    tokens = np.arange(8 * 10, dtype=np.int32).reshape(8, 10)
    positions = np.broadcast_to(np.arange(10, dtype=np.int32), (8, 10))
    arrays = (tokens, np.ones_like(tokens), positions)

    with sharding.activate(mesh, RULES):
        run = jax.jit(
            lambda *arrays: transformer.logits(GROUPED, *arrays),
            in_shardings=(shardings, batch, batch, batch),
        )
        params = jax.device_put(params_of(GROUPED), shardings)
        found = run(params, *arrays)
    alone = jax.jit(transformer.logits, static_argnums=0)(GROUPED, params_of(GROUPED), *arrays)

    query = params["layers"]["attention"]["query"]["kernel"]
    assert query.addressable_shards[0].data.shape == (2, 12, 2, 8)
    assert found.addressable_shards[0].data.shape == (2, 10, 320)
    np.testing.assert_allclose(found, alone, atol=2e-5)


def test_virtual_devices_cannot_be_changed_once_jax_runs():
    assert jax.device_count() == 8
    with pytest.raises(ShardingError, match="virtual_cpu_devices=4: JAX runs on 8 devices"):
        sharding.make_mesh(MeshConfig(virtual_cpu_devices=4))


def test_one_mesh_axis_splits_one_dimension_of_an_array():
    assert RULES.spec(("batch", "length", "embed")) == PartitionSpec(("data", "fsdp"), None, None)
    assert RULES.spec(("layers", "embed", "heads", "kv")) == PartitionSpec(
        None, "fsdp", "tensor", None
    )
    assert AxisRules(kv="tensor").spec(("heads", "kv")) == PartitionSpec("tensor", None)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (MeshConfig(1, 256, 1), "fsdp=256.* splits embed into 256 .* length 2240; .* 64, 70"),
        (MeshConfig(1, 1, 4), "tensor=4.* splits .*heads into 4 .* length 14; these do: 1, 2, 7"),
    ],
)
def test_a_mesh_that_does_not_divide_the_1b5_is_refused_with_the_numbers(mesh, message):
    with pytest.raises(ShardingError, match=message):
        sharding.param_shardings(
            configured_model("opencoder_1b5"), sharding.make_abstract_mesh(mesh), RULES
        )


@pytest.mark.parametrize(
    ("config", "devices", "message"),
    [
        (MeshConfig(3, -1, 1), 8, "data=3, fsdp=-1, tensor=1: 3 does not divide the 8 devices"),
        (MeshConfig(2, 2, 1), 8, "needs 4 devices; there are 8"),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(config, devices, message):
    with pytest.raises(ShardingError, match=message):
        config.shape(devices)


def test_impossible_mesh_settings_are_refused():
    assert MeshConfig(2, -1, 2).shape(32) == (2, 8, 2)
    for settings in ({"data": 0}, {"data": -1, "fsdp": -1}):
        with pytest.raises(ShardingError, match="mesh"):
            MeshConfig(**settings)
    with pytest.raises(ShardingError, match=r"rule embed='model'.*data, fsdp, tensor"):
        AxisRules(embed="model")


@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("demo", MeshConfig(2, 4, 1)),
        ("opencoder_1b5", MeshConfig(16, 16, 1)),
        ("opencoder_8b", MeshConfig(4, 64, 2)),
    ],
)
def test_every_model_lowers_on_an_abstract_mesh_for_tpu(name, mesh):
    config = configured_model(name)
    abstract_mesh = sharding.make_abstract_mesh(mesh)
    place = sharding.batch_sharding(abstract_mesh, RULES)
    params = jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        transformer.abstract_params(config),
        sharding.param_shardings(config, abstract_mesh, RULES),
    )
    tokens = jax.ShapeDtypeStruct((256, config.max_length), jnp.int32, sharding=place)

    def loss(params, tokens):
        hidden = transformer.hidden_states(config, params, tokens, tokens, tokens)
        return jnp.sum(hidden.astype(jnp.float32))

    with sharding.activate(abstract_mesh, RULES):
        traced = jax.jit(jax.grad(loss)).trace(params, tokens)
        program = traced.lower(lowering_platforms=("tpu",)).as_text()

    # After the embedding, and after attention and feed-forward in the one scanned layer.
    constraint = r'sharding_constraint .*\[\{"data", "fsdp"\}, \{\}, \{\}\]'
    assert len(re.findall(constraint, program)) >= 3


def test_the_table_prints_without_a_device(capsys):
    arguments = ["--gin_file=sharding/opencoder_1b5.gin"]

    assert configuration.main(sharding.print_parameter_table, arguments) == 0

    lines = capsys.readouterr().out.splitlines()
    query = next(line for line in lines if line.startswith("layers/attention/query/kernel"))
    expected = "24 2240 14 160 layers embed heads kv - fsdp tensor - 30,105,600"
    assert query.split()[1:] == expected.split()
    assert "parameters: 1,905,650,880" in lines
    # float32 parameters over an fsdp axis of 16.
    assert f"bytes of parameters per device: {1_905_650_880 * 4 // 16:,}" in lines
