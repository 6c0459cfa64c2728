"""From logits to a token, each row by its own settings: greedy, temperature, top-k, top-p, min-p.

What is drawn for a row depends on its own key and the number of the token, never on which
rows share its batch: one uniform number is looked up in the cumulative distribution. The
costly parts are left out while no row asks for them. Thresholds are found by bisection on
the numbers' bits, exact up to ties, for a sort of the vocabulary is slow everywhere.
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
    logits_RV: Float[Array, "R V"], settings: RowSettings, uniform_R: Float[Array, "R"]
) -> Int[Array, "R"]:
    """A token for each row.

    Args:
      logits_RV: after penalties.
      settings: of each row; at temperature 0 the likeliest token is taken.
      uniform_R: a random number in [0, 1) for each row.
    """
    greedy_R = jnp.argmax(logits_RV, axis=-1).astype(jnp.int32)
    drawn_R = _where_any(
        settings.temperature > 0, lambda: _draw(logits_RV, settings, uniform_R), greedy_R
    )
    return jnp.where(settings.temperature > 0, drawn_R, greedy_R)


def logprobs(
    logits_RV: Float[Array, "R V"], chosen_R: Int[Array, "R"], wanted_R: Bool[Array, "R"]
) -> Logprobs:
    """Of the chosen tokens and the likeliest, computed where any row wants them."""
    R, A = logits_RV.shape[0], min(MAX_ALTERNATIVES, logits_RV.shape[1])

    def compute() -> Logprobs:
        total_R1 = jax.nn.logsumexp(logits_RV, axis=-1, keepdims=True)
        chosen_R1 = jnp.take_along_axis(logits_RV, chosen_R[:, None], axis=-1)
        top, top_ids = jax.lax.top_k(logits_RV, A)
        return Logprobs((chosen_R1 - total_R1)[:, 0], top - total_R1, top_ids)

    nothing = Logprobs(jnp.zeros(R), jnp.zeros((R, A)), jnp.zeros((R, A), jnp.int32))
    return _where_any(wanted_R, compute, nothing)


def _draw(logits_RV: Array, settings: RowSettings, uniform_R: Array) -> Int[Array, "R"]:
    scaled_RV = logits_RV / jnp.where(settings.temperature > 0, settings.temperature, 1)[:, None]
    probabilities_RV = jax.nn.softmax(scaled_RV, axis=-1)
    filters = (settings.top_k > 0) | (settings.top_p < 1) | (settings.min_p > 0)
    probabilities_RV = _where_any(
        filters, lambda: _filtered(probabilities_RV, settings), probabilities_RV
    )
    return _inverse_cumulative(probabilities_RV, uniform_R)


def _filtered(probabilities_RV: Array, settings: RowSettings) -> Float[Array, "R V"]:
    """Probabilities, zero where a filter leaves the token out; not normalized."""
    vocab_size = probabilities_RV.shape[1]
    kept_k = jnp.where(settings.top_k > 0, settings.top_k, vocab_size)
    probabilities_RV = _likeliest(
        probabilities_RV, lambda kept: jnp.sum(kept, axis=-1) >= jnp.minimum(kept_k, vocab_size)
    )
    aim_R = settings.top_p * probabilities_RV.sum(axis=-1)
    # At top_p = 1 rounding must not leave out the last of them.
    aim_R = jnp.where(settings.top_p < 1, aim_R, jnp.inf)
    before = probabilities_RV
    probabilities_RV = _likeliest(
        before, lambda kept: jnp.sum(jnp.where(kept, before, 0), axis=-1) >= aim_R
    )
    floor_R1 = settings.min_p[:, None] * probabilities_RV.max(axis=-1, keepdims=True)
    return jnp.where(probabilities_RV >= floor_R1, probabilities_RV, 0)


def _likeliest(
    probabilities_RV: Array, enough: Callable[[Bool[Array, "R V"]], Bool[Array, "R"]]
) -> Float[Array, "R V"]:
    """The smallest set of likeliest tokens that is `enough`, ties included; the others zero."""
    # Floats from 0 up are in the order of their bits.
    bits_RV = jax.lax.bitcast_convert_type(probabilities_RV, jnp.int32)

    def raise_threshold(step: Array, threshold_R: Array) -> Array:
        higher_R = threshold_R | (1 << (30 - step))
        return jnp.where(enough(bits_RV >= higher_R[:, None]), higher_R, threshold_R)

    start = jnp.zeros(probabilities_RV.shape[0], jnp.int32)
    threshold_R = jax.lax.fori_loop(0, 31, raise_threshold, start)
    return jnp.where(bits_RV >= threshold_R[:, None], probabilities_RV, 0)


def _inverse_cumulative(probabilities_RV: Array, uniform_R: Array) -> Int[Array, "R"]:
    """The first token whose cumulative probability exceeds a uniform number times the sum."""
    R, V = probabilities_RV.shape
    padding = -V % _BLOCK
    blocks_RnB = jnp.pad(probabilities_RV, ((0, 0), (0, padding))).reshape(R, -1, _BLOCK)
    # Over blocks, then in one of them: a cumulative sum of the vocabulary is slow.
    until_Rn = jnp.cumsum(blocks_RnB.sum(-1), axis=-1)
    aim_R = uniform_R * until_Rn[:, -1]
    block_R = jnp.argmax(until_Rn > aim_R[:, None], axis=-1)
    inside_RB = jnp.take_along_axis(blocks_RnB, block_R[:, None, None], axis=1)[:, 0]
    before_R1 = jnp.take_along_axis(until_Rn, block_R[:, None], axis=1) - inside_RB.sum(
        -1, keepdims=True
    )
    found_RB = (before_R1 + jnp.cumsum(inside_RB, axis=-1) > aim_R[:, None]) & (inside_RB > 0)
    # Where rounding puts the aim behind the block's end: its last possible token.
    last_R = _BLOCK - 1 - jnp.argmax(inside_RB[:, ::-1] > 0, axis=-1)
    place_R = jnp.where(found_RB.any(-1), jnp.argmax(found_RB, axis=-1), last_R)
    return (block_R * _BLOCK + place_R).astype(jnp.int32)


def _where_any[T](wanted_R: Bool[Array, "R"], compute: Callable[[], T], otherwise: T) -> T:
    return jax.lax.cond(wanted_R.any(), compute, lambda: otherwise)
