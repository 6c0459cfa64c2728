"""Real users' dialogues, and filtered sets of others (paper §4.1: RealUser, Infinity-Instruct).

From finished sets of conversations (`beam_pipelines.import_instructions` makes them of WildChat-,
ShareGPT- and Infinity-like files) the teacher keeps what is about code, in the human languages
that are wanted, without personal data and secrets. An answer that it rates low is written anew, as
the paper does for RealUser and the card of the released set advises for Infinity-Instruct, whose
answers are terse.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.signals.human_language import identify
from beam_pipelines.synthesis.answers import AnswerError, rating, without_thoughts, yes_or_no
from beam_pipelines.synthesis.drafts import Draft, Step, Write, parted
from beam_pipelines.synthesis.taught.educational import HIGHEST_SCORE
from beam_pipelines.synthesis.taught.taught_set import Made, Making, TaughtSet, always
from beam_pipelines.teacher.prompt import Sampling
from beam_pipelines.teacher.settings import Teacher
from beam_pipelines.transforms.personal_data import replace_personal_data
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.document import document_id

_DROPPED = "dropped"
# A judge reads the beginning of each turn; a log of pages behind it changes no verdict.
_SHOWN_CHARACTERS = 2_000


@dataclasses.dataclass(frozen=True)
class Dialogues(TaughtSet):
    """The set.

    Attributes:
      set_name: its folder, e.g. `real_user`.
      human_languages: ISO 639 codes that are wanted, of the user's first turn; empty: all.
      max_characters: of a dialogue.
      rewrite: which answers are written anew: `never`, `low` (rated below `min_rating`), `always`.
      min_rating: of an answer, 0 to 10, from which on it stays.
      answerer: who writes anew.
      judging: how verdicts and ratings are sampled; `sampling` is that of new answers.
    """

    set_name: str
    human_languages: Sequence[str]
    max_characters: int
    rewrite: Literal["never", "low", "always"]
    min_rating: float
    answerer: Teacher
    judging: Sampling

    templates: ClassVar[tuple[str, ...]] = (
        "dialogues/about_code",
        "dialogues/rate",
        "dialogues/answer",
    )

    def __post_init__(self) -> None:
        require_at_least(1, max_characters=self.max_characters)
        if self.rewrite not in ("never", "low", "always"):
            raise InputError(f"rewrite is {self.rewrite!r}, expected never, low or always")

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.set_name

    def teachers(self) -> tuple[Teacher, ...]:
        return (self.teacher, self.answerer)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        candidates = elements | "Drafts" >> beam.Map(_draft, self.set_name)
        wanted = candidates | "Choose" >> beam.ParDo(
            _Choose(tuple(self.human_languages), self.max_characters)
        ).with_outputs(_DROPPED, main="kept")
        about_code = wanted.kept | "AboutCode" >> Write(
            Step("about code", always("dialogues/about_code"), _shown, _about_code, self.judging),
            self.teacher,
        )
        dropped: dict[str, Any] = {
            "chosen": wanted[_DROPPED],
            "about code": about_code.dropped,
        }
        drafts = about_code.kept
        if self.rewrite == "never":
            return Made(candidates, drafts, dropped)
        if self.rewrite == "low":
            rated = drafts | "Rate" >> Write(
                Step("rated", always("dialogues/rate"), _last_turns, _rated, self.judging),
                self.teacher,
            )
            dropped["rated"] = rated.dropped
            good, low = parted(rated.kept, "IsGood", _IsGood(self.min_rating))
        else:
            low, good = drafts, None
        written = low | "Rewrite" >> Write(
            Step("written anew", always("dialogues/answer"), _whole, _answer, self.sampling),
            self.answerer,
        )
        dropped["written anew"] = written.dropped
        finished = written.kept
        if good is not None:
            finished = (finished, good) | "Finished" >> beam.Flatten()
        return Made(candidates, finished, dropped)

    def record(self, draft: Draft) -> Conversation:
        return Conversation(
            id=draft.id,
            messages=draft.messages,
            language=draft.language,
            repo=draft.repo,
            provenance=draft.calls[-1]["template"],
            details=draft.details("human_language", "rating", "replaced", "source_id"),
        )


def _draft(conversation: Conversation, set_name: str) -> Draft:
    messages = conversation.messages
    # What comes after the last answer has none.
    last = max(i for i, (role, _) in enumerate(messages) if role == "assistant")
    return Draft(
        id=document_id(set_name, conversation.repo, conversation.id),
        repo=conversation.repo,
        path=conversation.id,
        language=conversation.language,
        parts={"source_id": conversation.id},
        messages=tuple(messages[: last + 1]),
    )


class _Choose(beam.DoFn):
    def __init__(self, human_languages: tuple[str, ...], max_characters: int) -> None:
        super().__init__()
        self._human_languages = human_languages
        self._max_characters = max_characters

    def process(self, draft: Draft) -> Iterator[Any]:
        asked = next((text for role, text in draft.messages if role == "user"), "")
        length = sum(len(text) for _, text in draft.messages)
        if not asked.strip():
            yield TaggedOutput(_DROPPED, draft.drop("no_question"))
        elif length > self._max_characters:
            yield TaggedOutput(_DROPPED, draft.drop("too_long", f"{length} characters"))
        else:
            language = identify(asked)
            if self._human_languages and language not in self._human_languages:
                yield TaggedOutput(_DROPPED, draft.drop("human_language", language, asked))
            else:
                yield _without_personal_data(draft.with_parts(human_language=language))


def _without_personal_data(draft: Draft) -> Draft:
    """As `Repair` does for files, before anything of a user goes to a teacher."""
    replaced = [(role, replace_personal_data(text)) for role, text in draft.messages]
    if not any(found.counts for _, found in replaced):
        return draft
    counts: collections.Counter[str] = collections.Counter()
    for _, found in replaced:
        counts.update(found.counts)
    messages = tuple((role, found.text) for role, found in replaced)
    return dataclasses.replace(
        draft.with_parts(replaced=", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))),
        messages=messages,
    )


def _shown(draft: Draft) -> dict[str, str]:
    return {"dialogue": _transcript(draft.messages, _SHOWN_CHARACTERS)}


def _whole(draft: Draft) -> dict[str, str]:
    """The dialogue up to its last answer."""
    return {"dialogue": _transcript(draft.messages[:-1])}


def _last_turns(draft: Draft) -> dict[str, str]:
    """The dialogue up to its last answer, and that answer."""
    return {
        "dialogue": _transcript(draft.messages[:-1], _SHOWN_CHARACTERS),
        "answer": draft.messages[-1][1],
    }


def _transcript(messages: Sequence[tuple[str, str]], longest: int | None = None) -> str:
    return "\n\n".join(f"[{role}]\n{text[:longest]}" for role, text in messages)


def _about_code(draft: Draft, answer: str) -> Draft:
    if not yes_or_no(answer):
        raise AnswerError("not_about_code")
    return draft


def _rated(draft: Draft, answer: str) -> Draft:
    return draft.with_parts(rating=f"{rating(answer, HIGHEST_SCORE):g}")


class _IsGood:
    def __init__(self, lowest: float) -> None:
        self._lowest = lowest

    def __call__(self, draft: Draft) -> bool:
        return float(draft.parts["rating"]) >= self._lowest


def _answer(draft: Draft, answer: str) -> Draft:
    text = without_thoughts(answer).strip()
    messages = (*draft.messages[:-1], ("assistant", text))
    return dataclasses.replace(draft, messages=messages)
