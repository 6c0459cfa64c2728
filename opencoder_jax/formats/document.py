"""One source file as a record, the unit of every cleaning stage.

A `Document` is what the paper's pipeline calls a file: its text and the facts that
decide which of two copies stays (stars, commit time). Its id is a hash of where it
came from, not of what it says, so two copies of a file are two documents and every
one of them can be accounted for.
"""

import dataclasses
import hashlib
from typing import Self

from opencoder_jax.formats.example import RecordError, decode_example, encode_example


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A file of a repository.

    Attributes:
      id: 32 hex digits, `document_id(source, repo, path)`; unique in a corpus.
      text: the file's content.
      repo: name of the repository or package, with its version where it has one.
      path: path inside the repository, with forward slashes.
      language: lower-case Linguist name, `unknown` where no rule names one.
      doc_type: `code`, `data`, `text`, `excluded` or `unknown` (the released filter's types).
      licence: SPDX expression or free text as the source declares it; may be empty.
      stars: of the repository; 0 where unknown.
      commit_time: seconds since the epoch of the file's last commit; 0 where unknown.
      provenance: the source that the file was read from, e.g. `installed-package`.
      content_sha256: hex digest of the text as it was read, before any transformation.
      duplicate_cluster: smallest document id of its near-duplicate cluster; own id
        where it has no near duplicate, empty before deduplication.
      signals: JSON object, signal name to value (null where undefined); empty before
        the signals are computed.
    """

    id: str
    text: str
    repo: str
    path: str
    language: str = "unknown"
    doc_type: str = "unknown"
    licence: str = ""
    stars: int = 0
    commit_time: int = 0
    provenance: str = ""
    content_sha256: str = ""
    duplicate_cluster: str = ""
    signals: str = ""

    def __reduce__(self) -> tuple[type, tuple]:
        # Beam pickles documents at every shuffle; the default for slots asks `fields()` each time.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)

    @property
    def text_bytes(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text) if self.text.isascii() else len(self.text.encode("utf-8"))

    def replace(self, **changes: object) -> Self:
        # As `dataclasses.replace`, which looks at the class's fields each time.
        values = {name: getattr(self, name) for name in self.__slots__}
        return type(self)(**(values | changes))


_FIELDS = {field.name: field.type for field in dataclasses.fields(Document)}


def document_id(source: str, repo: str, path: str) -> str:
    """32 hex digits that name one file of one source, whatever its content."""
    key = "\0".join((source, repo, path)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(key).hexdigest()[:32]


def encode_document(document: Document) -> bytes:
    return encode_example({name: getattr(document, name) for name in _FIELDS})


def decode_document(record: bytes) -> Document:
    """The document in a serialized `tf.train.Example`.

    Raises:
      RecordError: a feature is missing or no UTF-8; the message names it.
    """
    features = decode_example(record)
    values: dict[str, str | int] = {}
    for name, kind in _FIELDS.items():
        if name not in features or len(features[name]) != 1:
            raise RecordError(f"document record without one {name!r} (has {sorted(features)})")
        value = features[name][0]
        try:
            values[name] = value if kind is int else value.decode("utf-8")
        except (UnicodeDecodeError, AttributeError) as error:
            raise RecordError(f"document record: feature {name!r} is no UTF-8 text") from error
    # The loop gave each field the type that `_FIELDS` says.
    return Document(**values)  # type: ignore[arg-type]
