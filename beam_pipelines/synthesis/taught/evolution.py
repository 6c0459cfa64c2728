"""Evolved instructions: tasks made harder in rounds (Evol-Instruct; paper §4.1, Table 5).

The paper takes an open set of 111 K. This makes one: the five ways of evolving code tasks of
WizardCoder (arXiv 2306.08568, §3.1), one chosen by hash in each round. An evolution that fails
is dropped, and its task goes no further: copies, answers that speak of the prompt, and tasks
that did not grow. Every evolved task is answered; rounds build on each other.
"""

import collections
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.synthesis.answers import AnswerError, without_thoughts
from beam_pipelines.synthesis.drafts import Draft, Step, Write
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from beam_pipelines.teacher.prompt import Sampling
from beam_pipelines.teacher.settings import Teacher
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.document import document_id
from opencoder_jax.formats.split import hash_fraction

WAYS = ("constraints", "replace", "deepen", "misdirect", "complexity")
_PASSED_OVER = "passed over"
_SPEAKS_OF_PROMPT = re.compile(
    r"given (?:prompt|task|instruction)|rewritten (?:prompt|task|instruction)"
    r"|#\s*(?:new|given|rewritten)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class Evolution(TaughtSet):
    """The set.

    Attributes:
      rounds: of evolution; each gives records.
      max_overlap: of the words of old and evolved task (`overlap`); above it is a copy.
      max_characters: of a task that is evolved.
      answerer: who answers.
      answering: how answers are sampled; `sampling` is that of evolutions.
    """

    rounds: int
    max_overlap: float
    max_characters: int
    answerer: Teacher
    answering: Sampling

    name: ClassVar[str] = "evolution"
    templates: ClassVar[tuple[str, ...]] = (
        *(f"evolution/{way}" for way in WAYS),
        "evolution/answer",
    )

    def __post_init__(self) -> None:
        require_at_least(1, rounds=self.rounds, max_characters=self.max_characters)

    def teachers(self) -> tuple[Teacher, ...]:
        return (self.teacher, self.answerer)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        found = elements | "Seeds" >> beam.ParDo(_Seeds(self.max_characters)).with_outputs(
            _PASSED_OVER, main="seeds"
        )
        passed_over = found[_PASSED_OVER] | "Reasons" >> beam.combiners.Count.PerElement()
        drafts, evolved, candidates = found.seeds, [], []
        dropped: dict[str, Any] = {}
        for number in range(1, self.rounds + 1):
            asked = drafts | f"Round {number}" >> beam.Map(_next_round, number)
            step = Step(
                f"evolved {number}", _template, _task, _Evolved(self.max_overlap), self.sampling
            )
            written = asked | f"Evolve {number}" >> Write(step, self.teacher)
            candidates.append(asked)
            evolved.append(written.kept)
            dropped[step.name] = written.dropped
            drafts = written.kept
        tasks = evolved | "AllRounds" >> beam.Flatten()
        answered = tasks | "Answer" >> Write(
            Step("answered", always("evolution/answer"), _task, _answered, self.answering),
            self.answerer,
        )
        dropped["answered"] = answered.dropped
        asked = candidates | "Candidates" >> beam.Flatten()
        return Made(asked, answered.kept, dropped, passed_over)

    def record(self, draft: Draft) -> Conversation:
        return Conversation(
            id=draft.id,
            messages=(("user", draft.parts["task"]), ("assistant", draft.parts["solution"])),
            language=draft.language,
            repo=draft.repo,
            provenance=f"evolution/{draft.parts['way']}",
            details=draft.details("round", "way", "seed"),
        )


class _Seeds(beam.DoFn):
    """Conversation to the draft of its first question."""

    def __init__(self, max_characters: int) -> None:
        super().__init__()
        self._max_characters = max_characters

    def process(self, conversation: Conversation) -> Iterator[Any]:
        task = next((text for role, text in conversation.messages if role == "user"), "").strip()
        if not task:
            yield TaggedOutput(_PASSED_OVER, "no_question")
            return
        if len(task) > self._max_characters:
            yield TaggedOutput(_PASSED_OVER, "too_long")
            return
        yield Draft(
            id=conversation.id,
            repo=conversation.repo,
            path=conversation.id,
            language=conversation.language,
            parts={"seed": task, "task": task},
        )


def _next_round(draft: Draft, number: int) -> Draft:
    own = document_id("evolution", draft.path, str(number))
    way = WAYS[int(hash_fraction("way", own) * len(WAYS))]
    return dataclasses.replace(draft.with_parts(way=way, round=str(number)), id=own)


def _template(draft: Draft) -> str:
    return f"evolution/{draft.parts['way']}"


def _task(draft: Draft) -> dict[str, str]:
    return {"task": draft.parts["task"]}


class _Evolved:
    def __init__(self, max_overlap: float) -> None:
        self._max_overlap = max_overlap

    def __call__(self, draft: Draft, answer: str) -> Draft:
        task = without_thoughts(answer).strip()
        if not task:
            raise AnswerError("answer_incomplete", "no task")
        if found := _SPEAKS_OF_PROMPT.search(task):
            raise AnswerError("speaks_of_prompt", found[0])
        share = overlap(draft.parts["task"], task)
        if share > self._max_overlap:
            raise AnswerError("not_evolved", f"{share:.0%} of the words are the old task's")
        return draft.with_parts(task=task)


def overlap(old: str, new: str) -> float:
    """Share of the words of both that the two have in common (Dice), 0 to 1."""
    a = collections.Counter(_WORD.findall(old.lower()))
    b = collections.Counter(_WORD.findall(new.lower()))
    return 2 * (a & b).total() / max(1, a.total() + b.total())


def _answered(draft: Draft, answer: str) -> Draft:
    return draft.with_parts(solution=without_thoughts(answer).strip())
