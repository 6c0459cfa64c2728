import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.model import transformer
from opencoder_jax.model.config import REMAT_POLICIES
from tests.opencoder_jax.model.small_models import GROUPED, TIED_MULTI_HEAD, params_of

DOCUMENTS = [np.arange(5) + 100, np.arange(9) * 7 % 640, np.array([3, 1, 4])]
logits = jax.jit(transformer.logits, static_argnums=0)


def rows(*packs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, segment ids and positions; each row packs some documents, then padding."""
    tokens, segments, positions = np.zeros((3, len(packs), 20), np.int32)
    for row, pieces in enumerate(packs):
        start = 0
        for number, piece in enumerate(pieces, start=1):
            here = slice(start, start + len(piece))
            tokens[row, here], segments[row, here] = piece, number
            positions[row, here] = np.arange(len(piece))
            start += len(piece)
    return tokens, segments, positions


@pytest.mark.parametrize("config", [GROUPED, TIED_MULTI_HEAD], ids=["grouped", "tied"])
def test_packed_logits_equal_each_documents_own(config):
    alone = [[document] for document in DOCUMENTS]
    found = logits(config, params_of(config), *rows(DOCUMENTS, *alone))

    start = 0
    for row, document in enumerate(DOCUMENTS, start=1):
        np.testing.assert_allclose(
            found[0, start : start + len(document)], found[row, : len(document)], atol=2e-5
        )
        start += len(document)


def test_no_logit_depends_on_a_later_token():
    tokens, segments, positions = rows([np.arange(20)])
    changed = tokens.copy()
    changed[0, 7] = 99
    params = params_of(GROUPED)

    before = logits(GROUPED, params, tokens, segments, positions)
    after = logits(GROUPED, params, changed, segments, positions)

    np.testing.assert_array_equal(before[0, :7], after[0, :7])
    assert np.abs(before[0, 7:] - after[0, 7:]).max(axis=-1).min() > 0.01


@pytest.mark.parametrize("policy", [p for p in REMAT_POLICIES if p != "none"])
def test_rematerialization_changes_no_gradient(policy):
    def gradients(policy):
        config = GROUPED.replace(remat_policy=policy)

        def loss(params):
            hidden_BSD = transformer.hidden_states(config, params, *rows(DOCUMENTS))
            return jnp.sum(hidden_BSD[:, :, 0])

        return jax.tree.leaves(jax.jit(jax.grad(loss))(params_of(GROUPED)))

    for expected, found in zip(gradients("none"), gradients(policy), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_policies_store_what_they_say():
    """Per token and layer, the numbers that cross from the forward to the backward pass."""
    c, batch = GROUPED, rows(DOCUMENTS)

    def stored(policy):
        config = c.replace(remat_policy=policy)
        _, residuals = jax.eval_shape(
            lambda params: jax.vjp(lambda p: transformer.hidden_states(config, p, *batch), params),
            params_of(c),
        )
        leading = (c.num_layers, 1, 20)
        of_layers = [x.shape for x in jax.tree.leaves(residuals) if x.shape[:3] == leading]
        return sum(math.prod(shape[3:]) for shape in of_layers)

    heads, keys = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    assert stored("full") == stored("offload") == c.emb_dim
    assert stored("save_attention") == c.emb_dim + heads
    assert stored("save_qkv_attention") == c.emb_dim + 2 * heads + 2 * keys
    products = heads + 2 * keys + 2 * c.mlp_dim + c.emb_dim
    assert stored("minimal") == c.emb_dim + products
    assert stored("minimal_attention") == stored("minimal") + heads
    assert stored("none") > stored("minimal_attention")


def test_bfloat16_activations_keep_float32_logits_and_parameters():
    config = GROUPED.replace(dtype="bfloat16")
    params, batch = params_of(GROUPED), rows(DOCUMENTS)

    found = logits(config, params, *batch)
    exact = logits(GROUPED, params, *batch)

    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()
    cast = transformer.cast_matrices(config, params)
    assert cast["layers"]["mlp"]["up"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(logits(config, cast, *batch), found)


@pytest.mark.parametrize("config", [GROUPED, TIED_MULTI_HEAD], ids=["grouped", "tied"])
def test_parameters_are_a_plain_dict_with_an_axis_name_for_each_dimension(config):
    params = transformer.abstract_params(config)
    axes = transformer.logical_axes(config)

    dimensions = jax.tree.map(lambda names: len(names), axes, is_leaf=lambda x: type(x) is tuple)
    assert dimensions == jax.tree.map(lambda array: array.ndim, params)
    assert all(type(branch) is dict for branch in (params, params["layers"], axes))
    assert ("unembedding" in params) != config.tie_embeddings
    assert axes["layers"]["attention"]["query"]["kernel"] == ("layers", "embed", "heads", "kv")


def test_matrices_start_with_the_standard_deviation_asked_for():
    config = GROUPED.replace(init_std=0.02, emb_dim=64)
    params = jax.jit(transformer.init_params, static_argnums=0)(config, jax.random.key(0))

    assert np.std(params["token_embedder"]["embedding"]) == pytest.approx(0.02, rel=0.03)
    assert np.std(params["layers"]["mlp"]["gate"]["kernel"]) == pytest.approx(0.02, rel=0.05)
    assert np.all(params["layers"]["pre_mlp_norm"]["scale"] == 1)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, params_of(config))
