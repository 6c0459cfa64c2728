"""What a teacher is asked, and what it answers."""

import dataclasses
from typing import Any, NamedTuple

from opencoder_jax.errors import InputError, require_at_least

Messages = tuple[tuple[str, str], ...]
_LARGEST_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn.

    Attributes:
      temperature: 0: greedy.
      max_tokens: of an answer, at most.
      top_p: share of the probability that tokens are drawn from.
      seed: another seed, another answer; `templates.seed_of` makes one of an element's id.
    """

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(0, temperature=self.temperature, seed=self.seed)
        require_at_least(1, max_tokens=self.max_tokens)
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}, expected 0 < top_p <= 1")
        if self.seed > _LARGEST_SEED:
            raise InputError(f"seed is {self.seed}, expected at most {_LARGEST_SEED}")


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One call.

    Attributes:
      template: id of the wording, e.g. `educational/task-1`; kept in records, no part of the call.
      messages: (role, content) pairs.
      sampling: how the answer is drawn.
    """

    template: str
    messages: Messages
    sampling: Sampling


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher answered.

    Attributes:
      text: never empty.
      finish_reason: `stop`, or `length` where that is allowed; others as the server says it.
      prompt_tokens: as the server counts; by `estimate.prompt_tokens` where it does not.
      completion_tokens: as the server counts, thoughts included; estimated where it does not.
      teacher: the model's name.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    teacher: str

    def facts(self, prompt: Prompt) -> dict[str, Any]:
        """What a record keeps of a call, beside its texts."""
        return {
            "template": prompt.template,
            "teacher": self.teacher,
            "temperature": prompt.sampling.temperature,
            "top_p": prompt.sampling.top_p,
            "max_tokens": prompt.sampling.max_tokens,
            "seed": prompt.sampling.seed,
        }


class Answered(NamedTuple):
    """An element with its prompt and answer."""

    element: Any
    prompt: Prompt
    answer: Answer
