"""The chunked loss is the textbook's."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training.losses import cross_entropy, reference_cross_entropy

B, S, D, V = 2, 12, 8, 33


@pytest.fixture
def arrays():
    keys = jax.random.split(jax.random.key(0), 4)
    return (
        jax.random.normal(keys[0], (B, S, D)),
        jax.random.normal(keys[1], (D, V)),
        jax.random.randint(keys[2], (B, S), 0, V),
        jax.random.bernoulli(keys[3], 0.7, (B, S)).astype(jnp.int32),
    )


@pytest.mark.parametrize("chunk_length", [1, 4, S, 512])
def test_chunked_loss_equals_the_reference_in_value_and_gradient(arrays, chunk_length):
    def objective(function, hidden, unembedding, *extra):
        sums = function(hidden, unembedding, *arrays[2:], *extra)
        total = sums.total()
        return total.loss + 0.1 * total.z_loss, sums

    grad = jax.grad(objective, argnums=(1, 2), has_aux=True)
    expected, expected_sums = grad(reference_cross_entropy, *arrays[:2])
    actual, actual_sums = grad(cross_entropy, *arrays[:2], chunk_length)
    for one, other in zip((*expected, *expected_sums), (*actual, *actual_sums), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_targets_of_weight_zero_count_for_nothing(arrays):
    hidden, unembedding, targets, weights = arrays
    other_targets = jnp.where(weights == 0, (targets + 1) % V, targets)
    one, other = (
        cross_entropy(hidden, unembedding, t, weights, 4) for t in (targets, other_targets)
    )
    np.testing.assert_array_equal(one, other)


def test_logits_of_the_whole_sequence_are_never_held():
    shapes = (
        jax.ShapeDtypeStruct((B, 4096, D), jnp.bfloat16),
        jax.ShapeDtypeStruct((D, V), jnp.float32),
        jax.ShapeDtypeStruct((B, 4096), jnp.int32),
        jax.ShapeDtypeStruct((B, 4096), jnp.int32),
    )

    def loss(hidden, unembedding, targets, weights):
        return cross_entropy(hidden, unembedding, targets, weights, 64).total().loss

    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).as_text()
    shapes_with_vocab = {
        tuple(map(int, shape.split("x")[:-1]))
        for shape in re.findall(r"tensor<((?:\d+x)+)", program)
        if str(V) in shape.split("x")
    }
    assert max(map(math.prod, shapes_with_vocab)) == B * 64 * V


def test_a_chunk_that_does_not_divide_the_sequence_is_refused(arrays):
    with pytest.raises(InputError, match="5 does not divide the sequence length 12"):
        cross_entropy(*arrays, 5)
