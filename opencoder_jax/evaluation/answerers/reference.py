"""Hugging Face's own implementation answers, to compare ours with.

    python -m opencoder_jax.evaluate --model=transformers:FOLDER --tasks=humaneval

Only for that: it needs PyTorch and `transformers` (the `parity` group), which are imported when
a model is opened, and answers one question at a time. It reads tokenizer and chat template its
own way, so equal completions show that ours are read alike.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import (
    PROMPT_TOO_LONG,
    AnswerSettings,
    Completion,
    cut_at_stop,
    cut_reason,
)
from opencoder_jax.evaluation.benchmark import Question
from opencoder_jax.formats.manifest import file_sha256, fingerprint


@dataclasses.dataclass
class Reference:
    """A model run by `transformers`.

    Attributes:
      folder: a Hugging Face folder.
      model: `AutoModelForCausalLM`.
      tokenizer: `AutoTokenizer`.
    """

    folder: Path
    model: Any
    tokenizer: Any

    @property
    def title(self) -> str:
        return f"{self.folder.name}, transformers"

    def identity(self) -> dict[str, str]:
        """Of all files of the folder."""
        files = [p for p in sorted(self.folder.iterdir()) if p.is_file()]
        return {"transformers": fingerprint([[p.name, file_sha256(p)] for p in files])}

    def complete(
        self, questions: Sequence[Question], settings: AnswerSettings
    ) -> Iterator[tuple[int, list[Completion]]]:
        for number, question in enumerate(questions):
            yield number, self._answers(question, settings)

    def _answers(self, question: Question, settings: AnswerSettings) -> list[Completion]:
        import torch

        if question.suffix is not None:
            raise InputError(f"{self.title} cannot fill gaps: use an endpoint or our own model")
        if question.messages:
            ids = self.tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in question.messages],
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
            )["input_ids"]
        else:
            ids = self.tokenizer(question.text, return_tensors="pt").input_ids
        room = self.model.config.max_position_embeddings - ids.shape[1]
        if room <= 0:
            return [Completion("", PROMPT_TOO_LONG, 0)] * settings.samples
        sampling: dict[str, Any] = {"do_sample": settings.temperature > 0}
        if settings.temperature > 0:
            sampling |= {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
            torch.manual_seed(question.seed)

        # Its own `stop_strings` also sees those that begin in the prompt.
        def stopped(rows: Any, scores: Any, **others: Any) -> Any:
            texts = [self._text(row[ids.shape[1] :].tolist()) for row in rows]
            return torch.tensor([cut_at_stop(text, question.stop)[1] for text in texts])

        with torch.inference_mode():
            rows = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=min(settings.max_new_tokens, room),
                num_return_sequences=settings.samples,
                stopping_criteria=[stopped] if question.stop else None,
                pad_token_id=self.tokenizer.eos_token_id,
                **sampling,
            )
        return [self._completion(row[ids.shape[1] :].tolist(), question, settings) for row in rows]

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _completion(
        self, ids: list[int], question: Question, settings: AnswerSettings
    ) -> Completion:
        ends = self.model.generation_config.eos_token_id
        ends = set(ends) if isinstance(ends, list) else {ends}
        place = next((n for n, token in enumerate(ids) if token in ends), None)
        text, stopped = cut_at_stop(self._text(ids[:place]), question.stop)
        tokens = len(ids) if place is None else place
        reason = "stop" if stopped else "length" if place is None else "eos"
        return Completion(text, cut_reason(reason, tokens, settings.max_new_tokens), tokens)


def open_reference(folder: str) -> Reference:
    """Opens a Hugging Face folder with `transformers`, in float32.

    Raises:
      InputError: it is not installed, or the folder holds no model.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise InputError(
            f"transformers:{folder} needs PyTorch and transformers: {error}"
        ) from error
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} is no Hugging Face folder: it has no config.json")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Reference(
        Path(folder).resolve(), model.eval(), transformers.AutoTokenizer.from_pretrained(folder)
    )
