"""Scores of code files by a teacher, which a small scorer learns from (beyond the paper).

Later open recipes (Stack-Edu, Seed-Coder) keep the code that a language model finds good. No
model can read a whole corpus, so it rates a hash sample of it here, and
`beam_pipelines/quality_scorer.py` trains a classifier that reads all. The result is no
training text: nothing is decontaminated or deduplicated.
"""

import dataclasses
from typing import ClassVar

import apache_beam as beam

from beam_pipelines.synthesis.answers import rating
from beam_pipelines.synthesis.drafts import Draft, Step, Write
from beam_pipelines.synthesis.executable import shown_name
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings
from beam_pipelines.synthesis.sets import Outcome
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document

HIGHEST_SCORE = 10


@dataclasses.dataclass(frozen=True)
class QualityScores(TaughtSet):
    """The set: documents with what the teacher was shown, `score` in their details.

    Attributes:
      seeds: which files are rated; `from_start` has to be true.
    """

    seeds: SeedSettings

    name: ClassVar[str] = "quality_scores"
    records: ClassVar[str] = "documents"
    templates: ClassVar[tuple[str, ...]] = ("quality/code",)

    def __post_init__(self) -> None:
        if not self.seeds.from_start:
            raise InputError("quality scores are of the beginnings of files: set seeds.from_start")

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        chosen = elements | "Seeds" >> ChooseSeeds(self.name, self.seeds)
        step = Step("rated", always("quality/code"), _values, _score, self.sampling)
        rated = chosen.chosen | "Rate" >> Write(step, self.teacher)
        return Made(chosen.chosen, rated.kept, {"rated": rated.dropped}, chosen.passed_over)

    def make(self, elements: beam.PCollection, making: Making) -> Outcome:
        made = self.draft(elements, making)
        records = made.drafts | "Record" >> beam.Map(self.record)
        return Outcome(made.candidates, records, made.dropped, made.passed_over)

    def record(self, draft: Draft) -> Document:
        return Document(
            id=draft.id,
            text=draft.parts["seed"],
            repo=draft.repo,
            path=draft.path,
            language=draft.language,
            doc_type="code",
            provenance="quality/code",
            signals=draft.details("score"),
        )


def _values(draft: Draft) -> dict[str, str]:
    return {"language": shown_name(draft.language), "seed": draft.parts["seed"]}


def _score(draft: Draft, answer: str) -> Draft:
    return draft.with_parts(score=f"{rating(answer, HIGHEST_SCORE):g}")
