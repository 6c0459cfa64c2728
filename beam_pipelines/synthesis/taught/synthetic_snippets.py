"""Self-contained functions with tests from algorithmic seeds, in several languages (paper §2.2).

The annealing set of the paper's Table 3 that a strong model wrote: functions as exercises have
them, each with test cases, kept only where these pass. A document is the function with its
tests behind it.
"""

import dataclasses
from typing import ClassVar

import apache_beam as beam

from beam_pipelines.synthesis.answers import code_of, sections
from beam_pipelines.synthesis.drafts import Draft, Step, Write
from beam_pipelines.synthesis.proving import ProveByTests
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings
from beam_pipelines.synthesis.taught.educational import language_values, require_executable
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from opencoder_jax.formats.document import Document


@dataclasses.dataclass(frozen=True)
class SyntheticSnippets(TaughtSet):
    """The set.

    Attributes:
      seeds: which pieces of the corpus may be seeds; the paper's have algorithmic keywords.
    """

    seeds: SeedSettings

    name: ClassVar[str] = "synthetic_snippets"
    records: ClassVar[str] = "documents"
    templates: ClassVar[tuple[str, ...]] = ("synthetic_snippets/function",)
    executes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_executable(self.seeds)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        chosen = elements | "Seeds" >> ChooseSeeds(self.name, self.seeds)
        step = Step("written", always(self.templates[0]), language_values, _parse, self.sampling)
        written = chosen.chosen | "Write" >> Write(step, self.teacher)
        proved = written.kept | "Prove" >> ProveByTests(
            making.sandbox_workers, making.allow_unisolated
        )
        dropped = {"written": written.dropped, "proved": proved.dropped}
        return Made(chosen.chosen, proved.kept, dropped, chosen.passed_over)

    def record(self, draft: Draft) -> Document:
        return taught_document(
            draft, f"{draft.parts['code']}\n\n{draft.parts['tests']}\n", draft.language, "code"
        )


def _parse(draft: Draft, answer: str) -> Draft:
    given = sections(answer, ("Function", "Tests"))
    code = code_of(given["Function"], draft.language)
    tests = code_of(given["Tests"], draft.language)
    return draft.with_parts(code=code, tests=tests, text=f"{code}\n\n{tests}")


def taught_document(draft: Draft, text: str, language: str, doc_type: str) -> Document:
    """A document that a teacher wrote; `signals` says how."""
    return Document(
        id=draft.id,
        text=text,
        repo=draft.repo,
        path=draft.path,
        language=language,
        doc_type=doc_type,
        provenance=draft.calls[-1]["template"],
        duplicate_cluster=draft.id,
        signals=draft.details("entry_point", "angle"),
    )
