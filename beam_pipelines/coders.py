"""How records travel between Beam's stages: as marshalled tuples of their fields.

Texts cross a few shuffles, and each encodes and decodes them twice (worker to runner,
runner to worker). Pickle spells out the class for every record and protobuf sorts and
copies; `marshal` writes the same tuple of strings and numbers at the speed of a copy.
Its format is Python's own: all workers of a job run one version of it, as Beam demands
anyway; nothing is stored in it. `runner.pipeline` registers the coders.
"""

import marshal
from operator import attrgetter
from typing import Any

from apache_beam import coders

from beam_pipelines.accounting import Drop
from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.local import LocalFile
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.judged import Judged

# Of a record without its long fields: names, numbers, headers.
_SMALL_FIELDS_BYTES = 300


class _RecordCoder(coders.Coder):
    """Of a dataclass of strings, bytes, numbers and truth values."""

    record: type
    # What nearly all of a record's size is in.
    longest: str

    def __init__(self) -> None:
        self._values = attrgetter(*self.record.__slots__)  # type: ignore[attr-defined]
        self._longest = attrgetter(self.longest)

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), ()

    def encode(self, value: Any) -> bytes:
        return marshal.dumps(self._values(value))

    def decode(self, encoded: bytes) -> Any:
        return self.record(*marshal.loads(encoded))

    def estimate_size(self, value: Any) -> int:
        # Beam asks for samples of all elements; encoding them would cost as much as sending.
        return len(self._longest(value)) + _SMALL_FIELDS_BYTES

    def is_deterministic(self) -> bool:
        # Equal strings may be marshalled by reference or by value.
        return False

    def to_type_hint(self) -> type:
        return self.record

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


class DocumentCoder(_RecordCoder):
    record, longest = Document, "text"


class RawFileCoder(_RecordCoder):
    record, longest = RawFile, "content"


class LocalFileCoder(_RecordCoder):
    record, longest = LocalFile, "location"


class DropCoder(_RecordCoder):
    record, longest = Drop, "sample"


class JudgedCoder(_RecordCoder):
    record, longest = Judged, "signals"


def register() -> None:
    """Makes these the coders of their records, in this process and the pipelines it makes."""
    for coder in (DocumentCoder, LocalFileCoder, RawFileCoder, DropCoder, JudgedCoder):
        coders.registry.register_coder(coder.record, coder)
