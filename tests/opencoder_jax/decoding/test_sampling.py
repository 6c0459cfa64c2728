import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.decoding import sampling
from opencoder_jax.decoding.sampling import RowSettings, SamplingSettings
from opencoder_jax.errors import InputError

PROBABILITIES = np.array([0.5, 0.3, 0.15, 0.05])


def rows(count, **settings) -> RowSettings:
    plain = {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "wants_logprobs": False,
    }
    return RowSettings(
        **{name: jnp.full(count, settings.get(name, value)) for name, value in plain.items()}
    )


@functools.partial(jax.jit, static_argnums=3)
def _choose(logits, settings, uniform, shards):
    return sampling.choose(logits, settings, lambda: uniform, shards)


def shares(probabilities, draws=4000, shards=1, **settings) -> np.ndarray:
    """How often each token is drawn, over evenly spread random numbers."""
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(probabilities)), (draws, len(probabilities)))
    uniform = (jnp.arange(draws) + 0.5) / draws
    drawn = _choose(logits, rows(draws, **settings), uniform, shards)
    return np.bincount(np.asarray(drawn), minlength=len(probabilities)) / draws


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_p": 0.75}, [0, 1]),
        ({"top_p": 0.5}, [0]),
        ({"top_k": 3}, [0, 1, 2]),
        ({"top_k": 1}, [0]),
        ({"min_p": 0.2}, [0, 1, 2]),
        # Of the three likeliest, 0.75 of their 0.95.
        ({"top_k": 3, "top_p": 0.75}, [0, 1]),
        ({"top_k": 3, "top_p": 0.9}, [0, 1, 2]),
        ({"top_p": 0.9, "min_p": 0.5}, [0, 1]),
    ],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_tokens_are_drawn_in_proportion_from_what_the_filters_keep(settings, kept, shards):
    expected = np.zeros(4)
    expected[kept] = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    np.testing.assert_allclose(
        shares(PROBABILITIES, shards=shards, **settings), expected, atol=1e-3
    )


def test_a_temperature_sharpens_and_flattens():
    for temperature in (0.5, 2.0):
        powered = PROBABILITIES ** (1 / temperature)
        found = shares(PROBABILITIES, temperature=temperature)
        np.testing.assert_allclose(found, powered / powered.sum(), atol=1e-3)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_vocabulary_of_many_blocks_is_drawn_from_as_a_whole(shards):
    # Likely tokens lie in blocks far apart, and in the last, incomplete one.
    probabilities = np.full(1000, 1e-6)
    probabilities[[0, 255, 256, 700, 999]] = [0.3, 0.1, 0.2, 0.15, 0.25]
    probabilities /= probabilities.sum()
    np.testing.assert_allclose(shares(probabilities, 20000, shards), probabilities, atol=2e-4)


@pytest.mark.parametrize("vocab_size", [4, 256, 1000])
def test_at_temperature_0_it_is_the_likeliest_token_and_the_first_of_several(vocab_size):
    # So few different numbers that the largest is there several times in some rows.
    numbers = np.random.default_rng(1).integers(-vocab_size, vocab_size // 2, (40, vocab_size))
    logits = jnp.asarray(numbers, jnp.float32)
    chosen = _choose(logits, rows(40, temperature=0.0), jnp.full(40, 0.5), 1)
    np.testing.assert_array_equal(chosen, np.argmax(logits, axis=1))
    assert chosen.dtype == jnp.int32


def test_rows_of_different_settings_stay_apart():
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(PROBABILITIES)), (3, 4))
    settings = rows(3)._replace(temperature=jnp.array([0.0, 1.0, 1.0]), top_k=jnp.array([0, 0, 2]))
    found = sampling.choose(logits, settings, lambda: jnp.array([0.99, 0.99, 0.99]))
    assert np.asarray(found).tolist() == [0, 3, 1]


def test_penalties_are_those_of_their_definitions():
    logits = jnp.array([[2.0, -2.0, 1.0, 0.5]])
    settings = rows(1, repetition_penalty=2.0, presence_penalty=0.25, frequency_penalty=0.5)
    in_prompt = jnp.array([[True, False, False, False]])
    counts = jnp.array([[0, 3, 0, 1]])
    found = sampling.penalize(logits, settings, in_prompt, counts)
    # Prompt tokens are repetitions, but neither present in the text nor counted.
    np.testing.assert_allclose(found, [[1.0, -4.0 - 0.25 - 1.5, 1.0, 0.25 - 0.25 - 0.5]])


@pytest.mark.parametrize("shards", [1, 2])
def test_logprobs_are_the_models_own_and_the_likeliest_come_first(shards):
    logits = jnp.log(jnp.array([PROBABILITIES[::-1]])) + 3
    found = sampling.logprobs(logits, jnp.array([0]), jnp.array([True]), shards)
    np.testing.assert_allclose(found.chosen, np.log([0.05]), rtol=1e-5)
    assert np.asarray(found.top_ids)[0].tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(found.top[0], np.log(PROBABILITIES), rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_k": -1},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"stop": ("",)},
        {"stop": "a"},
        {"logprobs": 21},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        SamplingSettings(**settings)
