"""One record that a data job left out, and why: what stands in its `dropped/` folder.

`beam_pipelines/accounting.py` makes sums of them; report pages read them.
"""

import dataclasses

from opencoder_jax.formats.example import RecordError, decode_example, encode_example


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
      sample: the beginning of the text, where a reader wants to see it.
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
