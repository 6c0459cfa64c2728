"""One judged document as a record: every signal and what the rules made of it, without the text.

The cleaning job writes one for each document that reaches the rules, kept or dropped, so
thresholds can be studied and changed without computing a signal again
(`beam_pipelines/what_if.py`, paper App. A.1). The records stand in `signals/signals-*`
of a corpus folder; their ids are those of `documents-*` and `dropped/`.
"""

import dataclasses
import json
from typing import Any

from opencoder_jax.formats.example import RecordError, decode_example, encode_example


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """The signals of a document and its verdict.

    Attributes:
      id: of the document.
      repo: repository that it came from.
      path: path inside the repository.
      language: lower-case Linguist name.
      doc_type: `code`, `data` or `text`.
      human_language: ISO 639 code, which chooses the table of a text.
      size_bytes: UTF-8 bytes of the text that was judged, after repair.
      table: name of the rule table; empty where a signal failed.
      kept: whether the rules let it stay.
      signals: JSON object, signal name to value (null where undefined).
      violations: JSON list of {"signal", "value", "threshold"}, in the order of the table;
        empty where the document was kept or a signal failed.
      error: the signal that failed and its message; else empty.
    """

    id: str
    repo: str
    path: str
    language: str
    doc_type: str
    human_language: str
    size_bytes: int
    table: str
    kept: bool
    signals: str
    violations: str
    error: str = ""

    def __reduce__(self) -> tuple[type, tuple]:
        # As documents: the default for slots asks `fields()` at every shuffle.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)

    def values(self) -> dict[str, float | None]:
        """Signal name to value."""
        return json.loads(self.signals)

    def violated(self) -> list[dict[str, Any]]:
        """The violations, parsed."""
        return json.loads(self.violations)


_FIELDS = {field.name: field.type for field in dataclasses.fields(Judged)}


def encode_judged(judged: Judged) -> bytes:
    """A serialized `tf.train.Example`; `kept` is 0 or 1."""
    features = {name: getattr(judged, name) for name in _FIELDS}
    features["kept"] = int(judged.kept)
    return encode_example(features)


def decode_judged(record: bytes) -> Judged:
    """The judged document in a serialized `tf.train.Example`.

    Raises:
      RecordError: a feature is missing or unreadable.
    """
    features = decode_example(record)
    values: dict[str, Any] = {}
    for name, kind in _FIELDS.items():
        if len(features.get(name, ())) != 1:
            raise RecordError(f"no record of a judged document: without one {name!r}")
        value = features[name][0]
        try:
            values[name] = value.decode("utf-8") if kind is str else kind(value)  # type: ignore[operator]
        except (UnicodeDecodeError, AttributeError) as error:
            raise RecordError(f"record of a judged document: {name!r} is no UTF-8 text") from error
    return Judged(**values)
