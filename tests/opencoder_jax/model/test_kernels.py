"""Fast attention gives the reference's numbers, on the devices that it is meant for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractMesh, AxisType, Mesh

from opencoder_jax import sharding
from opencoder_jax.model import kernels, transformer
from opencoder_jax.model.attention import Context, KeyValues, attend, visible_in_segment
from opencoder_jax.model.blocked_attention import blocked_attention
from tests.opencoder_jax.model.small_models import GROUPED, params_of
from tests.tpu_compiler import tpu_mesh

B, H, K = 2, 4, 2
SPLASH = functools.partial(kernels.splash_attention, block=128, interpret=True)
XLA_TWIN = functools.partial(kernels.cudnn_attention, implementation="xla")
BLOCKED = functools.partial(blocked_attention, block=64)


def packed(lengths: list[list[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids and positions of rows that pack documents of these lengths, then padding."""
    segments, positions = np.zeros((2, len(lengths), length), np.int32)
    for row, documents in enumerate(lengths):
        start = 0
        for number, size in enumerate(documents, start=1):
            segments[row, start : start + size] = number
            positions[row, start : start + size] = np.arange(size)
            start += size
    return segments, positions


def random_heads(length: int, head_dim: int) -> tuple[jax.Array, KeyValues]:
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (B, length, H, head_dim)) * head_dim**-0.5
    return query, KeyValues(*(jax.random.normal(k, (B, length, K, head_dim)) for k in keys[1:]))


def reference(query, key_values, segments, positions):
    return attend(query, [Context(key_values, visible_in_segment(segments, positions))])


def value_and_gradients(function, query, key_values, segments, *extra):
    """The output where there is a document, and gradients of a loss that reads only that."""
    cotangent = jax.random.normal(jax.random.key(9), query.shape)
    weights = jnp.where(segments[:, :, None, None] > 0, cotangent, 0.0)

    def loss(query, key_values):
        out = function(query, key_values, segments, *extra)
        return jnp.sum(out * weights), jnp.where(weights == 0, 0.0, out)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    gradients, out = gradient(query, key_values)
    return out, *jax.tree.leaves(gradients)


def assert_same(expected, found):
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one).max() > 0.1
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("lengths", "length", "head_dim"),
    [
        ([[100, 1, 60, 39], [256]], 256, 20),  # A head dimension that is padded; padding tokens.
        ([[3, 150], [129, 20]], 180, 160),  # The 1.5B's head; a length that is padded.
    ],
    ids=["two-blocks", "padded-length"],
)
@pytest.mark.parametrize(
    "function", [SPLASH, XLA_TWIN, BLOCKED], ids=["splash", "cudnn-twin", "blocked"]
)
def test_kernels_equal_the_reference_in_value_and_gradient(function, lengths, length, head_dim):
    heads = random_heads(length, head_dim)
    segments, positions = packed(lengths, length)

    assert_same(
        value_and_gradients(reference, *heads, segments, positions),
        value_and_gradients(function, *heads, segments),
    )


@pytest.mark.parametrize(
    ("axes", "rules"),
    [
        ((2, 2, 2), sharding.AxisRules(batch="data", embed=None)),
        ((1, 2, 4), sharding.AxisRules(length="tensor", heads=None, kv_heads=None)),
    ],
    ids=["heads-split", "length-split"],
)
def test_each_device_computes_its_part(axes, rules):
    heads = random_heads(256, 20)
    segments, positions = packed([[100, 1, 60, 39], [256]], 256)
    expected = value_and_gradients(reference, *heads, segments, positions)
    mesh = Mesh(
        np.array(jax.devices()).reshape(axes), sharding.MESH_AXES, axis_types=(AxisType.Auto,) * 3
    )

    with sharding.activate(mesh, rules):
        found = value_and_gradients(SPLASH, *heads, segments)

    assert_same(expected, found)


def lowered(config, mesh, rows=2, length=256, platform=None):
    """The program of a loss and its gradient on such devices, not compiled."""

    def loss(params, tokens, segments, positions):
        hidden = transformer.hidden_states(config, params, tokens, segments, positions)
        return jnp.sum(hidden.astype(jnp.float32))

    ids = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    with sharding.activate(mesh, sharding.AxisRules()):
        traced = jax.jit(jax.grad(loss)).trace(transformer.abstract_params(config), *[ids] * 3)
        return traced.lower(lowering_platforms=(platform,) if platform else None)


def gpu_mesh(size: int) -> AbstractMesh:
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
    types = (AxisType.Auto,) * 3
    return AbstractMesh((1, size, 1), sharding.MESH_AXES, axis_types=types, abstract_device=device)


BFLOAT16 = GROUPED.replace(dtype="bfloat16", max_length=4096)


@pytest.mark.slow
@pytest.mark.parametrize("remat_policy", ["none", "full"])
def test_the_tpu_compiler_takes_the_kernel_on_a_machine_without_tpus(remat_policy):
    mesh = tpu_mesh("v5e:4x4", (1, 8, 2))
    config = BFLOAT16.replace(head_dim=160, remat_policy=remat_policy)

    program = lowered(config, mesh, rows=8, length=1024).compile().as_text()

    # Forward, again where nothing is saved of it, gradients of queries, and of keys and values.
    assert program.count("tpu_custom_call") == (3 if remat_policy == "none" else 4)
    assert "1024,1024" not in program


def test_the_gpu_program_calls_cudnn(monkeypatch):
    # The only part that wants a GPU: which cuDNN is installed.
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91200)

    program = lowered(BFLOAT16, gpu_mesh(2), platform="cuda").as_text()

    assert "__cudnn$fmhaScaleBiasSoftmax(" in program
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward(" in program


@pytest.mark.parametrize(
    ("attention", "changes", "mesh", "message"),
    [
        ("splash", {}, None, "'splash' runs on TPUs, this program is for cpu"),
        ("cudnn", {}, None, "'cudnn' runs on GPUs, this program is for cpu"),
        ("cudnn", {"dtype": "float32"}, gpu_mesh(2), "takes bfloat16.*here dtype is float32"),
        ("cudnn", {"head_dim": 264}, gpu_mesh(2), "up to 256.*head_dim 264"),
        ("splash", {}, gpu_mesh(2), "'splash' runs on TPUs, this program is for gpu.*H100"),
    ],
)
def test_a_kernel_that_the_devices_lack_is_refused(attention, changes, mesh, message):
    config = BFLOAT16.replace(attention=attention, **changes)
    mesh = mesh or Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), sharding.MESH_AXES)

    with pytest.raises(kernels.AttentionChoiceError, match=message):
        lowered(config, mesh)


def test_auto_takes_what_the_devices_have():
    with sharding.activate(gpu_mesh(2), sharding.AxisRules()):
        assert kernels.choose(BFLOAT16, jnp.dtype(jnp.bfloat16)) == "cudnn"
        assert kernels.choose(GROUPED, jnp.dtype(jnp.float32)) == "dense"
    assert kernels.choose(BFLOAT16, jnp.dtype(jnp.bfloat16)) == "blocked"
    mesh = Mesh(np.array(jax.devices()).reshape(1, 2, 4), sharding.MESH_AXES)
    with sharding.activate(mesh, sharding.AxisRules(length="tensor", heads=None, kv_heads=None)):
        assert kernels.choose(GROUPED, jnp.dtype(jnp.float32)) == "dense"


def test_blocked_attention_computes_nothing_after_a_blocks_last_query():
    query, key_values = random_heads(256, 20)
    segments = np.ones((B, 256), np.int32)
    program = jax.jit(BLOCKED).lower(query, key_values, segments).as_text()

    for keys in (64, 128, 192, 256):
        assert f"{B}x{K}x128x{keys}xf32" in program
    assert "256x256xf32" not in program


def test_blocked_attention_of_a_long_row_is_no_more_code_than_of_one_of_2048():
    # Of the heads' shapes alone: nothing is computed.
    query, key_values = jax.eval_shape(lambda: random_heads(8192, 20))
    segments = jax.ShapeDtypeStruct((B, 8192), jnp.int32)
    program = str(jax.make_jaxpr(blocked_attention)(query, key_values, segments))

    assert program.count("dot_general") == 2 * 16


@pytest.mark.parametrize("kernel", ["splash", "blocked"])
def test_a_model_gives_the_same_hidden_states_through_a_kernel(kernel, monkeypatch):
    monkeypatch.setattr(kernels, "choose", lambda config, dtype: config.attention)
    monkeypatch.setitem(kernels.KERNELS, "splash", SPLASH)
    segments, positions = packed([[100, 1, 60]], 180)
    tokens = np.random.default_rng(0).integers(0, GROUPED.vocab_size, (1, 180))

    hidden = [
        transformer.hidden_states(
            GROUPED.replace(attention=attention), params_of(GROUPED), tokens, segments, positions
        )
        for attention in ("dense", kernel)
    ]

    documents = segments[0] > 0
    np.testing.assert_allclose(hidden[0][0, documents], hidden[1][0, documents], atol=1e-4)
