"""The two compiled programs of generation: prefill and a chunk of decode steps.

The cache has one slot a position, so a row's next slot is its own length and rows of
different lengths run side by side: prompts are padded on the right, and what padding
left in a slot is overwritten before anything sees it. Prefill takes all tokens of a
prompt but the last; the last is the first that the decode loop reads, which therefore
is the only place where logits are computed and tokens chosen.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.decoding.sampling import sample
from opencoder_jax.model.attention import Context, KeyValues
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import (
    Params,
    hidden_states_and_key_values,
    project_to_vocab,
)

NO_TOKEN = -1


class DecodeState(NamedTuple):
    """What passes from one chunk of decode steps to the next.

    Attributes:
      cache: keys and values of all layers, [L, B, T, K, h].
      tokens: the token that each row reads next.
      positions: of that token; slots below it are filled.
      generated: how many tokens each row has added.
      done: rows that add nothing more.
      keys: random key of each row.
    """

    cache: KeyValues
    tokens: Int[Array, "B"]
    positions: Int[Array, "B"]
    generated: Int[Array, "B"]
    done: Bool[Array, "B"]
    keys: Array


@functools.partial(jax.jit, static_argnames=("config", "cache_length"))
def prefill(
    config: TransformerConfig,
    params: Params,
    tokens_BS: Int[Array, "B S"],
    lengths_B: Int[Array, "B"],
    *,
    cache_length: int,
) -> KeyValues:
    """Keys and values of each row's first `lengths_B` tokens, in a cache of T slots."""
    positions_BS = jnp.broadcast_to(jnp.arange(tokens_BS.shape[1]), tokens_BS.shape)
    segment_ids_BS = (positions_BS < lengths_B[:, None]).astype(jnp.int32)
    _, key_values = hidden_states_and_key_values(
        config, params, tokens_BS, segment_ids_BS, positions_BS
    )
    slots = cache_length - tokens_BS.shape[1]
    return jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, slots), (0, 0), (0, 0))), key_values
    )


@functools.partial(
    jax.jit, static_argnames=("config", "chunk", "greedy"), donate_argnames=("state",)
)
def decode_chunk(
    config: TransformerConfig,
    params: Params,
    state: DecodeState,
    limits_B: Int[Array, "B"],
    stop_ids: Int[Array, "E"],
    temperature: Float[Array, ""],
    top_p: Float[Array, ""],
    *,
    chunk: int,
    greedy: bool,
) -> tuple[DecodeState, Int[Array, "B chunk"]]:
    """Adds up to `chunk` tokens to each row; stops early when all rows are done.

    Args:
      config: the model's dimensions.
      params: the model's parameters.
      state: where each row stands; its memory is reused.
      limits_B: how many tokens each row may add in all.
      stop_ids: tokens that end a row.
      temperature: for `sampling.sample`.
      top_p: for `sampling.sample`.
      chunk: steps between two looks of the host at the texts.
      greedy: take the likeliest token.

    Returns:
      The new state, and the tokens added, `NO_TOKEN` after a row's end; a stop id is
      among them.
    """
    B, T = state.positions.shape[0], state.cache.keys.shape[2]
    rows = jnp.arange(B)

    def unfinished(carry: tuple[Array, DecodeState, Array]) -> Bool[Array, ""]:
        step, state, _ = carry
        return (step < chunk) & ~jnp.all(state.done)

    def advance(
        carry: tuple[Array, DecodeState, Array],
    ) -> tuple[Array, DecodeState, Array]:
        step, state, added = carry
        visible_BST = (jnp.arange(T) < state.positions[:, None])[:, None]
        hidden_BSD, new = hidden_states_and_key_values(
            config,
            params,
            state.tokens[:, None],
            jnp.ones((B, 1), jnp.int32),
            state.positions[:, None],
            Context(state.cache, visible_BST),
        )
        cache = jax.tree.map(
            lambda slots, x: slots.at[:, rows, state.positions].set(x[:, :, 0]), state.cache, new
        )
        logits_BV = project_to_vocab(config, params, hidden_BSD[:, 0])
        if greedy:
            chosen_B = jnp.argmax(logits_BV, axis=-1)
        else:
            keys_B = jax.vmap(jax.random.fold_in)(state.keys, state.generated)
            chosen_B = sample(logits_BV, keys_B, temperature, top_p)
        generated_B = state.generated + ~state.done
        ended_B = jnp.isin(chosen_B, stop_ids) | (generated_B >= limits_B)
        return (
            step + 1,
            state._replace(
                cache=cache,
                tokens=chosen_B.astype(jnp.int32),
                # A finished row stays where it is, or it would run out of the cache.
                positions=state.positions + ~(state.done | ended_B),
                generated=generated_B,
                done=state.done | ended_B,
            ),
            added.at[:, step].set(jnp.where(state.done, NO_TOKEN, chosen_B)),
        )

    added = jnp.full((B, chunk), NO_TOKEN, jnp.int32)
    _, state, added = jax.lax.while_loop(unfinished, advance, (jnp.int32(0), state, added))
    return state, added
