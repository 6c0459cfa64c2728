import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import PartitionSpec

from opencoder_jax import configuration, sharding
from opencoder_jax.model import transformer
from opencoder_jax.sharding import AxisRules, MeshConfig, ShardingError
from opencoder_jax.sharding.__main__ import print_parameter_table
from opencoder_jax.sharding.mesh import sides_of_axes
from opencoder_jax.training import step
from tests.opencoder_jax.model.small_models import GROUPED, configured_model, params_of
from tests.opencoder_jax.training import small

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


def test_slices_multiply_the_axes_and_stand_outermost():
    assert MeshConfig(2, -1, 2, dcn_data=2, dcn_fsdp=2).shape(64) == (4, 8, 2)
    config = MeshConfig(data=1, fsdp=2, tensor=1, dcn_data=2, dcn_fsdp=2)
    mesh = sharding.make_mesh(config)
    # Devices 2i and 2i + 1 are slice i; slices (0, 1) and (2, 3) hold a copy each.
    assert [[d.id for d in row] for row in mesh.devices[:, :, 0]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert sharding.make_abstract_mesh(config).shape == mesh.shape
    with pytest.raises(ShardingError, match=r"dcn_data=3.* 3 slices do not divide the 8 devices"):
        MeshConfig(dcn_data=3).shape(8)


def _topology(name: str, monkeypatch: pytest.MonkeyPatch, **options: int) -> list:
    """The devices of a TPU topology, from the real compiler."""
    pytest.importorskip("libtpu")
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        monkeypatch.setenv(variable, value)
    return topologies.get_topology_desc(name, platform="tpu", **options).devices


def test_a_mesh_axis_runs_along_a_side_of_the_torus(monkeypatch):
    mesh = sharding.make_mesh(MeshConfig(16, 16, 1), _topology("v5e:16x16", monkeypatch))
    assert [device.coords for device in mesh.devices[5, :, 0]] == [[i, 5, 0] for i in range(16)]


@pytest.mark.parametrize(
    ("topology", "slices", "config", "sides"),
    [
        ("v5e:16x16", 1, MeshConfig(16, 16, 1), {}),
        ("v5e:16x16", 1, MeshConfig(1, 256, 1), {"fsdp": (16, 16)}),
        (
            *("v5e:16x16", 1, MeshConfig(4, 64, 1, allow_split_physical_axes=True)),
            {"fsdp": (16, 4)},
        ),
        ("v5p:4x4x4", 1, MeshConfig(1, 64, 1), {"fsdp": (4, 4, 4)}),
        # Part of it is over the network between slices.
        ("v5e:4x4", 2, MeshConfig(1, 16, 1, dcn_fsdp=2), {}),
    ],
    ids=str,
)
def test_an_axis_knows_the_sides_of_the_torus_that_it_runs_along(
    topology, slices, config, sides, monkeypatch
):
    options = {"num_slices": slices} if slices > 1 else {}
    mesh = sharding.make_mesh(config, _topology(topology, monkeypatch, **options))
    assert sides_of_axes(mesh) == sides
    for axis, lengths in sides.items():
        axis_last = np.moveaxis(mesh.devices, mesh.axis_names.index(axis), -1)
        torus = axis_last.reshape(-1, *lengths)[0]
        for side, length in enumerate(lengths):
            # Those that differ along one side only lie on one line.
            line = np.moveaxis(torus, side, -1).reshape(-1, length)[0]
            assert np.count_nonzero(np.ptp([device.coords for device in line], axis=0)) == 1


def test_data_is_split_over_slices_and_a_copy_stays_within_one(monkeypatch):
    devices = _topology("v5e:16x16", monkeypatch, num_slices=2)
    mesh = sharding.make_mesh(MeshConfig(16, 16, 1, dcn_data=2), devices)
    assert dict(mesh.shape) == {"data": 32, "fsdp": 16, "tensor": 1}
    slices = [
        [{d.slice_index for d in row} for row in half] for half in mesh.devices.reshape(2, 16, 16)
    ]
    assert slices == [[{0}] * 16, [{1}] * 16]
    with pytest.raises(ShardingError, match=r"over 1 slice.* devices are of 2: .*dcn_data=2"):
        sharding.make_mesh(MeshConfig(16, 16, 1), devices)


def test_a_mesh_that_does_not_fit_the_torus_is_refused_with_those_that_do(monkeypatch):
    devices = _topology("v5e:16x16", monkeypatch)
    fitting = "data=1 fsdp=256, data=16 fsdp=16, data=256 fsdp=1"
    with pytest.raises(ShardingError, match=f"torus 16x16 of TPU v5 lite.* these fit: {fitting}"):
        sharding.make_mesh(MeshConfig(4, 64, 1), devices)
    with pytest.raises(ShardingError, match="tensor has to be one of 1, 16, 256"):
        sharding.make_mesh(MeshConfig(128, 1, 2), devices)
    mesh = sharding.make_mesh(MeshConfig(4, 64, 1, allow_split_physical_axes=True), devices)
    assert dict(mesh.shape) == {"data": 4, "fsdp": 64, "tensor": 1}


@pytest.mark.parametrize(
    ("topology", "mesh", "readers_of_a_row"),
    [
        ("v5e:16x16", MeshConfig(16, 16, 1), 1),
        ("v5e:16x16", MeshConfig(4, 64, 1, allow_split_physical_axes=True), 1),
        ("v5p:4x4x4", MeshConfig(1, 64, 1), 1),
        # A side of 16 chips along `tensor` lies on 8 hosts, which hold the same rows.
        ("v5e:16x16", MeshConfig(1, 16, 16), 8),
    ],
)
def test_hosts_of_a_pod_read_every_row_and_no_two_of_them_a_part_of_the_same(
    topology, mesh, readers_of_a_row, monkeypatch
):
    devices = _topology(topology, monkeypatch)
    rows = sharding.process_rows(1024, sharding.make_mesh(mesh, devices), RULES)
    assert len(rows) == len(devices) // 4
    parts = collections.Counter(map(tuple, rows.values()))
    assert set(parts.values()) == {readers_of_a_row}
    assert sorted(row for part in parts for row in part) == list(range(1024))


def test_impossible_mesh_settings_are_refused():
    assert MeshConfig(2, -1, 2).shape(32) == (2, 8, 2)
    for settings in ({"data": 0}, {"data": -1, "fsdp": -1}, {"dcn_data": 0}):
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

    assert configuration.main(print_parameter_table, arguments) == 0

    lines = capsys.readouterr().out.splitlines()
    query = next(line for line in lines if line.startswith("layers/attention/query/kernel"))
    expected = "24 2240 14 160 layers embed heads kv - fsdp tensor - 30,105,600 60,211,200"
    assert query.split()[1:] == expected.split()
    assert "parameters: 1,905,650,880" in lines
    # float32 parameters over an fsdp axis of 16.
    assert f"bytes of parameters per device: {1_905_650_880 * 4 // 16:,}" in lines
    # As many for the gradients, and AdamW's two moments.
    assert f"bytes of all three per device: {1_905_650_880 * 16 // 16:,}" in lines
    batch = "batch: 1,024 sequences of 4,096 tokens, on a device 4 of them (16,384 tokens)"
    assert batch in lines


def test_the_table_counts_what_the_arrays_of_a_state_take():
    where = small.placement(data=2, fsdp=2, tensor=2)
    opt_state = step.abstract_state(small.CONFIG, where).opt_state
    rows = sharding.parameter_table(small.MODEL, *where, opt_state)
    state = small.initial_state(small.CONFIG, where)

    def on_a_device(tree):
        return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree) if x.ndim)

    assert sum(row.bytes_per_device for row in rows) == on_a_device(state.params)
    assert sum(row.optimizer_bytes for row in rows) == on_a_device(state.opt_state)


def test_a_batch_that_the_mesh_does_not_divide_is_refused_by_the_table(capsys):
    arguments = [
        "--gin_file=sharding/opencoder_8b.gin",
        "--gin_file=sharding/opencoder_8b_on_v5e_256.gin",
        "--gin.print_parameter_table.batch_size=100",
    ]
    assert configuration.main(print_parameter_table, arguments) == 2
    expected = "batch: the mesh (data=1 x fsdp=256) splits batch into 256 parts"
    assert expected in capsys.readouterr().err
