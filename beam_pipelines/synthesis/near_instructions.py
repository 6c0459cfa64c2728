"""Instructions that ask nearly the same: one of them stays (an option, off by default).

The paper drops equal records only. Here the questions of a set go through the near
deduplication of files (`beam_pipelines/dedup/near.py`): MinHash finds candidates, and a record
goes only where the exact Jaccard similarity of its question's shingles to that of one which
stays reaches the threshold. Of similar records the one with the smallest id stays.
Next: `balance` caps what is asked too often in another sense.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Drop, Split
from beam_pipelines.dedup.near import NearDedup
from beam_pipelines.dedup.settings import NearSettings
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.document import Document

REASON = "near_duplicate_instruction"
_DROPPED = "dropped"
# Han, kana, hangul: no spaces between words there, so each character is a word.
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")
# Full-width punctuation, which shingles would take for letters.
_PUNCTUATION = re.compile("[\u2000-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40]")


class NearInstructions(beam.PTransform):
    """PCollection of elements with an `id` to a `Split`; the reason is `REASON`.

    A drop's `value` is the exact similarity, its `detail` names the record that stays.

    Raises (in the job):
      InputError: two elements have the same id.
    """

    def __init__(
        self,
        settings: NearSettings,
        question: Callable[[Any], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        """Args:
        settings: of MinHash and of the similarity; `min_jaccard` is the threshold.
        question: what an element asks, e.g. `first_question`.
        drop: makes the `Drop` of (element, reason, detail).
        """
        super().__init__()
        self._settings = settings
        self._question = question
        self._drop = drop

    def expand(self, elements: beam.PCollection) -> Split:
        near = (
            elements
            | "Questions" >> beam.Map(_as_document, self._question).with_output_types(Document)
            | "Near" >> NearDedup(**dataclasses.asdict(self._settings))
        )
        joined = (
            {
                "elements": elements | "KeyById" >> beam.Map(lambda element: (element.id, element)),
                "verdicts": near.dropped | "Verdicts" >> beam.Map(_verdict),
            }
            | "Meet" >> beam.CoGroupByKey()
            | "Decide" >> beam.ParDo(_Decide(self._drop)).with_outputs(_DROPPED, main="kept")
        )
        return Split(joined.kept, joined[_DROPPED])


def first_question(conversation: Conversation) -> str:
    """The first turn of the user, which is the instruction."""
    return next((text for role, text in conversation.messages if role == "user"), "")


def spaced(text: str) -> str:
    """The text with its words apart, also where its script does not set them apart."""
    return _UNSPACED.sub(r" \1 ", _PUNCTUATION.sub(" ", text))


class _Verdict(NamedTuple):
    kept_id: str
    jaccard: float
    threshold: str


def _as_document(element: Any, question: Callable[[Any], str]) -> Document:
    return Document(id=element.id, text=spaced(question(element)), repo="", path="")


def _verdict(drop: Drop) -> tuple[str, _Verdict]:
    return drop.id, _Verdict(drop.detail, drop.value or 0.0, drop.threshold)


class _Decide(beam.DoFn):
    def __init__(self, drop: Callable[[Any, str, str], Drop]) -> None:
        super().__init__()
        self._drop = drop

    def process(self, met: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
        verdict = next(iter(met[1]["verdicts"]), None)
        for element in met[1]["elements"]:
            if verdict is None:
                yield element
                continue
            drop = self._drop(element, REASON, f"of {verdict.kept_id}")
            facts = {"value": verdict.jaccard, "threshold": verdict.threshold}
            yield TaggedOutput(_DROPPED, dataclasses.replace(drop, **facts))
