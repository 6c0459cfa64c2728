"""The face of whoever answers a benchmark's questions.

Questions go in together and answers come out in any order, each question's as soon as they
are there, so that the harness can keep and judge them while the rest is being written.
Next: `local`, `endpoint`, `reference`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from opencoder_jax.evaluation.benchmark import Question


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
      finish_reason: `stop` or `eos` (it ended), `length` (it was cut), or as the endpoint has it.
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


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text, and whether there was one."""
    places = [place for place in (text.find(s) for s in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)
