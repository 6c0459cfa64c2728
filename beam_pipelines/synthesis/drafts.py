"""An example in the making, and the step in which a teacher writes parts of it.

A draft starts as a seed. Each step fills a prompt template with what the draft has, asks, and
takes the answer apart; what becomes of neither is a drop that keeps the whole answer, so that
the yield of every step can be told and looked at.
Next: `answers` takes answers apart, `beam_pipelines/teacher` asks.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Drop, Split
from beam_pipelines.synthesis.answers import AnswerError
from beam_pipelines.teacher.ask import REJECTED_CHARACTERS, Ask
from beam_pipelines.teacher.prompt import Answered, Prompt, Sampling
from beam_pipelines.teacher.refusal import looks_like_refusal
from beam_pipelines.teacher.settings import Teacher
from beam_pipelines.teacher.templates import Template, load_template, seed_of

_DROPPED = "dropped"
# Characters of a sentence that nobody writes by chance.
_ECHO = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """What there is of an example.

    Attributes:
      id: of the record to be, `document_id(set, repo, path)`.
      repo, path: of the seed; the repository decides about the held-out split.
      language: lower-case Linguist name of the code that is to be written.
      parts: name to text: `seed`, `task`, `solution`, `tests` and whatever a set needs.
      calls: `Answer.facts` of each call that wrote a part.
      messages: turns of a dialogue that it is made from; empty for others.
      executed: whether its code has run and passed its tests.
    """

    id: str
    repo: str
    path: str
    language: str
    parts: Mapping[str, str]
    calls: tuple[Mapping[str, Any], ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    executed: bool = False

    def with_parts(self, **parts: str) -> "Draft":
        return dataclasses.replace(self, parts={**self.parts, **parts})

    def drop(self, reason: str, detail: str = "", sample: str = "") -> Drop:
        """The drop of it; `sample` is the rejected text, else what there is of the draft."""
        shown = sample or "\n\n".join(f"{name}:\n{text}" for name, text in self.parts.items())
        return Drop(
            id=self.id,
            repo=self.repo,
            path=self.path,
            language=self.language,
            reason=reason,
            detail=detail[:REJECTED_CHARACTERS],
            sample=shown[:REJECTED_CHARACTERS],
        )

    def details(self, *parts: str, **facts: Any) -> str:
        """How it was made, as a record keeps it: calls, the named parts, and `facts`."""
        kept = {name: self.parts[name] for name in parts if name in self.parts}
        made = {"calls": list(self.calls), "executed": self.executed, **kept, **facts}
        return json.dumps(made, ensure_ascii=False, sort_keys=True)


@dataclasses.dataclass(frozen=True)
class Step:
    """What a teacher is asked for.

    Attributes:
      name: of the stage, in the funnel.
      template: id of the prompt of a draft (`beam_pipelines/synthesis/prompts`).
      values: what fills it.
      parse: (draft, answer) to the draft with what the answer gives; raises `AnswerError`.
      sampling: its `seed` is the base of the seeds of all drafts.
    """

    name: str
    template: Callable[[Draft], str]
    values: Callable[[Draft], Mapping[str, str]]
    parse: Callable[[Draft, str], Draft]
    sampling: Sampling


class Write(beam.PTransform):
    """PCollection[Draft] to a `Split` of drafts with their new parts, and drops.

    Reasons: those of `Ask`, `teacher_refusal`, `echoes_prompt`, and those of the step's `parse`.
    """

    def __init__(self, step: Step, teacher: Teacher) -> None:
        super().__init__()
        self._step = step
        self._teacher = teacher

    def expand(self, drafts: beam.PCollection) -> Split:
        asked = drafts | "Ask" >> Ask(self._teacher, _Word(self._step), Draft.drop, self._step.name)
        parsed = asked.kept | "Parse" >> beam.ParDo(_Parse(self._step)).with_outputs(
            _DROPPED, main="kept"
        )
        dropped = (asked.dropped, parsed[_DROPPED]) | "Dropped" >> beam.Flatten()
        return Split(parsed.kept, dropped)


def parted(drafts: Any, name: str, test: Callable[[Draft], bool]) -> tuple[Any, Any]:
    """The drafts that `test` says yes to, and the others."""
    yes = drafts | name >> beam.Filter(test)
    no = drafts | f"Not {name}" >> beam.Filter(lambda draft: not test(draft))
    return yes, no


class _Word:
    """Words the prompt of a draft."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __call__(self, draft: Draft) -> Prompt:
        step = self._step
        template = load_template(step.template(draft))
        seed = seed_of(step.sampling.seed, draft.id, template.id)
        return Prompt(
            template.id,
            template.fill(**step.values(draft)),
            dataclasses.replace(step.sampling, seed=seed),
        )


def echoed(template: Template, text: str) -> str:
    """A sentence or line of the template, its example among them, that an answer repeats."""
    own = re.split(r"\{\w+\}|\n|(?<=[.:!?]) ", template.text)
    return next((s.strip() for s in own if len(s.strip()) >= _ECHO and s.strip() in text), "")


class _Parse(beam.DoFn):
    def __init__(self, step: Step) -> None:
        self._step = step

    def process(self, answered: Answered) -> Iterator[Any]:
        draft, text = answered.element, answered.answer.text
        try:
            if looks_like_refusal(text):
                raise AnswerError("teacher_refusal", " ".join(text.split())[:200])
            if echo := echoed(load_template(answered.prompt.template), text):
                raise AnswerError("echoes_prompt", echo)
            written = self._step.parse(draft, text)
        except AnswerError as error:
            yield TaggedOutput(_DROPPED, draft.drop(error.reason, error.detail, text))
            return
        facts = answered.answer.facts(answered.prompt)
        yield dataclasses.replace(written, calls=(*draft.calls, facts))
