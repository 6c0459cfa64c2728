"""What is asked of an engine, and what it tells of it. Next: `engine`."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from opencoder_jax.decoding.sampling import Logprobs, SamplingSettings
from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A prompt and how to continue it.

    Attributes:
      prompt: token ids, at least one.
      settings: how.
      number: together with the seed, what the random draws depend on.
      score_prompt: also give the log-probabilities of the prompt's own tokens.
    """

    prompt: tuple[int, ...]
    settings: SamplingSettings
    number: int = 0
    score_prompt: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability of a token where it stands, and the likeliest there.

    Attributes:
      token: its id.
      logprob: natural logarithm; None for a prompt's first token, which nothing precedes.
      top: id to log-probability of the likeliest, as many as were asked for.
    """

    token: int
    logprob: float | None
    top: dict[int, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """News of a request.

    Attributes:
      text: what has come to its text.
      ids: the tokens of this event; the text of the last may come with a later one.
      logprobs: of `ids`, where the settings ask for them.
      prompt_logprobs: of the prompt, in a request's first event, where it asks for them.
      finish_reason: None while it runs; then `eos` (a token that ends texts), `stop` (a stop
        text), `length` (as long as asked for, or as the slot), `prompt_too_long` (nothing was
        added), `cancelled`.
      ending: the token that ended the text, on `eos`, where the settings ask for
        log-probabilities; it is not among `ids`.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: str | None = None
    ending: TokenLogprob | None = None


def check_prompt(prompt: Sequence[int], vocab_size: int, name: str = "the prompt") -> None:
    """Raises: InputError: the prompt is empty, or has ids outside the vocabulary."""
    if not prompt:
        raise InputError(f"{name} is empty: begin it with the tokenizer's BOS")
    beyond = [token for token in prompt if not 0 <= token < vocab_size]
    if beyond:
        # A stranger's may have thousands of digits.
        shown = [id if id.bit_length() < 64 else f"of {id.bit_length()} bits" for id in beyond[:5]]
        raise InputError(
            f"{name} has ids {shown} outside the model's vocabulary of "
            f"{vocab_size}: was it encoded with another tokenizer?"
        )


def token_logprobs(
    found: Logprobs, rows: Sequence[int], ids: Sequence[int], alternatives: int
) -> list[TokenLogprob]:
    """Of some rows of what the device found, each with its first `alternatives`."""
    chosen = np.asarray(found.chosen)
    top, top_ids = (np.asarray(x)[:, :alternatives] for x in (found.top, found.top_ids))
    return [
        TokenLogprob(
            token,
            float(chosen[row]),
            dict(
                zip(
                    top_ids[row, :alternatives].tolist(),
                    top[row, :alternatives].tolist(),
                    strict=True,
                )
            ),
        )
        for row, token in zip(rows, ids, strict=True)
    ]
