"""From logits to a token: greedy, temperature, nucleus.

Each row has a random key of its own, so what is drawn for a prompt depends on the seed,
the prompt's number and the token's number, never on which rows share its batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How to continue a prompt.

    Attributes:
      max_new_tokens: at most this many tokens are added.
      temperature: 0 takes the likeliest token always.
      top_p: draw from the smallest set of likeliest tokens that holds this probability
        (nucleus sampling, arXiv 1904.09751); 1 draws from all.
      stop: texts that end a continuation; they are not part of it.
      seed: of all random draws.
      batch_size: prompts that run side by side.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.temperature < 0:
            raise InputError(f"temperature={self.temperature}: expected 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p}: expected more than 0 and at most 1")
        if "" in self.stop or isinstance(self.stop, str):
            raise InputError(f"stop={self.stop!r}: expected a list of texts, none of them empty")


def row_keys(seed: int, prompt_numbers: Int[Array, "B"]) -> Array:
    """A random key for each prompt."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), prompt_numbers)


def sample(
    logits_BV: Float[Array, "B V"],
    keys_B: Array,
    temperature: Float[Array, ""],
    top_p: Float[Array, ""],
) -> Int[Array, "B"]:
    """Draws a token for each row; `temperature` must be above 0."""
    logits_BV = logits_BV / temperature
    sorted_BV = jnp.sort(logits_BV, axis=-1, descending=True)
    probabilities_BV = jax.nn.softmax(sorted_BV, axis=-1)
    # A token belongs to the nucleus while the likelier ones hold less than top_p.
    held_before_BV = jnp.cumsum(probabilities_BV, axis=-1) - probabilities_BV
    floor_B1 = jnp.min(
        jnp.where(held_before_BV < top_p, sorted_BV, jnp.inf), axis=-1, keepdims=True
    )
    kept_BV = jnp.where(logits_BV >= floor_B1, logits_BV, -jnp.inf)
    return jax.vmap(jax.random.categorical)(keys_B, kept_BV)
