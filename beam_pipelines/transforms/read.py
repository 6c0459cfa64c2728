"""Makes documents of the raw files of a source; whatever is no text becomes a drop.

Only text in a known language goes on (paper §2.1.1: files above 8 MB and files without
a known extension are dropped first). What a name and a size decide is decided before the
source opens the file (`sources/entry.py`). `docs/bad_input.md` lists the reasons.
"""

import hashlib
from collections.abc import Iterator
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, Split
from beam_pipelines.languages.file_types import identify
from beam_pipelines.sources.entry import RawFile, decided_unread, file_type_of
from beam_pipelines.transforms.notebook import BadNotebookError, structured_notebook
from opencoder_jax.formats.document import Document

_Dropped = TaggedOutput[Literal["dropped"], Drop]
_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe": "UTF-16 or UTF-32", b"\xfe\xff": "UTF-16", b"\0\0\xfe\xff": "UTF-32"}
# All but tab, newline, vertical tab, form feed, carriage return and escape.
_CONTROL = bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})
_LARGEST_CONTROL_SHARE = 0.05
_LONGEST_SHEBANG = 200


class ReadFiles(beam.PTransform):
    """PCollection[RawFile] to a `Split` of documents and drops.

    Reasons: the source's obstacles (`link`, `dangling_link`, `not_a_file`, `unreadable`, ...),
    `unknown_language`, `excluded_language`, `too_large`, `empty`, `binary`, `not_utf8`,
    `bad_notebook`.
    """

    def __init__(self, max_file_bytes: int) -> None:
        super().__init__()
        self._max_file_bytes = max_file_bytes

    @no_annotations
    def expand(self, files: beam.PCollection) -> Split:
        read = files | "Read" >> beam.ParDo(_Read(self._max_file_bytes)).with_outputs(
            "dropped", main="kept"
        )
        return Split(kept=read.kept, dropped=read.dropped)


class NotTextError(Exception):
    """A file that gives no document."""

    def __init__(self, reason: str, detail: str = "", sample: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.sample = sample


def read_document(file: RawFile, max_file_bytes: int) -> Document:
    """The document of one file.

    Raises:
      NotTextError: the file gives none.
    """
    if file.obstacle:
        raise NotTextError(file.obstacle, file.detail)
    if unread := decided_unread(file.telling_name, file.size, max_file_bytes, file.language):
        raise NotTextError(*unread)
    if len(file.content) > max_file_bytes:
        raise NotTextError("too_large", f"more than {max_file_bytes} bytes when read")
    # A notebook's JSON is no text to learn from; its cells are.
    name = file.telling_name
    text = notebook_text(file.content) if is_notebook(name) else decode_text(file.content)
    first_line = "" if file.is_typed else text[:_LONGEST_SHEBANG].partition("\n")[0]
    file_type = file_type_of(name, file.language, first_line)
    if file_type.doc_type == "unknown":
        raise NotTextError("unknown_language")
    if file_type.doc_type == "excluded":
        raise NotTextError("excluded_language", file_type.language)
    return Document(
        id=file.id,
        text=text,
        repo=file.repo,
        path=file.path,
        language=file_type.language,
        doc_type=file_type.doc_type,
        licence=file.licence,
        stars=file.stars,
        commit_time=file.commit_time,
        provenance=file.provenance,
        content_sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(),
    )


def drop_file(file: RawFile, problem: NotTextError) -> Drop:
    """The drop of a file that gives no document."""
    return Drop(
        id=file.id,
        repo=file.repo,
        path=file.path,
        language=file_type_of(file.telling_name, file.language).language,
        reason=problem.reason,
        detail=problem.detail,
        sample=problem.sample,
    )


def decode_text(content: bytes) -> str:
    """The text of a file, its line ends as they are, without a UTF-8 byte-order mark.

    Raises:
      NotTextError: `empty`, `binary` or `not_utf8`.
    """
    for mark, encoding in _OTHER_BOMS.items():
        if content.startswith(mark):
            raise NotTextError("not_utf8", f"byte-order mark of {encoding}")
    if b"\0" in content:
        raise NotTextError("binary", f"NUL at byte {content.index(0)}")
    control = len(content) - len(content.translate(None, _CONTROL))
    if control > _LARGEST_CONTROL_SHARE * len(content):
        raise NotTextError("binary", f"{control} control characters in {len(content)} bytes")
    try:
        text = content.removeprefix(_UTF8_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        sample = content[:SAMPLE_CHARACTERS].decode("utf-8", "replace")
        raise NotTextError("not_utf8", f"byte {error.start}: {error.reason}", sample) from error
    if not text or text.isspace():
        raise NotTextError("empty", f"{len(content)} bytes")
    return text


def is_notebook(path: str) -> bool:
    return identify(path).language == "jupyter notebook"


def notebook_text(content: bytes) -> str:
    """`structured_notebook`, as a document's text.

    Raises:
      NotTextError: `bad_notebook`, or `empty` for a file without content.
    """
    if not content.strip():
        raise NotTextError("empty", f"{len(content)} bytes")
    try:
        return structured_notebook(content)
    except BadNotebookError as error:
        sample = content[:SAMPLE_CHARACTERS].decode("utf-8", "replace")
        raise NotTextError("bad_notebook", str(error), sample) from error


class _Read(beam.DoFn):
    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes

    def process(self, file: RawFile) -> Iterator[Document | _Dropped]:
        try:
            yield read_document(file, self._max_file_bytes)
        except NotTextError as problem:
            yield _Dropped("dropped", drop_file(file, problem))
