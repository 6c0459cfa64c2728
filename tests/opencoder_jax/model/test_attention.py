import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.model.attention import Context, KeyValues, attend, visible_in_segment
from opencoder_jax.model.layers import rope, rotation

B, S, H, K, h = 2, 7, 4, 2, 6
# The first row packs a document of three tokens and one of two, then padding.
SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 0, 0], [1] * 7])
POSITIONS = jnp.array([[0, 1, 2, 0, 1, 0, 0], list(range(7))])


def random_heads(kv_heads: int) -> tuple[jax.Array, KeyValues]:
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (B, S, H, h)) / np.sqrt(h)
    return query, KeyValues(*(jax.random.normal(k, (B, S, kv_heads, h)) for k in keys[1:]))


def attend_with_loops(query, key_values, segments, positions) -> np.ndarray:
    """The definition, one query at a time, in float64."""
    query, keys, values = (np.asarray(x, np.float64) for x in (query, *key_values))
    out = np.zeros_like(query)
    group = query.shape[2] // keys.shape[2]
    for b, s, n in np.ndindex(query.shape[:3]):
        seen = [
            t
            for t in range(keys.shape[1])
            if segments[b, t] == segments[b, s] and positions[b, t] <= positions[b, s]
        ]
        scores = np.array([query[b, s, n] @ keys[b, t, n // group] for t in seen])
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        out[b, s, n] = sum(w * values[b, t, n // group] for w, t in zip(weights, seen, strict=True))
    return out


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_attention_equals_its_definition_written_as_loops(kv_heads):
    query, key_values = random_heads(kv_heads)

    ours = attend(query, [Context(key_values, visible_in_segment(SEGMENTS, POSITIONS))])

    np.testing.assert_allclose(
        ours, attend_with_loops(query, key_values, SEGMENTS, POSITIONS), atol=1e-5
    )


def test_grouped_queries_equal_multi_head_attention_with_repeated_heads():
    query, key_values = random_heads(K)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, H // K, axis=2), key_values)
    visible = visible_in_segment(SEGMENTS, POSITIONS)

    np.testing.assert_allclose(
        attend(query, [Context(key_values, visible)]),
        attend(query, [Context(repeated, visible)]),
        atol=1e-6,
    )


def test_attention_over_a_prefix_equals_attention_over_the_whole():
    query, key_values = random_heads(K)
    visible = visible_in_segment(SEGMENTS, POSITIONS)
    cut = 4
    earlier = Context(jax.tree.map(lambda x: x[:, :cut], key_values), visible[:, cut:, :cut])
    later = Context(jax.tree.map(lambda x: x[:, cut:], key_values), visible[:, cut:, cut:])

    np.testing.assert_allclose(
        attend(query[:, cut:], [earlier, later]),
        attend(query, [Context(key_values, visible)])[:, cut:],
        atol=1e-6,
    )


def test_rope_makes_scores_depend_on_distance_alone():
    query, key_values = random_heads(H)
    positions = jnp.broadcast_to(jnp.arange(S), (B, S))

    def scores(shift: int) -> jax.Array:
        by = rotation(positions + shift, h, 10000.0)
        rotated = [rope(x, by) for x in (query, key_values.keys)]
        return jnp.einsum("BSHh,BTHh->BHST", *rotated)

    np.testing.assert_allclose(scores(0), scores(100), atol=1e-3)
    assert not np.allclose(scores(0), jnp.einsum("BSHh,BTHh->BHST", query, key_values.keys))
