"""A model in this process answers, through `opencoder_jax.decoding`.

Chat questions are laid out as in training (`opencoder_jax.formats.chat`), gaps to fill as the
tokenizer's fill-in-the-middle tokens have it. Questions are sorted by length and answered some
at a time, so what is finished is kept while the rest is still to come.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import AnswerSettings, Completion
from opencoder_jax.evaluation.benchmark import Question
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.training import checkpoints

# Answers that are kept together: so many are lost by a kill at most.
_AT_ONCE = 64


@dataclasses.dataclass
class LocalModel:
    """An opened model.

    Attributes:
      model: the model.
      title: of its folder.
      batch_size: questions that are answered side by side.
    """

    model: LoadedModel
    title: str
    batch_size: int = 16

    def identity(self) -> dict[str, str]:
        """SHA-256 of the parameters, and the tokenizer's fingerprint."""
        params = checkpoints.params_sha256(self.model.params)
        return {"params": params, "tokenizer": self.model.tokenizer.fingerprint}

    def complete(
        self, questions: Sequence[Question], settings: AnswerSettings
    ) -> Iterator[tuple[int, list[Completion]]]:
        prompts = [self._ids(question) for question in questions]
        order = sorted(range(len(questions)), key=lambda number: len(prompts[number]))
        size = max(1, _AT_ONCE // settings.samples)
        # Stop texts are the whole batch's.
        groups = itertools.groupby(order, key=lambda number: questions[number].stop)
        for stop, members in groups:
            for numbers in itertools.batched(members, size):
                asked = [prompts[n] for n in numbers for _ in range(settings.samples)]
                chosen = SamplingSettings(
                    max_new_tokens=settings.max_new_tokens,
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    stop=stop,
                    seed=int(fingerprint([questions[n].seed for n in numbers])[:7], 16),
                    batch_size=self.batch_size,
                )
                generations = generate(self.model, asked, chosen)
                rows = itertools.batched(generations, settings.samples)
                for number, row in zip(numbers, rows, strict=True):
                    yield (
                        number,
                        [Completion(g.text, g.finish_reason, len(g.ids)) for g in row],
                    )

    def _ids(self, question: Question) -> list[int]:
        if question.messages:
            return encode_prompt(question.messages, self.model.tokenizer)
        if question.suffix is not None:
            return self._infill_ids(question)
        return self.model.prompt_ids(question.text)

    def _infill_ids(self, question: Question) -> list[int]:
        """Prefix, suffix, middle (Bavarian et al. 2022, arXiv 2207.14255)."""
        raise InputError(
            f"{self.title} cannot fill gaps: its tokenizer has no fill-in-the-middle tokens that "
            "it was trained with"
        )
