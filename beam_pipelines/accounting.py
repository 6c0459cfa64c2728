"""Every document counted: what was dropped and why, and the sum that has to come out.

A transform that drops returns `(kept, dropped)`, and each dropped document becomes one
`Drop` record in `dropped/`. At its end a job checks input = output + drops
(`conservation`) on the records that were really written. Beam's attempted metrics
would not do: a runner may retry a bundle and count it twice.
Next: `beam_pipelines/sinks.py` writes the records, `beam_pipelines/runner.py` runs the job.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from opencoder_jax.formats.document import Document
from opencoder_jax.formats.example import RecordError, decode_example, encode_example

SAMPLE_CHARACTERS = 400


class AccountingError(RuntimeError):
    """Documents were lost or made up on the way: a defect of the job, never of its input."""


class Split(NamedTuple):
    """What a stage that drops documents returns.

    Attributes:
      kept: PCollection[Document] (or of whatever the stage works on).
      dropped: PCollection[Drop].
    """

    kept: Any
    dropped: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """One document that a job left out.

    Attributes:
      id: id of the document (or conversation, or sequence).
      repo: repository that it came from.
      path: path inside the repository.
      language: lower-case Linguist name.
      reason: what decided, e.g. `exact_duplicate`, `not_utf8`, `rule`; a fixed small set a job.
      signal: the signal that decided, where a rule did; else empty.
      value: the signal's value, or the similarity; None where there is none.
      threshold: the comparison that it failed, e.g. `> 0.7`.
      detail: free text, e.g. the id of the document kept instead, or an error's message.
      sample: first `SAMPLE_CHARACTERS` characters of the text, where a reader wants to see it.
    """

    id: str
    repo: str
    path: str
    language: str
    reason: str
    signal: str = ""
    value: float | None = None
    threshold: str = ""
    detail: str = ""
    sample: str = ""


_FIELDS = tuple(field.name for field in dataclasses.fields(Drop))


def drop_document(document: Document, reason: str, **facts: Any) -> Drop:
    """The `Drop` of a document that was read; `facts` are further fields of `Drop`."""
    return Drop(
        id=document.id,
        repo=document.repo,
        path=document.path,
        language=document.language,
        reason=reason,
        **facts,
    )


def encode_drop(drop: Drop) -> bytes:
    """A serialized `tf.train.Example`.

    `value` is stored as text: the float of an Example has 32 bits, too few to tell a
    value from the threshold that it missed narrowly.
    """
    features = {name: getattr(drop, name) for name in _FIELDS}
    features["value"] = "" if drop.value is None else repr(float(drop.value))
    return encode_example(features)


def decode_drop(record: bytes) -> Drop:
    """The drop in a serialized `tf.train.Example`.

    Raises:
      RecordError: a feature is missing or unreadable.
    """
    features = decode_example(record)
    try:
        texts = {name: features[name][0].decode("utf-8") for name in _FIELDS}
        value = float(texts.pop("value")) if texts["value"] else None
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise RecordError(f"not a drop record (has {sorted(features)}): {error!r}") from error
    if value is None:
        texts.pop("value", None)
    return Drop(**texts, value=value)


def drop_reason(record: bytes) -> str:
    """The reason in a serialized drop.

    Raises:
      RecordError: as `decode_drop`.
    """
    return decode_drop(record).reason


def conservation(
    input_count: int, output_count: int, drops_by_reason: Mapping[str, int]
) -> dict[str, Any]:
    """Checks input = output + drops.

    Returns:
      `{"input": ..., "output": ..., "dropped": {reason: count}}` for the manifest.

    Raises:
      AccountingError: the sum does not come out; the message has all the terms.
    """
    dropped = sum(drops_by_reason.values())
    if input_count != output_count + dropped:
        terms = ", ".join(f"{reason} {count}" for reason, count in sorted(drops_by_reason.items()))
        raise AccountingError(
            f"{input_count} documents came in, {output_count} went out and {dropped} were dropped "
            f"({terms or 'none'}): {input_count - output_count - dropped:+d} unaccounted for"
        )
    return {
        "input": input_count,
        "output": output_count,
        "dropped": dict(sorted(drops_by_reason.items())),
    }


def check_equal(what: str, written: int, counted: int, counter: str) -> None:
    """Compares a count of what was written with another way of counting it.

    Raises:
      AccountingError: they differ.
    """
    if written != counted:
        raise AccountingError(f"{what}: {written} were written, {counter} counts {counted}")
