"""Continuations of a list of prompts: token ids in, ids and text out.

An engine of its own runs them, as many side by side as it has slots. A prompt's
continuation depends on the prompt, its number and the settings, never on the others.
Next: `engine`.
"""

import dataclasses
from collections.abc import Callable, Sequence

from opencoder_jax.decoding.engine import Engine, EngineConfig
from opencoder_jax.decoding.requests import Event, Request, TokenLogprob, check_prompt
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.model.loading import LoadedModel

# Slots have a multiple of this many positions, so that their programs are few.
_LENGTHS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """A continuation.

    Attributes:
      ids: the tokens added, without the one that stopped it.
      text: their text, cut before a stop text.
      finish_reason: `eos` (a token that ends texts), `stop` (a stop text), `length` (as many
        tokens as asked for, or as the model's context takes), `prompt_too_long` (the prompt
        fills the context: nothing was added).
      logprobs: of `ids`, where the settings ask for them.
    """

    ids: tuple[int, ...]
    text: str
    finish_reason: str
    logprobs: tuple[TokenLogprob, ...] = ()


def generate(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    engine: EngineConfig | None = None,
) -> list[Generation]:
    """Continues each prompt.

    Args:
      model: an opened model.
      prompts: token ids, at least one each.
      settings: how to choose tokens and when to stop.
      engine: how to run the model, and how many prompts side by side; its length is what the
        prompts need, whatever is said here.

    Returns:
      A continuation for each prompt, in order; the same for a prompt whatever else is
      asked for beside it, as long as its number and `settings` are the same (greedy: its
      number does not matter).

    Raises:
      InputError: a prompt is empty or has an id that the model does not know.
    """
    for number, prompt in enumerate(prompts):
        check_prompt(prompt, model.config.vocab_size, f"prompt {number}")
    if not prompts:
        return []
    config = dataclasses.replace(
        engine or EngineConfig(),
        length=slot_length(prompts, settings.max_new_tokens, model.config.max_length),
    )
    running = Engine(model, config)
    collectors = [Collector() for _ in prompts]
    for number, (prompt, collector) in enumerate(zip(prompts, collectors, strict=True)):
        running.submit(Request(tuple(prompt), settings, number), collector.add)
    running.run()
    return [collector.result() for collector in collectors]


def slot_length(prompts: Sequence[Sequence[int]], new_tokens: int, most: int) -> int:
    """Positions of a slot that any of `prompts` and its text fit in, at most the model's `most`.

    Prompts that fill the model's context do not count: nothing is added to them.
    """
    longest = max((len(prompt) for prompt in prompts if len(prompt) < most), default=1)
    return min(-(-(longest + new_tokens) // _LENGTHS) * _LENGTHS, most)


class Collector:
    """Events of one request, put together."""

    def __init__(self, on_end: Callable[[], object] = lambda: None) -> None:
        """`on_end` is called when the last event has come."""
        self._on_end = on_end
        self._events: list[Event] = []

    @property
    def ended(self) -> bool:
        """Whether the last event has come."""
        return bool(self._events) and self._events[-1].finish_reason is not None

    def add(self, event: Event) -> None:
        """Takes the next event."""
        self._events.append(event)
        if self.ended:
            self._on_end()

    def result(self) -> Generation:
        """The continuation, once ended."""
        reason = self._events[-1].finish_reason
        assert reason is not None
        return Generation(
            ids=tuple(token for event in self._events for token in event.ids),
            text="".join(event.text for event in self._events),
            finish_reason=reason,
            logprobs=tuple(one for event in self._events for one in event.logprobs),
        )
