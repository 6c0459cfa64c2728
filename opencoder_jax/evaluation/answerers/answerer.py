"""The face of whoever answers a benchmark's questions.

Questions go in together and answers come out in any order, each question's as soon as they
are there, so that the harness can keep and judge them while the rest is being written. A prompt
that leaves less room in the model's context than `max_new_tokens` is answered as long as there is
room, by all answerers alike, and the answer's reason says so.
Next: `local`, `endpoint`, `reference`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from opencoder_jax.evaluation.benchmark import Question

CONTEXT_FULL = "context_full"
PROMPT_TOO_LONG = "prompt_too_long"


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How to answer; what ends an answer stands in the question.

    Attributes:
      max_new_tokens: of an answer.
      samples: answers to each question.
      temperature: 0 is greedy.
      top_p: nucleus sampling, below 1.
    """

    max_new_tokens: int
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """An answer.

    Attributes:
      text: without the stop text that ended it.
      finish_reason: `stop` or `eos` (it ended), `length` (it is as long as was asked for),
        `context_full` (prompt and answer fill the model's context), `prompt_too_long` (the prompt
        alone does: nothing was answered), or as the endpoint has it.
      tokens: how many it has; None where that is not known.
    """

    text: str
    finish_reason: str
    tokens: int | None = None


class Answerer(Protocol):
    """A model that answers."""

    @property
    def title(self) -> str:
        """For people: a folder's name, a model's name."""
        ...

    def identity(self) -> dict[str, str]:
        """What its answers depend on, for a manifest's inputs."""
        ...

    def complete(
        self, questions: Sequence[Question], settings: AnswerSettings
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Number of a question and its answers, as they are ready.

        Raises:
          InputError: it cannot answer a question of this kind.
        """
        ...


def cut_reason(reason: str, tokens: int | None, max_new_tokens: int) -> str:
    """`context_full` in place of `length` where an answer is shorter than was asked for."""
    short = tokens is not None and tokens < max_new_tokens
    return CONTEXT_FULL if reason == "length" and short else reason


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text, and whether there was one."""
    places = [place for place in (text.find(s) for s in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)
