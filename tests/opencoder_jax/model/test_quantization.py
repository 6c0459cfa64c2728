"""Narrow products are narrow where they should be, and near the plain ones."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.model import transformer
from tests.opencoder_jax.model.small_models import GROUPED, params_of
from tests.opencoder_jax.model.test_transformer import DOCUMENTS, rows
from tests.tpu_compiler import tpu_mesh

PRODUCTS = 7  # Query, key, value, out, gate, up, down.


def loss(config):
    return lambda params, *batch: jnp.mean(
        jnp.square(transformer.hidden_states(config, params, *batch)[:, :, :8])
    )


def gradients(quantization):
    config = GROUPED.replace(quantization=quantization)
    return jax.jit(jax.value_and_grad(loss(config)))(params_of(GROUPED), *rows(DOCUMENTS))


def test_loss_and_gradients_are_near_the_plain_ones():
    plain_loss, plain = gradients("none")
    found_loss, found = gradients("int8")

    assert 0 < abs(found_loss - plain_loss) < 0.03 * plain_loss
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(found), strict=True):
        if np.any(one):
            distance = np.linalg.norm(other - one) / np.linalg.norm(one)
            assert 0 < distance < 0.12


@pytest.mark.parametrize("remat_policy", ["none", "minimal"])
def test_the_layers_products_and_no_others_are_int8(remat_policy):
    config = GROUPED.replace(quantization="int8", remat_policy=remat_policy)
    program = jax.jit(loss(config)).lower(params_of(GROUPED), *rows(DOCUMENTS)).as_text()
    products = re.findall(r"stablehlo.dot_general.*: \(tensor<\S*x(\w+)>, ", program)

    assert products.count("i8") == PRODUCTS
    # Scores and mixed values of attention.
    assert products.count("f32") == 2


@pytest.mark.slow
def test_the_tpu_compiler_multiplies_int8():
    mesh = tpu_mesh("v5e:4x4", (1, 16, 1))
    config = GROUPED.replace(
        quantization="int8", dtype="bfloat16", emb_dim=256, mlp_dim=512, head_dim=128
    )
    ids = jax.ShapeDtypeStruct((16, 256), jnp.int32)
    with jax.set_mesh(mesh):
        traced = jax.jit(jax.grad(loss(config))).trace(
            transformer.abstract_params(config), *[ids] * 3
        )
        program = traced.lower().compile().as_text()

    types = dict(re.findall(r"%([\w.-]+) = (\w+)\[", program))
    products = re.findall(r" convolution\(%([\w.-]+), %([\w.-]+)\)", program)
    narrow = [pair for pair in products if {types[operand] for operand in pair} == {"s8"}]
    # Forward, and both gradients of each.
    assert len(narrow) == 3 * PRODUCTS
