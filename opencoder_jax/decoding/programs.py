"""The compiled programs of the engine, and the state on the device that they pass on.

`extend` puts a piece of a prompt into a slot, `start` sets what the slot's text begins with
and how it is sampled, `decode` adds a token to each of some slots, `fork` gives a slot's
content to another. The state is donated to each and never copied. Next: `engine`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from opencoder_jax.decoding import sampling
from opencoder_jax.decoding.cache import Cache, Rows, copy_slot
from opencoder_jax.decoding.forward import Layout, forward, project_to_vocab
from opencoder_jax.decoding.sampling import Logprobs, RowSettings
from opencoder_jax.decoding.weights import DecoderWeights


class State(NamedTuple):
    """Of B slots.

    Attributes:
      cache: keys and values.
      tokens: the token that each slot reads next, [B].
      positions: of that token, [B].
      generated: how many tokens each text has, [B].
      limits: how many it may have, [B].
      stops_at_eos: whether a token of `eos_ids` ends it, [B].
      running: slots whose text goes on, [B].
      keys: of each text's random numbers, [B, 2].
      settings: how each samples, [B].
      in_prompt: tokens that its prompt has, [B, V].
      counts: how often its text has each token, [B, V].
    """

    cache: Cache
    tokens: Int[Array, "B"]
    positions: Int[Array, "B"]
    generated: Int[Array, "B"]
    limits: Int[Array, "B"]
    stops_at_eos: Bool[Array, "B"]
    running: Bool[Array, "B"]
    keys: Array
    settings: RowSettings
    in_prompt: Bool[Array, "B V"]
    counts: Int[Array, "B V"]


class Start(NamedTuple):
    """What a slot's text begins with: the fields of `State`, of one slot."""

    token: Int[Array, ""]
    position: Int[Array, ""]
    limit: Int[Array, ""]
    stops_at_eos: Bool[Array, ""]
    key: Array
    settings: RowSettings
    in_prompt: Bool[Array, "V"]


class Added(NamedTuple):
    """What a step added to R slots.

    Attributes:
      tokens: [R].
      logprobs: zeros for rows that do not want them.
    """

    tokens: Int[Array, "R"]
    logprobs: Logprobs


def make_state(cache: Cache, slots: int, vocab_size: int, mesh: Mesh | None = None) -> State:
    """Slots in which nothing runs.

    Args:
      cache: of all slots.
      slots: B.
      vocab_size: V.
      mesh: where the cache is; all else is on each of its devices. Left to the programs, it would
        be so after the first of them only, which would be compiled for both.
    """

    def zeros(dtype: Any) -> Array:
        return jnp.zeros(slots, dtype)

    floats = {
        "temperature": zeros(jnp.float32),
        "top_p": zeros(jnp.float32),
        "top_k": zeros(jnp.int32),
        "min_p": zeros(jnp.float32),
        "repetition_penalty": jnp.ones(slots, jnp.float32),
        "presence_penalty": zeros(jnp.float32),
        "frequency_penalty": zeros(jnp.float32),
        "wants_logprobs": zeros(jnp.bool),
    }
    state = State(
        cache=(),
        tokens=zeros(jnp.int32),
        positions=zeros(jnp.int32),
        generated=zeros(jnp.int32),
        limits=zeros(jnp.int32),
        stops_at_eos=zeros(jnp.bool),
        running=zeros(jnp.bool),
        keys=jnp.zeros((slots, 2), jnp.uint32),
        settings=RowSettings(**floats),
        in_prompt=jnp.zeros((slots, vocab_size), jnp.bool),
        counts=jnp.zeros((slots, vocab_size), jnp.int16),
    )
    if mesh:
        state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    return state._replace(cache=cache)


@functools.partial(jax.jit, static_argnames=("layout", "score"), donate_argnames=("state",))
def extend(
    layout: Layout,
    weights: DecoderWeights,
    state: State,
    slot: Int[Array, ""],
    start: Int[Array, ""],
    count: Int[Array, ""],
    tokens_S: Int[Array, "S"],
    targets_S: Int[Array, "S"],
    *,
    score: bool,
) -> tuple[State, Logprobs | None]:
    """Puts `count` tokens of a prompt into a slot, from position `start` on.

    Args:
      layout: what the program is compiled for.
      weights: the model.
      state: of all slots.
      slot: which.
      start: position of the first token; all before it are in the slot.
      count: tokens that count; those behind are padding.
      tokens_S: the tokens.
      targets_S: what follows each of them; read with `score` only.
      score: also give the log-probability of each target, and the likeliest instead.
    """
    S = tokens_S.shape[0]
    offsets_S = jnp.arange(S, dtype=jnp.int32)
    active_S = offsets_S < count
    rows = Rows(jnp.full(S, slot), start + offsets_S, active_S)
    hidden_SD, cache = forward(layout, weights, state.cache, tokens_S, rows, one_slot=True)
    scores = None
    if score:
        logits_SV = project_to_vocab(layout, weights, hidden_SD, active_S)
        scores = sampling.logprobs(logits_SV, targets_S, active_S, layout.shards)
    return state._replace(cache=cache), scores


@functools.partial(jax.jit, donate_argnames=("state",))
def start(state: State, slot: Int[Array, ""], begin: Start) -> State:
    """Sets a slot running, its prompt but for the last token being in it."""
    settings = jax.tree.map(lambda all, one: all.at[slot].set(one), state.settings, begin.settings)
    return state._replace(
        tokens=state.tokens.at[slot].set(begin.token),
        positions=state.positions.at[slot].set(begin.position),
        generated=state.generated.at[slot].set(0),
        limits=state.limits.at[slot].set(begin.limit),
        stops_at_eos=state.stops_at_eos.at[slot].set(begin.stops_at_eos),
        running=state.running.at[slot].set(True),
        keys=state.keys.at[slot].set(begin.key),
        settings=settings,
        in_prompt=state.in_prompt.at[slot].set(begin.in_prompt),
        counts=state.counts.at[slot].set(0),
    )


@functools.partial(jax.jit, donate_argnames=("state",))
def fork(state: State, source: Int[Array, ""], target: Int[Array, ""]) -> State:
    """Gives what a slot has in its cache to another too."""
    return state._replace(cache=copy_slot(state.cache, source, target))


@functools.partial(jax.jit, static_argnames=("layout",), donate_argnames=("state",))
def decode(
    layout: Layout,
    weights: DecoderWeights,
    state: State,
    slots_R: Int[ArrayLike, "R"],
    asked_R: Bool[ArrayLike, "R"],
    eos_ids: Int[Array, "E"],
) -> tuple[State, Added]:
    """Adds a token to each of R slots.

    Args:
      layout: what the program is compiled for.
      weights: the model.
      state: of all slots.
      slots_R: which, each once; with `xla` kernels 0 to R - 1.
      asked_R: rows that count; of them, those go on whose text has not ended.
      eos_ids: tokens that end a text; padded with -1.
    """
    slots_R = jnp.asarray(slots_R)
    rows_of = jax.tree.map(lambda x: x[slots_R], state._replace(cache=()))
    active_R = asked_R & rows_of.running
    rows = Rows(slots_R, rows_of.positions, active_R)
    hidden_RD, cache = forward(layout, weights, state.cache, rows_of.tokens, rows, one_slot=False)
    logits_RV = project_to_vocab(layout, weights, hidden_RD, active_R)
    settings = rows_of.settings._replace(
        temperature=jnp.where(active_R, rows_of.settings.temperature, 0),
        wants_logprobs=rows_of.settings.wants_logprobs & active_R,
    )
    penalized_RV = _penalized(logits_RV, settings, state, slots_R)
    chosen_R = sampling.choose(
        penalized_RV,
        settings,
        lambda: jax.vmap(_uniform)(rows_of.keys, rows_of.generated),
        layout.shards,
    )
    added = Added(
        chosen_R,
        sampling.logprobs(logits_RV, chosen_R, settings.wants_logprobs, layout.shards),
    )
    generated_R = rows_of.generated + 1
    ended_R = jnp.isin(chosen_R, eos_ids) & rows_of.stops_at_eos
    # Rows that do not count are written nowhere.
    at_R = jnp.where(active_R, slots_R, state.tokens.shape[0])
    return (
        state._replace(
            cache=cache,
            tokens=state.tokens.at[at_R].set(chosen_R, mode="drop"),
            positions=state.positions.at[at_R].add(1, mode="drop"),
            generated=state.generated.at[at_R].set(generated_R, mode="drop"),
            running=state.running.at[at_R].set(
                ~ended_R & (generated_R < rows_of.limits), mode="drop"
            ),
            counts=state.counts.at[at_R, chosen_R].add(1, mode="drop"),
        ),
        added,
    )


def _penalized(
    logits_RV: Float[Array, "R V"], settings: RowSettings, state: State, slots_R: Array
) -> Float[Array, "R V"]:
    penalties = (
        (settings.repetition_penalty != 1)
        | (settings.presence_penalty != 0)
        | (settings.frequency_penalty != 0)
    )
    return jax.lax.cond(
        penalties.any(),
        # Rows are taken here, where they are read: they are as large as the logits.
        lambda: sampling.penalize(
            logits_RV, settings, state.in_prompt[slots_R], state.counts[slots_R]
        ),
        lambda: logits_RV,
    )


def _uniform(key: Array, number: Int[Array, ""]) -> Float[Array, ""]:
    """The random number of a text's token of this number."""
    return jax.random.uniform(jax.random.fold_in(jax.random.wrap_key_data(key), number))
