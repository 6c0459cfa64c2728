"""Code textbooks: what a piece of code teaches, explained from several angles (paper §2.2).

The paper lets Qwen2-72B-Instruct expound the abstract knowledge in functions of the hqcode set.
Here the seeds are any code documents, e.g. the tested snippets of this cookbook. Each seed is
explained from as many angles as are asked for, each a document of its own.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import apache_beam as beam

from beam_pipelines.synthesis.answers import AnswerError, without_thoughts
from beam_pipelines.synthesis.drafts import Draft, Step, Write
from beam_pipelines.synthesis.executable import shown_name
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings
from beam_pipelines.synthesis.taught.synthetic_snippets import taught_document
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.formats.split import hash_fraction

ANGLES = ("concepts", "walkthrough", "design", "complexity", "pitfalls", "variations")


@dataclasses.dataclass(frozen=True)
class Textbooks(TaughtSet):
    """The set.

    Attributes:
      seeds: which pieces of the corpus may be seeds.
      angles: of each seed, chosen by hash among `ANGLES`.
      min_characters: of a text; a shorter one explains nothing.
    """

    seeds: SeedSettings
    angles: int
    min_characters: int

    name: ClassVar[str] = "code_textbooks"
    records: ClassVar[str] = "documents"
    templates: ClassVar[tuple[str, ...]] = tuple(f"textbooks/{angle}" for angle in ANGLES)

    def __post_init__(self) -> None:
        require_at_least(1, angles=self.angles)
        if self.angles > len(ANGLES):
            raise InputError(f"angles is {self.angles}, expected at most {len(ANGLES)}")

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        chosen = elements | "Seeds" >> ChooseSeeds(self.name, self.seeds)
        asked = chosen.chosen | "Angles" >> beam.FlatMap(_angles, self.angles)
        step = Step("written", _template, _values, _Parse(self.min_characters), self.sampling)
        written = asked | "Write" >> Write(step, self.teacher)
        return Made(asked, written.kept, {"written": written.dropped}, chosen.passed_over)

    def record(self, draft: Draft) -> Document:
        return taught_document(draft, draft.parts["text"], "markdown", "text")


def _angles(draft: Draft, count: int) -> Iterator[Draft]:
    ranked = sorted(ANGLES, key=lambda angle: hash_fraction(f"angle-{angle}", draft.id))
    for angle in ranked[:count]:
        yield dataclasses.replace(
            draft.with_parts(angle=angle), id=document_id("code_textbooks", draft.id, angle)
        )


def _template(draft: Draft) -> str:
    return f"textbooks/{draft.parts['angle']}"


def _values(draft: Draft) -> dict[str, str]:
    return {"language": shown_name(draft.language), "seed": draft.parts["seed"]}


class _Parse:
    def __init__(self, min_characters: int) -> None:
        self._min_characters = min_characters

    def __call__(self, draft: Draft, answer: str) -> Draft:
        text = without_thoughts(answer).strip()
        if len(text) < self._min_characters:
            raise AnswerError("too_short", f"{len(text)} characters")
        return draft.with_parts(text=text)
