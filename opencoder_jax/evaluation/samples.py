"""Greedy continuations of fixed openings and answers to fixed instructions, to be read.

A number says how good a model is, its text what it is like. The same openings after
every phase show what the phase taught. Nothing is judged here.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from opencoder_jax.decoding.engine import EngineConfig
from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.evaluation.prompts import chat_ids
from opencoder_jax.model.loading import LoadedModel


@dataclasses.dataclass(frozen=True)
class Samples:
    """The task.

    Attributes:
      openings: title to text that the model continues.
      instructions: title to a user's message that the model answers in ChatML; leave
        empty for base models.
      max_new_tokens: length of each sample at most.
    """

    openings: Mapping[str, str]
    instructions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    max_new_tokens: int = 96

    name: ClassVar[str] = "samples"

    def __post_init__(self) -> None:
        require_at_least(1, max_new_tokens=self.max_new_tokens)
        if not self.openings and not self.instructions:
            raise InputError("Samples has neither openings nor instructions: nothing to sample")

    def settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def inputs(self) -> dict[str, str]:
        return {}

    def run(self, model: LoadedModel, folder: Path) -> dict[str, Any]:
        """`{"samples": [{title, prompt, completion, finish_reason}]}`; no further file."""
        asked = [(title, text, model.prompt_ids(text)) for title, text in self.openings.items()]
        asked += [
            (title, text + "\n", chat_ids(model, text)) for title, text in self.instructions.items()
        ]
        settings = SamplingSettings(max_new_tokens=self.max_new_tokens)
        generations = generate(
            model,
            [ids for _, _, ids in asked],
            settings,
            engine=EngineConfig(slots=len(asked)),
        )
        return {
            "samples": [
                {
                    "title": title,
                    "prompt": prompt,
                    "completion": generation.text,
                    "finish_reason": generation.finish_reason,
                }
                for (title, prompt, _), generation in zip(asked, generations, strict=True)
            ]
        }

    def rows(self, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("samples", str(len(results["samples"])))]
