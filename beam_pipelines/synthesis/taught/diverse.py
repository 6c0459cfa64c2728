"""Large-scale diverse instructions: seeds from the web, specified tasks (paper §4.1, Fig. 5a).

1. the teacher cleans a web text and picks the sentences that are worth a question;
2. the specification decides language, difficulty and type of the task, and words the prompt;
3. the question is drawn at temperature 1;
4. a stronger model answers it;
5. where the type asks for code that can be run, the answerer writes unit tests, and the code
   has to pass them;
6. the answer is refined: comments and an explanation; executed code is executed once more.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam

from beam_pipelines.accounting import Split
from beam_pipelines.synthesis.answers import AnswerError, code_of, sections, without_thoughts
from beam_pipelines.synthesis.drafts import Draft, Step, Write, parted
from beam_pipelines.synthesis.executable import EXECUTABLE, shown_name
from beam_pipelines.synthesis.proving import ProveByTests
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from beam_pipelines.teacher.prompt import Sampling
from beam_pipelines.teacher.settings import Teacher
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.split import hash_fraction

# Type of a task: what a question of it asks for, and whether its answer is code to be run.
TASK_TYPES: Mapping[str, Mapping[str, Any]] = json.loads(
    Path(__file__).with_name("task_types.json").read_text()
)
_NOTHING = "NOTHING"


@dataclasses.dataclass(frozen=True)
class Specification:
    """The task specification module: what a task may be, with weights.

    Attributes:
      languages: lower-case Linguist name to weight.
      difficulties: as the prompt says it, to weight.
      types: key of `TASK_TYPES` to weight.
    """

    languages: Mapping[str, float]
    difficulties: Mapping[str, float]
    types: Mapping[str, float]

    def __post_init__(self) -> None:
        for name in ("languages", "difficulties", "types"):
            weights = getattr(self, name)
            if not weights or min(weights.values()) < 0 or not sum(weights.values()) > 0:
                raise InputError(f"{name} is {dict(weights)}, expected names with weights")
        if unknown := sorted(set(self.types) - set(TASK_TYPES)):
            raise InputError(f"types {unknown}: expected some of {', '.join(TASK_TYPES)}")

    def choose(self, key: str) -> tuple[str, str, str]:
        """(language, difficulty, type) by a hash of `key`."""
        return (
            weighted(self.languages, "language", key),
            weighted(self.difficulties, "difficulty", key),
            weighted(self.types, "type", key),
        )


@dataclasses.dataclass(frozen=True)
class Diverse(TaughtSet):
    """The set.

    Attributes:
      seeds: which pieces of the web texts may be seeds.
      specification: what tasks may be.
      answerer: the stronger model that answers and writes tests; the paper's is not named.
      selecting: how the useful sentences are sampled; `sampling` is that of questions.
      answering: how answers, tests and refinements are sampled.
    """

    seeds: SeedSettings
    specification: Specification
    answerer: Teacher
    selecting: Sampling
    answering: Sampling

    name: ClassVar[str] = "diverse"
    templates: ClassVar[tuple[str, ...]] = (
        "diverse/select",
        "diverse/question",
        "diverse/answer",
        "diverse/tests",
        "diverse/refine",
    )
    executes: ClassVar[bool] = True

    def teachers(self) -> tuple[Teacher, ...]:
        return (self.teacher, self.answerer)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        chosen = elements | "Seeds" >> ChooseSeeds(self.name, self.seeds)
        specified = chosen.chosen | "Specify" >> beam.Map(_specify, self.specification)
        dropped: dict[str, Any] = {}

        def write(drafts: Any, stage: str, step: Step, teacher: Teacher) -> Any:
            written: Split = drafts | f"Write {stage}" >> Write(step, teacher)
            dropped[stage] = written.dropped
            return written.kept

        drafts = write(
            specified,
            "selected",
            Step("selected", always("diverse/select"), _seed, _selected, self.selecting),
            self.teacher,
        )
        drafts = write(
            drafts,
            "asked",
            Step("asked", always("diverse/question"), _specified, _question, self.sampling),
            self.teacher,
        )
        drafts = write(
            drafts,
            "answered",
            Step("answered", always("diverse/answer"), _answer_values, _answer, self.answering),
            self.answerer,
        )
        run, said = parted(drafts, "IsRun", _is_run)
        run = write(
            run,
            "tested",
            Step("tested", always("diverse/tests"), _test_values, _tests, self.answering),
            self.answerer,
        )
        proved = run | "Prove" >> ProveByTests(making.sandbox_workers, making.allow_unisolated)
        dropped["proved"] = proved.dropped
        drafts = (proved.kept, said) | "Both" >> beam.Flatten()
        drafts = write(
            drafts,
            "refined",
            Step("refined", always("diverse/refine"), _refine_values, _answer, self.answering),
            self.answerer,
        )
        run, said = parted(drafts, "IsStillRun", _is_run)
        again = run | "ProveRefined" >> ProveByTests(
            making.sandbox_workers, making.allow_unisolated
        )
        dropped["proved again"] = again.dropped
        finished = (again.kept, said) | "Finished" >> beam.Flatten()
        return Made(chosen.chosen, finished, dropped, chosen.passed_over)

    def record(self, draft: Draft) -> Conversation:
        return Conversation(
            id=draft.id,
            messages=(("user", draft.parts["task"]), ("assistant", draft.parts["solution"])),
            language=draft.language,
            repo=draft.repo,
            provenance=self.templates[1],
            details=draft.details("code", "tests", "entry_point", "difficulty", "type"),
        )


def weighted(weights: Mapping[str, float], kind: str, key: str) -> str:
    """One of the names, by weight and a hash of `key`."""
    place = hash_fraction(kind, key) * sum(weights.values())
    for name, weight in weights.items():
        place -= weight
        if place < 0:
            return name
    return next(name for name in reversed(list(weights)) if weights[name])


def _specify(draft: Draft, specification: Specification) -> Draft:
    language, difficulty, kind = specification.choose(draft.id)
    specified = draft.with_parts(difficulty=difficulty, type=kind)
    return dataclasses.replace(specified, language=language)


def _is_run(draft: Draft) -> bool:
    """Whether the answer has code that can be run."""
    return TASK_TYPES[draft.parts["type"]]["executed"] and draft.language in EXECUTABLE


def _seed(draft: Draft) -> dict[str, str]:
    return {"seed": draft.parts["seed"]}


def _selected(draft: Draft, answer: str) -> Draft:
    text = without_thoughts(answer).strip()
    if not text or text.strip(" .*`").upper() == _NOTHING:
        raise AnswerError("seed_not_useful")
    return draft.with_parts(sentences=text)


def _specified(draft: Draft) -> dict[str, str]:
    return {
        "sentences": draft.parts["sentences"],
        "language": shown_name(draft.language),
        "difficulty": draft.parts["difficulty"],
        "type": TASK_TYPES[draft.parts["type"]]["asks"],
    }


def _question(draft: Draft, answer: str) -> Draft:
    return draft.with_parts(task=sections(answer, ("Question",))["Question"])


def _answer_values(draft: Draft) -> dict[str, str]:
    return {"task": draft.parts["task"], "language": shown_name(draft.language)}


def _answer(draft: Draft, answer: str) -> Draft:
    text = without_thoughts(answer).strip()
    code = code_of(text, draft.language) if _is_run(draft) else ""
    return draft.with_parts(solution=text, code=code)


def _test_values(draft: Draft) -> dict[str, str]:
    return {
        "task": draft.parts["task"],
        "code": draft.parts["code"],
        "language": shown_name(draft.language),
        "conventions": EXECUTABLE[draft.language].conventions,
    }


def _tests(draft: Draft, answer: str) -> Draft:
    return draft.with_parts(tests=code_of(without_thoughts(answer), draft.language))


def _refine_values(draft: Draft) -> dict[str, str]:
    return {
        "task": draft.parts["task"],
        "answer": draft.parts["solution"],
        "language": shown_name(draft.language),
    }
