"""A model in this process answers, through `opencoder_jax.decoding`.

Chat questions are laid out as in training (`opencoder_jax.formats.chat`), gaps to fill with the
tokenizer's fill-in-the-middle tokens. One engine runs them all: an answer that ends makes room
for the next question, and is given away at once. What is drawn depends on the question's own
seed, so an answer is the same in a part of a benchmark and after a kill.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence

from opencoder_jax.decoding.engine import Engine, EngineConfig
from opencoder_jax.decoding.generation import Collector, Generation, slot_length
from opencoder_jax.decoding.requests import Request
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.evaluation.answerers.answerer import AnswerSettings, Completion, cut_reason
from opencoder_jax.evaluation.benchmark import Question
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.infilling import infill_ids
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.training import checkpoints


@dataclasses.dataclass
class LocalModel:
    """An opened model.

    Attributes:
      model: the model.
      title: of its folder.
      batch_size: answers that are written side by side.
      dtype: what it computes with, `float32` or `bfloat16`; None: its own.
    """

    model: LoadedModel
    title: str
    batch_size: int = 16
    dtype: str | None = None

    def identity(self) -> dict[str, str]:
        """SHA-256 of the parameters, the tokenizer's fingerprint, and the type where it is said."""
        params = checkpoints.params_sha256(self.model.params)
        own = {"params": params, "tokenizer": self.model.tokenizer.fingerprint}
        return own | ({"dtype": self.dtype} if self.dtype else {})

    def complete(
        self, questions: Sequence[Question], settings: AnswerSettings
    ) -> Iterator[tuple[int, list[Completion]]]:
        if not questions:
            return
        prompts = [self._ids(question) for question in questions]
        engine = self._engine(prompts, settings.max_new_tokens)
        ended: collections.deque[int] = collections.deque()
        rows = []
        for number, (question, prompt) in enumerate(zip(questions, prompts, strict=True)):
            chosen = SamplingSettings(
                max_new_tokens=settings.max_new_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                stop=question.stop,
                seed=question.seed,
            )
            on_end = functools.partial(ended.append, number)
            rows.append([Collector(on_end) for _ in range(settings.samples)])
            for sample, answer in enumerate(rows[-1]):
                engine.submit(Request(tuple(prompt), chosen, sample), answer.add)
        busy = True
        while busy:
            busy = engine.step()
            while ended:
                number = ended.popleft()
                # Of several answers the last one to end gives all of them.
                if all(answer.ended for answer in rows[number]) and number not in ended:
                    yield (
                        number,
                        [_completion(answer.result(), settings) for answer in rows[number]],
                    )

    def _engine(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Engine:
        config = EngineConfig(
            slots=self.batch_size,
            length=slot_length(prompts, new_tokens, self.model.config.max_length),
            dtype=self.dtype,
            weights=self.dtype,
        )
        return Engine(self.model, config)

    def _ids(self, question: Question) -> list[int]:
        if question.messages:
            return encode_prompt(question.messages, self.model.tokenizer)
        if question.suffix is not None:
            return infill_ids(question.text, question.suffix, self.model.tokenizer)
        return self.model.prompt_ids(question.text)


def _completion(answer: Generation, settings: AnswerSettings) -> Completion:
    tokens = len(answer.ids)
    reason = cut_reason(answer.finish_reason, tokens, settings.max_new_tokens)
    return Completion(answer.text, reason, tokens)
