"""The loss that brings its gradient along is the textbook's, on one device and on many."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from opencoder_jax.errors import InputError
from opencoder_jax.training.fused_loss import loss_and_sums
from opencoder_jax.training.losses import reference_cross_entropy
from tests.opencoder_jax.training import small

B, S, D, V = 8, 12, 8, 34
Z_LOSS = 0.1


def arrays(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    return (
        jax.random.normal(keys[0], (B, S, D)).astype(dtype),
        jax.random.normal(keys[1], (D, V)),
        jax.random.randint(keys[2], (B, S), 0, V),
        jax.random.bernoulli(keys[3], 0.7, (B, S)).astype(jnp.int32),
    )


def reference(hidden, unembedding, targets, weights):
    sums = reference_cross_entropy(hidden, unembedding, targets, weights)
    total = sums.total()
    return total.loss + Z_LOSS * total.z_loss, sums


def fused(chunk_length, z_loss=Z_LOSS, vocab_blocks=1):
    return lambda *batch: loss_and_sums(*batch, chunk_length, z_loss, vocab_blocks)


def value_and_gradients(function, batch, factor=1.0):
    """Objective, sums, gradients of hidden states and unembedding."""

    def scaled(*batch):
        objective, sums = function(*batch)
        return factor * objective, sums

    return jax.tree.leaves(
        jax.jit(jax.value_and_grad(scaled, argnums=(0, 1), has_aux=True))(*batch)
    )


def assert_same(expected, found, rtol=1e-5, atol=1e-5):
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(np.float32(other), np.float32(one), rtol=rtol, atol=atol)


@pytest.mark.parametrize(("chunk_length", "factor"), [(1, 1.0), (4, -0.3), (S, 1.0), (512, 1.0)])
def test_it_equals_the_reference_in_value_and_gradient(chunk_length, factor):
    assert_same(
        value_and_gradients(reference, arrays(), factor),
        value_and_gradients(fused(chunk_length), arrays(), factor),
    )


@pytest.mark.parametrize("blocks", [2, 5, V])
def test_blocks_of_words_equal_the_reference_too(blocks):
    assert_same(
        value_and_gradients(reference, arrays(), factor=-0.3),
        value_and_gradients(fused(4, vocab_blocks=blocks), arrays(), factor=-0.3),
    )


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)], ids=str)
def test_devices_change_nothing(sizes, blocks):
    batch = arrays()
    expected = value_and_gradients(reference, batch)

    with small.placement(*sizes).activate():
        found = value_and_gradients(fused(4, vocab_blocks=blocks), batch)

    assert_same(expected, found)


@pytest.mark.parametrize("blocks", [1, 3])
def test_bfloat16_is_as_near_as_its_rounding_and_gradients_have_their_arrays_dtypes(blocks):
    hidden, *others = arrays(jnp.bfloat16)
    expected = value_and_gradients(reference, (hidden.astype(jnp.float32), *others))
    found = value_and_gradients(fused(4, vocab_blocks=blocks), (hidden, *others))

    assert [gradient.dtype for gradient in found[-2:]] == [jnp.bfloat16, jnp.float32]
    assert_same(expected, found, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_tied_table_trains_in_bfloat16_on_a_cpu(blocks):
    hidden, unembedding, *rest = arrays()
    hidden = hidden.astype(jnp.bfloat16)

    def tied(hidden, embedding, *rest):
        return fused(S, vocab_blocks=blocks)(hidden, embedding.T, *rest)

    expected = value_and_gradients(fused(S), (hidden, unembedding, *rest))
    found = value_and_gradients(tied, (hidden, unembedding.T, *rest))

    assert_same(expected[-1:], [found[-1].T])


def test_targets_of_weight_zero_count_for_nothing():
    hidden, unembedding, targets, weights = arrays()
    other_targets = jnp.where(weights == 0, (targets + 1) % V, targets)

    assert_same(
        value_and_gradients(fused(4), (hidden, unembedding, targets, weights)),
        value_and_gradients(fused(4), (hidden, unembedding, other_targets, weights)),
        rtol=0,
        atol=0,
    )


def test_without_a_gradient_only_the_sums_are_computed():
    objective, sums = jax.jit(fused(4))(*arrays())
    program = jax.jit(fused(4)).lower(*arrays()).as_text()

    assert_same(jax.tree.leaves(reference(*arrays())), [objective, *sums])
    assert program.count("dot_general") == 1


def test_logits_of_the_whole_sequence_are_never_held():
    program = gradient_program(4096, fused(64))
    shapes_with_vocab = {
        tuple(map(int, shape.split("x")[:-1]))
        for shape in re.findall(r"tensor<((?:\d+x)+)", program.as_text())
        if str(V) in shape.split("x")
    }
    assert max(map(math.prod, shapes_with_vocab)) == B * 64 * V
    assert program.as_text().count("dot_general") == 3


def test_with_blocks_of_words_neither_their_logits_nor_their_gradient_is_held_whole():
    text = gradient_program(4096, fused(64, vocab_blocks=4)).as_text()
    # Nine words a block, the table filled up to 36.
    sizes = {
        math.prod(map(int, shape.split("x")[:-1]))
        for shape in re.findall(r"tensor<((?:\d+x)+)f32>", text)
    }
    assert B * 4096 * 9 in sizes
    assert max(sizes) == B * 4096 * 9
    assert text.count("dot_general") == 4


def test_devices_exchange_the_unembedding_and_its_gradient_once():
    where = small.placement(2, 4)
    spec = NamedSharding(where.mesh, where.rules.spec(("embed", "vocab")))
    with where.activate():
        text = gradient_program(16, fused(4), spec).compile().as_text()

    def exchanged(kinds):
        return sorted(re.findall(rf"= \S*(?:f32|bf16)\[(\d+,\d+)\]\S* (?:{kinds})", text))

    # In whole rows, 8 or a multiple on each of four devices; 34 words fill 64.
    assert exchanged("all-gather") == [f"64,{D}"]
    # Scattered over fsdp, then a part of it, in columns, summed over data.
    assert exchanged("all-reduce|reduce-scatter") == sorted([f"16,{D}", f"{V},{D // 4}"])


def gradient_program(length, loss, unembedding_sharding=None):
    shapes = (
        jax.ShapeDtypeStruct((B, length, D), jnp.bfloat16),
        jax.ShapeDtypeStruct((D, V), jnp.float32, sharding=unembedding_sharding),
        jax.ShapeDtypeStruct((B, length), jnp.int32),
        jax.ShapeDtypeStruct((B, length), jnp.int32),
    )
    gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(gradient).lower(*shapes)


def test_a_chunk_that_does_not_divide_the_sequence_is_refused():
    with pytest.raises(InputError, match="5 does not divide the sequence length 12"):
        fused(5)(*arrays())
