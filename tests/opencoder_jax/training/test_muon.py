"""Muon's updates are orthogonal matrices of the right views, and it trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.model import transformer
from opencoder_jax.training import step
from opencoder_jax.training.muon import is_layer_matrix, newton_schulz, orthogonalized, rms_scale
from opencoder_jax.training.optimizers import AdamW, Muon
from tests.opencoder_jax.training import small

AXES = transformer.logical_axes(small.MODEL)
MUON = Muon(AdamW())
CONFIG = dataclasses.replace(small.CONFIG, optimizer=MUON)


@pytest.mark.parametrize("shape", [(3, 16, 40), (3, 40, 16), (1, 24, 24)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_singular_values_come_near_one_and_the_directions_stay(shape, dtype):
    matrices = jax.random.normal(jax.random.key(0), shape) * 1e-4
    result = newton_schulz(matrices, 5, dtype).astype(jnp.float32)
    values = jnp.linalg.svd(result, compute_uv=False)
    # A square random matrix has a singular value near 0, which five iterations leave below 0.7.
    low = 0.05 if shape[1] == shape[2] else 0.6
    assert low < values.min()
    assert values.max() < 1.3
    u, _, v = jnp.linalg.svd(matrices, full_matrices=False)
    overlap = jnp.einsum("LRC,LRK,LKC->L", result, u, v) / min(shape[1:])
    np.testing.assert_allclose(overlap, 1.0, atol=0.2)


def test_iterations_are_optax_s():
    matrices = jax.random.normal(jax.random.key(1), (2, 8, 24))
    theirs = optax.contrib.scale_by_muon(
        weight_dimension_numbers=optax.contrib.MuonDimensionNumbers(1, 2), beta=0.0, nesterov=False
    )
    expected, _ = theirs.update(matrices, theirs.init(matrices))
    np.testing.assert_allclose(newton_schulz(matrices, 5, jnp.float32), expected, atol=1e-4)


def test_zeros_stay_zeros():
    assert not newton_schulz(jnp.zeros((1, 4, 6)), 5).any()


def test_all_heads_of_a_layer_are_one_matrix_of_embed_by_the_rest():
    for axes, shape in (
        (("layers", "embed", "heads", "kv"), (2, 16, 4, 8)),
        (("layers", "heads", "kv", "embed"), (2, 4, 8, 16)),
        (("layers", "mlp", "embed"), (2, 40, 16)),
        (("embed", "layers", "mlp"), (16, 2, 40)),
    ):
        weight = jax.random.normal(jax.random.key(2), shape)
        result = orthogonalized(weight, axes, 5)
        assert (result.shape, result.dtype) == (weight.shape, weight.dtype)
        for layer in range(2):

            def matrix(array, axes=axes, layer=layer):
                one = jnp.take(array, layer, axis=axes.index("layers"))
                rest = [axis for axis in axes if axis != "layers"]
                return jnp.moveaxis(one, rest.index("embed"), 0).reshape(16, -1)

            expected = newton_schulz(matrix(weight)[None], 5)[0]
            np.testing.assert_allclose(matrix(result), expected, atol=0.02)


def test_updates_of_layer_matrices_have_the_size_of_adamw_s():
    gradient = jax.random.normal(jax.random.key(3), (2, 16, 40))
    axes = ("layers", "embed", "mlp")
    update = rms_scale(gradient.shape, axes, 0.2) * orthogonalized(gradient, axes, 5)
    assert float(jnp.sqrt(jnp.mean(update**2))) == pytest.approx(0.2, rel=0.15)


def test_muon_has_the_matrices_of_the_layers_and_adamw_the_rest():
    is_axes = lambda node: isinstance(node, tuple)  # noqa: E731
    names = {
        jax.tree_util.keystr(path)
        for path, axes in jax.tree_util.tree_leaves_with_path(AXES, is_leaf=is_axes)
        if is_layer_matrix(axes)
    }
    assert len(names) == 7
    assert not any(word in name for name in names for word in ("norm", "embed"))
    # The second moment is AdamW's alone.
    params = transformer.abstract_params(small.MODEL)
    state = jax.eval_shape(MUON.for_parameters(AXES).init, params)
    moments = sum(leaf.size for leaf in jax.tree.leaves(state))
    matrices = sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if jax.tree_util.keystr(path) in names
    )
    total = small.MODEL.parameter_count()
    assert moments == pytest.approx(2 * total - matrices, abs=2)


def test_moments_lie_where_their_weights_lie():
    where = small.placement(fsdp=2)
    state = step.abstract_state(CONFIG, where)
    placed = {leaf.shape: leaf.sharding.spec for leaf in jax.tree.leaves(state.params)}
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape]
    assert len(moments) > len(placed)
    assert all(leaf.sharding.spec == placed[leaf.shape] for leaf in moments)


def _losses(where, steps):
    with where.activate():
        params = small.initial_state(small.CONFIG, where).params
        state = step.fresh_state(CONFIG, where, params)
        train_step = small.train_step(CONFIG, where)
        losses = []
        for _ in range(steps):
            state, metrics = train_step(state, step.put_batch(where, small.random_batch(0)))
            losses.append(float(metrics["loss_per_nonpadding_target_token"]))
    return losses


def test_muon_trains_and_the_mesh_does_not_matter():
    losses = _losses(small.placement(), 20)
    assert losses[-1] < 0.5 * losses[0]
    np.testing.assert_allclose(_losses(small.placement(fsdp=4), 5), losses[:5], rtol=5e-3)


def test_the_first_moment_can_be_kept_in_bfloat16():
    config = dataclasses.replace(CONFIG, optimizer=Muon(AdamW(moment_dtype="bfloat16")))
    where = small.placement()
    dtypes = {x.dtype for x in jax.tree.leaves(step.abstract_state(config, where).opt_state)}
    assert {jnp.dtype("bfloat16"), jnp.dtype("float32")} <= dtypes
    with pytest.raises(InputError, match="moment_dtype is 'float16'"):
        AdamW(moment_dtype="float16")


def test_impossible_settings_are_refused():
    for wrong in ({"momentum": 1.0}, {"iterations": 0}, {"update_rms": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Muon(AdamW(), **wrong)
