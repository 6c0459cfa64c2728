"""One text of an answer as it comes: what can be sent of it now, and its log-probabilities.

The engine tells of tokens before their text is sure, for a stop text may have begun. Here a
token's log-probability waits for its text, so that streams and whole answers tell of the same
tokens: those of the text, and none of the stop text. Next: `completions`, `chat`.
"""

import dataclasses
from typing import Any

from opencoder_jax.decoding.requests import Event, TokenLogprob
from opencoder_jax.decoding.text import TextStream
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.serve.token_text import TokenText

# JSON has no infinities; OpenAI's API says this of what is impossible.
_LEAST = -9999.0
_REASONS = {"eos": "stop", "stop": "stop", "length": "length", "prompt_too_long": "length"}


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """A token's log-probability, and the character of the text that it begins at."""

    found: TokenLogprob
    offset: int


class Choice:
    """One text.

    Attributes:
      text: given out so far.
      tokens: computed so far, the one that ended it included.
      total: sum of their log-probabilities, where they were asked for.
      echoed: whether the prompt was given back before it.
      finish_reason: as OpenAI's API says it; None while more may come.
    """

    def __init__(
        self, tokenizer: Tokenizer, names: TokenText, logprobs: bool, ending: bool = True
    ) -> None:
        """`ending`: also tell of the token that ended the text, which gives no text."""
        self.text = ""
        self.tokens = 0
        self.total = 0.0
        self.echoed = False
        self.finish_reason: str | None = None
        self._stream = TextStream(tokenizer) if logprobs else None
        self._names = names
        self._ending = ending
        self._held: list[Placed] = []

    def add(self, event: Event) -> tuple[str, list[Placed]]:
        """Takes news; returns the text and the log-probabilities that can be told now."""
        self.text += event.text
        self.tokens += len(event.ids) + (event.finish_reason == "eos")
        if event.finish_reason:
            self.finish_reason = _REASONS.get(event.finish_reason, event.finish_reason)
        for found in event.logprobs:
            assert self._stream is not None
            self.total += found.logprob or 0.0
            self._held.append(Placed(found, self._names.add(self._stream, found.token)))
        if event.ending and self._ending:
            self.total += event.ending.logprob or 0.0
            self._held.append(Placed(event.ending, len(self.text)))
        whole = event.finish_reason in ("eos", "length")
        sure = [one for one in self._held if whole or one.offset < len(self.text)]
        self._held = self._held[len(sure) :]
        return event.text, sure

    @property
    def mean_logprob(self) -> float:
        return self.total / max(self.tokens, 1)


def number(logprob: float | None) -> float | None:
    """A log-probability in JSON."""
    return None if logprob is None else (logprob if logprob > _LEAST else _LEAST)


def completion_logprobs(placed: list[Placed], names: TokenText, start: int) -> dict[str, Any]:
    """`logprobs` of a completion's choice; places count from `start`."""
    top: list[dict[str, float | None] | None] = []
    for one in placed:
        if one.found.logprob is None:
            top.append(None)
            continue
        likeliest = {names.name(token): number(value) for token, value in one.found.top.items()}
        # The token itself is always among them.
        top.append(likeliest | {names.name(one.found.token): number(one.found.logprob)})
    return {
        "tokens": [names.name(one.found.token) for one in placed],
        "token_logprobs": [number(one.found.logprob) for one in placed],
        "top_logprobs": top,
        "text_offset": [start + one.offset for one in placed],
    }


def chat_logprobs(placed: list[Placed], names: TokenText) -> dict[str, Any]:
    """`logprobs` of a chat's choice."""

    def entry(token: int, logprob: float | None) -> dict[str, Any]:
        spelled = names.spelled(token)
        return {"token": names.name(token), "logprob": number(logprob), "bytes": list(spelled)}

    content = [
        entry(one.found.token, one.found.logprob)
        | {"top_logprobs": [entry(*pair) for pair in one.found.top.items()]}
        for one in placed
    ]
    return {"content": content, "refusal": None}
