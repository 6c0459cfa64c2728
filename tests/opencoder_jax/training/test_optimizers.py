"""What AdamW does to which parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from opencoder_jax.model import transformer
from opencoder_jax.training.optimizers import AdamW, decayed_parameters
from tests.opencoder_jax.training import small

AXES = {"norm": ("layers", "embed"), "kernel": ("layers", "embed", "mlp"), "table": ("a", "b")}
PARAMS = {"norm": jnp.ones((2, 3)), "kernel": jnp.ones((2, 3, 4)), "table": jnp.ones((5, 3))}


def _updates(optimizer, grads):
    transformation = optimizer.transformation(decayed_parameters(AXES))
    return transformation.update(grads, transformation.init(PARAMS), PARAMS)[0]


def test_weight_decay_reaches_every_matrix_and_no_norm():
    updates = _updates(AdamW(weight_decay=0.1), jax.tree.map(jnp.zeros_like, PARAMS))
    np.testing.assert_allclose(updates["norm"], 0)
    np.testing.assert_allclose(updates["kernel"], 0.1)
    np.testing.assert_allclose(updates["table"], 0.1)


def test_only_norm_scales_of_the_model_are_spared():
    decayed = decayed_parameters(transformer.logical_axes(small.MODEL))
    spared = [
        jax.tree_util.keystr(path)
        for path, value in jax.tree_util.tree_leaves_with_path(decayed)
        if not value
    ]
    assert all("norm" in name for name in spared)
    assert len(spared) == 3


def test_a_gradient_above_the_norm_acts_like_its_direction():
    grads = jax.tree.map(lambda p: jnp.full_like(p, 0.5), PARAMS)
    many = jax.tree.map(lambda g: g * 1000, grads)
    # Through two steps, since the first step of Adam forgets the scale by itself.
    optimizer = AdamW(weight_decay=0.0)
    transformation = optimizer.transformation(decayed_parameters(AXES))
    small_first = jax.tree.map(lambda g: g * 1e-3, grads)
    results = []
    for second in (many, jax.tree.map(lambda g: g * 5, many)):
        state = transformation.init(PARAMS)
        _, state = transformation.update(small_first, state, PARAMS)
        results.append(transformation.update(second, state, PARAMS)[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *results)
