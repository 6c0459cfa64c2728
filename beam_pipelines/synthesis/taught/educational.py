"""Educational instructions: task, solution and tests from good code (paper §4.1, Fig. 5b).

A scorer picks seeds that teach something; the teacher writes a task in their spirit with a
solution and several tests; what passes them stays. The paper does so for Python; other
languages that the sandbox runs may be asked for as well.
"""

import dataclasses
from typing import Any, ClassVar

import apache_beam as beam

from beam_pipelines.synthesis.answers import AnswerError, code_of, rating, sections
from beam_pipelines.synthesis.drafts import Draft, Step, Write
from beam_pipelines.synthesis.executable import EXECUTABLE, shown_name
from beam_pipelines.synthesis.proving import ProveByTests
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from beam_pipelines.teacher.prompt import Sampling
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation

HIGHEST_SCORE = 10


@dataclasses.dataclass(frozen=True)
class Educational(TaughtSet):
    """The set.

    Attributes:
      seeds: which pieces of the corpus may be seeds.
      min_score: of a seed, from 0 to 10, by the teacher; None: seeds are not scored.
      scoring: how scores are sampled.
    """

    seeds: SeedSettings
    min_score: float | None
    scoring: Sampling

    name: ClassVar[str] = "educational"
    templates: ClassVar[tuple[str, ...]] = ("educational/score", "educational/task")
    executes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_executable(self.seeds)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        chosen = elements | "Seeds" >> ChooseSeeds(self.name, self.seeds)
        drafts, dropped = chosen.chosen, {}
        if self.min_score is not None:
            scored = drafts | "Score" >> Write(
                score_step("educational/score", self.min_score, self.scoring), self.teacher
            )
            drafts, dropped["scored"] = scored.kept, scored.dropped
        written = drafts | "Write" >> Write(
            Step(
                "written",
                always("educational/task"),
                language_values,
                parse_task,
                self.sampling,
            ),
            self.teacher,
        )
        proved = written.kept | "Prove" >> ProveByTests(
            making.sandbox_workers, making.allow_unisolated
        )
        dropped |= {"written": written.dropped, "proved": proved.dropped}
        return Made(chosen.chosen, proved.kept, dropped, chosen.passed_over)

    def record(self, draft: Draft) -> Conversation:
        return task_conversation(draft, "educational/task")


def require_executable(seeds: SeedSettings) -> None:
    """Raises: InputError: a language of the seeds cannot be run in the sandbox."""
    unknown = sorted(set(seeds.languages) - set(EXECUTABLE))
    if unknown or not seeds.languages:
        raise InputError(
            f"seed languages {unknown or 'are not named'}: expected some of "
            f"{', '.join(EXECUTABLE)}, which can be executed"
        )


def score_step(template: str, lowest: float, sampling: Sampling) -> Step:
    """The step in which seeds are scored; a lower score is the drop `low_score`."""
    return Step("scored", always(template), seed_values, _Score(lowest), sampling)


class _Score:
    def __init__(self, lowest: float) -> None:
        self._lowest = lowest

    def __call__(self, draft: Draft, answer: str) -> Draft:
        score = rating(answer, HIGHEST_SCORE)
        if score < self._lowest:
            raise AnswerError("low_score", f"{score:g}, at least {self._lowest:g}")
        return draft.with_parts(score=f"{score:g}")


def seed_values(draft: Draft) -> dict[str, str]:
    return {"seed": draft.parts["seed"], "language": shown_name(draft.language)}


def language_values(draft: Draft) -> dict[str, str]:
    """Seed, language, and what tests look like in it."""
    return {**seed_values(draft), "conventions": EXECUTABLE[draft.language].conventions}


def parse_task(draft: Draft, answer: str) -> Draft:
    """Task, solution and tests, each under its heading."""
    given = sections(answer, ("Task", "Solution", "Tests"))
    return draft.with_parts(
        task=given["Task"],
        solution=given["Solution"],
        code=code_of(given["Solution"], draft.language),
        tests=code_of(given["Tests"], draft.language),
    )


def task_conversation(draft: Draft, template: str, **facts: Any) -> Conversation:
    """Task and solution as one question and answer; tests go into the details."""
    return Conversation(
        id=draft.id,
        messages=(("user", draft.parts["task"]), ("assistant", fenced(draft))),
        language=draft.language,
        repo=draft.repo,
        provenance=template,
        details=draft.details("code", "tests", "entry_point", "score", **facts),
    )


def fenced(draft: Draft) -> str:
    """The solution as an answer: as the teacher wrote it, or its code in a fence."""
    solution = draft.parts["solution"]
    if "```" in solution or "~~~" in solution:
        return solution
    return f"```{draft.language}\n{draft.parts['code']}\n```"
