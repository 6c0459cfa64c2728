"""Reads the files of a source into documents; whatever is no text becomes a drop.

Only text in a known language goes on (paper §2.1.1: files above 8 MB and files without
a known extension are dropped first). Everything that can be decided from the list is
decided before a file is opened, and nothing that is no regular file is ever waited for.
`docs/bad_input.md` lists the reasons.
"""

import errno
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, Split
from beam_pipelines.languages.file_types import FileType, identify
from beam_pipelines.sources.entry import FileEntry, open_regular
from beam_pipelines.transforms.notebook import BadNotebookError, structured_notebook
from opencoder_jax.formats.document import Document

_DROPPED = "dropped"
_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe": "UTF-16 or UTF-32", b"\xfe\xff": "UTF-16", b"\0\0\xfe\xff": "UTF-32"}
# All but tab, newline, vertical tab, form feed, carriage return and escape.
_CONTROL = bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})
_LARGEST_CONTROL_SHARE = 0.05
_LONGEST_SHEBANG = 200


class ReadFiles(beam.PTransform):
    """PCollection[FileEntry] to a `Split` of documents and drops.

    Reasons: `link`, `dangling_link`, `not_a_file`, `unreadable`, `unknown_language`,
    `excluded_language`, `too_large`, `empty`, `binary`, `not_utf8`, `bad_notebook`,
    `duplicate_id`.
    """

    def __init__(self, max_file_bytes: int) -> None:
        super().__init__()
        self._max_file_bytes = max_file_bytes

    def expand(self, entries: beam.PCollection) -> Split:
        unique = (
            entries
            | "KeyById"
            >> beam.Map(lambda entry: (entry.id, entry)).with_output_types(tuple[str, FileEntry])
            | "GroupById" >> beam.GroupByKey()
            | "OnePerId" >> beam.ParDo(_OnePerId()).with_outputs(_DROPPED, main="kept")
        )
        read = unique.kept | "Read" >> beam.ParDo(_Read(self._max_file_bytes)).with_outputs(
            _DROPPED, main="kept"
        )
        dropped = (unique[_DROPPED], read[_DROPPED]) | beam.Flatten()
        return Split(read.kept, dropped)


class NotTextError(Exception):
    """A file that gives no document."""

    def __init__(self, reason: str, detail: str = "", sample: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.sample = sample


def read_document(entry: FileEntry, max_file_bytes: int) -> Document:
    """The document of one file.

    Raises:
      NotTextError: the file gives none.
    """
    check_listed(entry, max_file_bytes)
    content = _content(entry, max_file_bytes)
    # A notebook's JSON is no text to learn from; its cells are.
    text = notebook_text(content) if is_notebook(entry.path) else decode_text(content)
    file_type = identify(entry.path, text[:_LONGEST_SHEBANG].partition("\n")[0])
    _check_type(file_type)
    return Document(
        id=entry.id,
        text=text,
        repo=entry.repo,
        path=entry.path,
        language=file_type.language,
        doc_type=file_type.doc_type,
        licence=entry.licence,
        stars=entry.stars,
        commit_time=entry.commit_time,
        provenance=entry.provenance,
        content_sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(),
    )


def check_listed(entry: FileEntry, max_file_bytes: int) -> None:
    """Decides what can be decided without opening the file.

    Raises:
      NotTextError: it is no readable file, not wanted by its name, or too large.
    """
    if entry.obstacle:
        raise NotTextError(entry.obstacle, entry.detail)
    file_type = identify(entry.path)
    may_have_shebang = "." not in entry.path.rsplit("/", 1)[-1]
    if file_type.doc_type == "excluded" or not may_have_shebang:
        _check_type(file_type)
    if entry.size > max_file_bytes:
        raise NotTextError("too_large", f"{entry.size} bytes, at most {max_file_bytes}")


def content_fingerprint(entries: Iterable[FileEntry], max_file_bytes: int) -> str:
    """16 hex digits of every id, size, licence and content, for the manifest's inputs.

    Reads the files, so that an edit that keeps the size cannot pass for the same input;
    where the files stand, and when they were written, does not count. Of files that are
    dropped unread the name and the size count.
    """
    total = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: (entry.id, entry.location)):
        try:
            check_listed(entry, max_file_bytes)
            content = hashlib.sha256(_content(entry, max_file_bytes)).hexdigest()
        except NotTextError as problem:
            content = problem.reason
        total.update(f"{entry.id} {entry.size} {entry.licence} {content}\n".encode())
    return total.hexdigest()[:16]


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


def _content(entry: FileEntry, max_file_bytes: int) -> bytes:
    """At most the cap and one more, since a file may have grown since it was listed."""
    try:
        with open(open_regular(entry.location), "rb") as file:
            content = file.read(max_file_bytes + 1)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        raise NotTextError("unreadable", f"{name} {error.strerror or error}".strip()) from error
    if len(content) > max_file_bytes:
        raise NotTextError("too_large", f"more than {max_file_bytes} bytes when read")
    return content


def _check_type(file_type: FileType) -> None:
    if file_type.doc_type == "unknown":
        raise NotTextError("unknown_language")
    if file_type.doc_type == "excluded":
        raise NotTextError("excluded_language", file_type.language)


def _drop_entry(entry: FileEntry, reason: str, detail: str = "", sample: str = "") -> Drop:
    return Drop(
        id=entry.id,
        repo=entry.repo,
        path=entry.path,
        language=identify(entry.path).language,
        reason=reason,
        detail=detail,
        sample=sample,
    )


class _OnePerId(beam.DoFn):
    def process(self, group: tuple[str, Iterable[FileEntry]]) -> Iterator[Any]:
        first, *others = sorted(group[1], key=lambda entry: entry.location)
        yield first
        for number, entry in enumerate(others, start=1):
            drop = _drop_entry(entry, "duplicate_id", f"copy {number} of {first.id}")
            yield TaggedOutput(_DROPPED, drop)


class _Read(beam.DoFn):
    def __init__(self, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes

    def process(self, entry: FileEntry) -> Iterator[Any]:
        try:
            yield read_document(entry, self._max_file_bytes)
        except NotTextError as problem:
            drop = _drop_entry(entry, problem.reason, problem.detail, problem.sample)
            yield TaggedOutput(_DROPPED, drop)
