"""Multilingual instructions as McEval-Instruct has them (arXiv 2406.07436; paper Table 5).

The paper takes that set of 36 K. This makes one in its manner: seeds of as many languages as the
corpus has, an equal number of each; the teacher writes a task and its solution in the seed's
language, of one of the three kinds of McEval. Where the sandbox runs the language and the kind
asks for a function, tests are asked for too and have to pass.
"""

import dataclasses
from typing import Any, ClassVar

import apache_beam as beam

from beam_pipelines.synthesis.answers import code_of, sections
from beam_pipelines.synthesis.drafts import Draft, Step, Write, parted
from beam_pipelines.synthesis.executable import EXECUTABLE, shown_name
from beam_pipelines.synthesis.proving import ProveByTests
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings
from beam_pipelines.synthesis.taught.educational import language_values, parse_task
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.split import hash_fraction

KINDS = ("generation", "explanation", "completion")


@dataclasses.dataclass(frozen=True)
class Multilingual(TaughtSet):
    """The set.

    Attributes:
      seeds: which pieces of the corpus may be seeds; `per_language` balances them.
    """

    seeds: SeedSettings

    name: ClassVar[str] = "multilingual"
    templates: ClassVar[tuple[str, ...]] = (
        *(f"multilingual/{kind}" for kind in KINDS),
        "multilingual/tested",
    )
    executes: ClassVar[bool] = True

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        chosen = elements | "Seeds" >> ChooseSeeds(self.name, self.seeds)
        kinds = chosen.chosen | "Kinds" >> beam.Map(_with_kind)
        step = Step("written", _template, _values, _parse, self.sampling)
        written = kinds | "Write" >> Write(step, self.teacher)
        run, said = parted(written.kept, "IsRun", _is_run)
        proved = run | "Prove" >> ProveByTests(making.sandbox_workers, making.allow_unisolated)
        finished = (proved.kept, said) | "Finished" >> beam.Flatten()
        dropped: dict[str, Any] = {"written": written.dropped, "proved": proved.dropped}
        return Made(kinds, finished, dropped, chosen.passed_over)

    def record(self, draft: Draft) -> Conversation:
        return Conversation(
            id=draft.id,
            messages=(("user", draft.parts["task"]), ("assistant", draft.parts["solution"])),
            language=draft.language,
            repo=draft.repo,
            provenance=_template(draft),
            details=draft.details("kind", "code", "tests", "entry_point"),
        )


def _with_kind(draft: Draft) -> Draft:
    return draft.with_parts(kind=KINDS[int(hash_fraction("kind", draft.id) * len(KINDS))])


def _is_run(draft: Draft) -> bool:
    return draft.parts["kind"] == "generation" and draft.language in EXECUTABLE


def _template(draft: Draft) -> str:
    return "multilingual/tested" if _is_run(draft) else f"multilingual/{draft.parts['kind']}"


def _values(draft: Draft) -> dict[str, str]:
    if _is_run(draft):
        return language_values(draft)
    return {"seed": draft.parts["seed"], "language": shown_name(draft.language)}


def _parse(draft: Draft, answer: str) -> Draft:
    if _is_run(draft):
        return parse_task(draft, answer)
    given = sections(answer, ("Task", "Solution"))
    parts = {"task": given["Task"], "solution": given["Solution"]}
    if draft.parts["kind"] != "explanation":
        parts["code"] = code_of(given["Solution"], draft.language)
    return draft.with_parts(**parts)
