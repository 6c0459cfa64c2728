"""From logits to a token, each row by its own settings: greedy, temperature, top-k, top-p, min-p.

What is drawn for a row depends on its own key and the number of the token, never on which
rows share its batch: one uniform number is looked up in the cumulative distribution. The
costly parts are left out while no row asks for them. Thresholds are found by bisection on
the numbers' bits, exact up to ties, for a sort of the vocabulary is slow everywhere. Where the
vocabulary is shared out over devices, each sums up what it has: some numbers a row go around,
the logits never.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from opencoder_jax.errors import InputError, require_at_least

MAX_ALTERNATIVES = 20
_BLOCK = 256
# Bits of a threshold that are found in one turn: each turn waits for all devices, so where there
# are several it looks at three candidates. (More cost more than the turns they save, by the cycles
# that the TPU's compiler estimates: 385 thousand with two bits, 1,466 with five.)
_BITS_OF_ONE, _BITS_OF_SEVERAL = 1, 2
# Floats from 0 up are in the order of their bits, and those up to 1 have so many.
_BITS = 30


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How to continue a prompt.

    Attributes:
      max_new_tokens: at most this many tokens are added.
      temperature: 0 takes the likeliest token always.
      top_p: draw from the smallest set of likeliest tokens that holds this probability
        (nucleus sampling, arXiv 1904.09751); 1 draws from all.
      top_k: draw from this many likeliest tokens; 0 from all. Applied before `top_p`.
      min_p: leave out tokens less likely than this share of the likeliest (arXiv 2407.01082).
      repetition_penalty: logits of tokens that are in the prompt or the text already are
        divided by it where positive, multiplied where negative (arXiv 1909.05858); 1: none.
      presence_penalty: taken off the logit of each token that the text has already.
      frequency_penalty: taken off the logit of a token once for each time that the text has it.
      stop: texts that end a continuation; they are not part of it.
      seed: of all random draws.
      ignore_eos: go on after a token that ends a text.
      logprobs: None, or how many likeliest alternatives to tell of beside each token's own
        log-probability, 0 to 20: the model's own, before any of the settings above.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        require_at_least(1, max_new_tokens=self.max_new_tokens)
        if not self.temperature >= 0:
            raise InputError(f"temperature={self.temperature}: expected 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p}: expected more than 0 and at most 1")
        if self.top_k < 0:
            raise InputError(f"top_k={self.top_k}: expected 0 (all) or more")
        if not 0 <= self.min_p <= 1:
            raise InputError(f"min_p={self.min_p}: expected 0 (all) to 1")
        if not self.repetition_penalty > 0:
            raise InputError(f"repetition_penalty={self.repetition_penalty}: expected more than 0")
        if "" in self.stop or isinstance(self.stop, str):
            raise InputError(f"stop={self.stop!r}: expected a list of texts, none of them empty")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_ALTERNATIVES:
            raise InputError(f"logprobs={self.logprobs}: expected 0 to {MAX_ALTERNATIVES}")


class RowSettings(NamedTuple):
    """`SamplingSettings` of each row, as arrays."""

    temperature: Float[Array, "R"]
    top_p: Float[Array, "R"]
    top_k: Int[Array, "R"]
    min_p: Float[Array, "R"]
    repetition_penalty: Float[Array, "R"]
    presence_penalty: Float[Array, "R"]
    frequency_penalty: Float[Array, "R"]
    wants_logprobs: Bool[Array, "R"]


class Logprobs(NamedTuple):
    """Log-probabilities of the chosen tokens and of the likeliest; zeros where nobody asked."""

    chosen: Float[Array, "R"]
    top: Float[Array, "R A"]
    top_ids: Int[Array, "R A"]


def penalize(
    logits_RV: Float[Array, "R V"],
    settings: RowSettings,
    in_prompt_RV: Bool[Array, "R V"],
    counts_RV: Int[Array, "R V"],
) -> Float[Array, "R V"]:
    """Logits with the three penalties.

    Args:
      logits_RV: the model's.
      settings: of each row.
      in_prompt_RV: tokens that the prompt has.
      counts_RV: how often the text added so far has each token.
    """
    used_RV = counts_RV > 0
    factor = settings.repetition_penalty[:, None]
    penalized = jnp.where(logits_RV > 0, logits_RV / factor, logits_RV * factor)
    logits_RV = jnp.where(used_RV | in_prompt_RV, penalized, logits_RV)
    logits_RV -= settings.presence_penalty[:, None] * used_RV
    return logits_RV - settings.frequency_penalty[:, None] * counts_RV


def choose(
    logits_RV: Float[Array, "R V"],
    settings: RowSettings,
    uniform: Callable[[], Float[Array, "R"]],
    shards: int = 1,
) -> Int[Array, "R"]:
    """A token for each row.

    Args:
      logits_RV: after penalties.
      settings: of each row; at temperature 0 the likeliest token is taken.
      uniform: gives a random number in [0, 1) for each row; called where a row wants one.
      shards: devices that the vocabulary is shared out over.
    """
    greedy_R = _likeliest_one(logits_RV) if shards == 1 else jnp.argmax(logits_RV, axis=-1)
    greedy_R = greedy_R.astype(jnp.int32)
    drawn_R = _where_any(
        settings.temperature > 0, lambda: _draw(logits_RV, settings, uniform(), shards), greedy_R
    )
    return jnp.where(settings.temperature > 0, drawn_R, greedy_R)


def logprobs(
    logits_RV: Float[Array, "R V"],
    chosen_R: Int[Array, "R"],
    wanted_R: Bool[Array, "R"],
    shards: int = 1,
) -> Logprobs:
    """Of the chosen tokens and the likeliest, computed where any row wants them."""
    R, A = logits_RV.shape[0], min(MAX_ALTERNATIVES, logits_RV.shape[1])

    def compute() -> Logprobs:
        total_R1 = jax.nn.logsumexp(logits_RV, axis=-1, keepdims=True)
        chosen_R1 = jnp.take_along_axis(logits_RV, chosen_R[:, None], axis=-1)
        top, top_ids = _top(logits_RV, A, shards)
        return Logprobs((chosen_R1 - total_R1)[:, 0], top - total_R1, top_ids)

    nothing = Logprobs(jnp.zeros(R), jnp.zeros((R, A)), jnp.zeros((R, A), jnp.int32))
    return _where_any(wanted_R, compute, nothing)


def _top(logits_RV: Array, count: int, shards: int) -> tuple[Array, Array]:
    """The likeliest and their ids: of each shard, then of those."""
    R, V = logits_RV.shape
    part = V // shards
    top_RsA, ids_RsA = jax.lax.top_k(logits_RV.reshape(R, shards, part), min(count, part))
    ids_RsA += jnp.arange(shards)[:, None] * part
    top_RA, places_RA = jax.lax.top_k(top_RsA.reshape(R, -1), count)
    return top_RA, jnp.take_along_axis(ids_RsA.reshape(R, -1), places_RA, axis=1)


def _likeliest_one(logits_RV: Array) -> Int[Array, "R"]:
    """`argmax`, the first of several. XLA's own takes a number after the other on a CPU."""
    R, V = logits_RV.shape
    padded_RV = jnp.pad(logits_RV, ((0, 0), (0, -V % _BLOCK)), constant_values=-jnp.inf)
    blocks_RnB = padded_RV.reshape(R, -1, _BLOCK)
    block_R = jnp.argmax(blocks_RnB.max(axis=-1), axis=-1)
    inside_RB = jnp.take_along_axis(blocks_RnB, block_R[:, None, None], axis=1)[:, 0]
    return block_R * _BLOCK + jnp.argmax(inside_RB, axis=-1)


def _draw(
    logits_RV: Array, settings: RowSettings, uniform_R: Array, shards: int
) -> Int[Array, "R"]:
    scaled_RV = logits_RV / jnp.where(settings.temperature > 0, settings.temperature, 1)[:, None]
    probabilities_RV = jax.nn.softmax(scaled_RV, axis=-1)
    filters = (settings.top_k > 0) | (settings.top_p < 1) | (settings.min_p > 0)
    probabilities_RV = _where_any(
        filters, lambda: _filtered(probabilities_RV, settings, shards), probabilities_RV
    )
    return _inverse_cumulative(probabilities_RV, uniform_R, shards)


def _filtered(probabilities_RV: Array, settings: RowSettings, shards: int) -> Float[Array, "R V"]:
    """Probabilities, zero where a filter leaves the token out; not normalized."""
    vocab_size = probabilities_RV.shape[1]
    kept_k = jnp.where(settings.top_k > 0, settings.top_k, vocab_size)
    before_k = probabilities_RV
    probabilities_RV = _where_any(
        settings.top_k > 0,
        lambda: _likeliest(
            before_k, jnp.ones_like(before_k), jnp.minimum(kept_k, vocab_size), shards
        ),
        before_k,
    )
    aim_R = settings.top_p * probabilities_RV.sum(axis=-1)
    # At top_p = 1 rounding must not leave out the last of them.
    aim_R = jnp.where(settings.top_p < 1, aim_R, jnp.inf)
    before_p = probabilities_RV
    probabilities_RV = _where_any(
        settings.top_p < 1, lambda: _likeliest(before_p, before_p, aim_R, shards), before_p
    )
    floor_R1 = settings.min_p[:, None] * probabilities_RV.max(axis=-1, keepdims=True)
    return jnp.where(probabilities_RV >= floor_R1, probabilities_RV, 0)


def _likeliest(
    probabilities_RV: Array, amounts_RV: Array, aim_R: Array, shards: int
) -> Float[Array, "R V"]:
    """The smallest set of likeliest tokens whose amounts are `aim_R` together, ties included.

    The others are zero; none is where all together are less.
    """
    bits_RV = jax.lax.bitcast_convert_type(probabilities_RV, jnp.int32)
    digit = _BITS_OF_SEVERAL if shards > 1 else _BITS_OF_ONE
    turns = _BITS // digit

    def raise_threshold(turn: Array, threshold_R: Array) -> Array:
        unit = 1 << ((turns - 1 - turn) * digit)
        candidates_Rn = threshold_R[:, None] + jnp.arange(1, 1 << digit) * unit
        kept_RnV = bits_RV[:, None] >= candidates_Rn[..., None]
        enough_Rn = jnp.where(kept_RnV, amounts_RV[:, None], 0).sum(axis=-1) >= aim_R[:, None]
        return threshold_R + enough_Rn.sum(axis=-1) * unit

    start = jnp.zeros(probabilities_RV.shape[0], jnp.int32)
    threshold_R = jax.lax.fori_loop(0, turns, raise_threshold, start)
    return jnp.where(bits_RV >= threshold_R[:, None], probabilities_RV, 0)


def _inverse_cumulative(probabilities_RV: Array, uniform_R: Array, shards: int) -> Int[Array, "R"]:
    """The first token whose cumulative probability exceeds a uniform number times the sum."""
    R, V = probabilities_RV.shape
    part = V // shards
    parts_RsP = probabilities_RV.reshape(R, shards, part)
    parts_RsP = jnp.pad(parts_RsP, ((0, 0), (0, 0), (0, -part % _BLOCK)))
    blocks_RsnB = parts_RsP.reshape(R, shards, -1, _BLOCK)
    # Over blocks, then in one of them: a cumulative sum of the vocabulary is slow.
    until_Rn = jnp.cumsum(blocks_RsnB.sum(-1).reshape(R, -1), axis=-1)
    aim_R = uniform_R * until_Rn[:, -1]
    block_R = jnp.argmax(until_Rn > aim_R[:, None], axis=-1)
    shard_R, in_shard_R = jnp.divmod(block_R, blocks_RsnB.shape[2])
    inside_RsB = jnp.take_along_axis(blocks_RsnB, in_shard_R[:, None, None, None], axis=2)[:, :, 0]
    inside_RB = jnp.take_along_axis(inside_RsB, shard_R[:, None, None], axis=1)[:, 0]
    before_R1 = jnp.take_along_axis(until_Rn, block_R[:, None], axis=1) - inside_RB.sum(
        -1, keepdims=True
    )
    found_RB = (before_R1 + jnp.cumsum(inside_RB, axis=-1) > aim_R[:, None]) & (inside_RB > 0)
    # Where rounding puts the aim behind the block's end: its last possible token.
    last_R = _BLOCK - 1 - jnp.argmax(inside_RB[:, ::-1] > 0, axis=-1)
    place_R = jnp.where(found_RB.any(-1), jnp.argmax(found_RB, axis=-1), last_R)
    return (shard_R * part + in_shard_R * _BLOCK + place_R).astype(jnp.int32)


def _where_any[T](wanted_R: Bool[Array, "R"], compute: Callable[[], T], otherwise: T) -> T:
    return jax.lax.cond(wanted_R.any(), compute, lambda: otherwise)
