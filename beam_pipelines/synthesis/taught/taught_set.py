"""What a set written by a teacher has to offer, so that one command makes them all.

A set reads what it starts from (`inputs`), makes drafts of it, and turns those that are
finished into records. What every set has in common stands here: decontamination, equal
records, near-equal instructions, and the folder that it ends in.
Next: `beam_pipelines/synthesize.py` runs one, `drafts` for the steps between.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import apache_beam as beam

from beam_pipelines.accounting import Split
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.synthesis.balance import BalanceSettings
from beam_pipelines.synthesis.drafts import Draft
from beam_pipelines.synthesis.inputs import Input
from beam_pipelines.synthesis.sets import Deduplicate, Outcome
from beam_pipelines.synthesis.thinning import ThinOut
from beam_pipelines.teacher.prompt import Sampling
from beam_pipelines.teacher.settings import Teacher
from beam_pipelines.transforms.decontamination import Decontaminate, KeptOut
from opencoder_jax.formats.conversation import Conversation, encode_conversation
from opencoder_jax.formats.document import Document, encode_document


class Making(NamedTuple):
    """What the command gives a set to work with.

    Attributes:
      benchmarks: what is kept out.
      sandbox_workers: programs at a time in each Beam worker.
      allow_unisolated: see `Sandbox`.
      near_instructions: drops what asks nearly the same; None: equal questions only.
      balance: cuts down groups that outweigh the others; None: none.
    """

    benchmarks: KeptOut
    sandbox_workers: int
    allow_unisolated: bool
    near_instructions: NearSettings | None = None
    balance: BalanceSettings | None = None


class Made(NamedTuple):
    """What a set has made.

    Attributes:
      candidates: what it started from, one element each.
      drafts: PCollection[Draft], finished.
      dropped: stage to its drops, in order.
      passed_over: (reason, number) of what was read and is no candidate; None: everything is one.
    """

    candidates: Any
    drafts: Any
    dropped: dict[str, Any]
    passed_over: Any = ()


@dataclasses.dataclass(frozen=True)
class TaughtSet:
    """A set that a teacher writes.

    Attributes:
      source: what it starts from.
      teacher: who is asked.
      sampling: of the questions; its seed is the base of all seeds.
    """

    source: Input
    teacher: Teacher
    sampling: Sampling

    # Its folder, and the name in ids.
    name: ClassVar[str]
    # `conversations` or `documents`.
    records: ClassVar[str] = "conversations"
    # Ids of the templates that it may use, whose texts are part of what it is.
    templates: ClassVar[tuple[str, ...]]
    # Whether programs are run.
    executes: ClassVar[bool] = False

    def teachers(self) -> tuple[Teacher, ...]:
        """All that are asked."""
        return (self.teacher,)

    def draft(self, elements: beam.PCollection, making: Making) -> Made:
        """PCollection of what `source` reads to finished drafts."""
        raise NotImplementedError

    def record(self, draft: Draft) -> Conversation | Document:
        """The record of a finished draft."""
        raise NotImplementedError

    def make(self, elements: beam.PCollection, making: Making) -> Outcome:
        """What becomes of all that was read."""
        made = self.draft(elements, making)
        finished = made.drafts | "Finish" >> _Finish(making)
        records = finished.kept | "Record" >> beam.Map(self.record)
        dropped = {**made.dropped, **finished.dropped}
        return Outcome(made.candidates, records, dropped, made.passed_over)

    def encode(self, record: Any) -> bytes:
        return (
            encode_conversation(record)
            if self.records == "conversations"
            else encode_document(record)
        )


class _Finished(NamedTuple):
    kept: Any
    dropped: dict[str, Any]


class _Finish(beam.PTransform):
    def __init__(self, making: Making) -> None:
        super().__init__()
        self._making = making

    def expand(self, drafts: beam.PCollection) -> Any:
        making = self._making
        clean = drafts | "Decontaminate" >> Decontaminate(making.benchmarks, draft_text, Draft.drop)
        unique: Split = clean.kept | "Deduplicate" >> Deduplicate(_question_hash, Draft.drop)
        thinned = unique.kept | "ThinOut" >> ThinOut(
            making.near_instructions,
            making.balance,
            question=asked,
            fact=draft_fact,
            drop=Draft.drop,
        )
        dropped = {"decontaminated": clean.dropped, "unique": unique.dropped, **thinned.dropped}
        return _Finished(thinned.kept, dropped)


def draft_text(draft: Draft) -> str:
    """All that a model may learn of a draft: its written parts and its turns."""
    parts = [text for name, text in draft.parts.items() if name != "seed"]
    return "\n".join([*(content for _, content in draft.messages), *parts])


def asked(draft: Draft) -> str:
    """What a draft asks: its task, else its user's turns, else, of a document, its text."""
    turns = "\n".join(content for role, content in draft.messages if role == "user")
    return draft.parts.get("task") or turns or draft.parts.get("text", "")


def draft_fact(draft: Draft, name: str) -> str:
    """What a draft says of itself under `name`, for `Balance`."""
    if name == "language":
        return draft.language
    return draft.calls[-1]["template"] if name == "provenance" else draft.parts.get(name, "")


def _question_hash(draft: Draft) -> str:
    """What two records may not have in common: what they ask, but for case and white space."""
    words = " ".join(asked(draft).lower().split())
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()


def always(template: str) -> Callable[[Draft], str]:
    """One template, whatever the draft."""
    return _Always(template)


class _Always:
    def __init__(self, template: str) -> None:
        self._template = template

    def __call__(self, draft: Draft) -> str:
        return self._template
