"""One file as a source hands it over, and what every source offers.

A source lists and reads in Beam's workers, so nothing of a corpus' size is in the job's
graph or on the launcher. What cannot be read (a link, a damaged container, a bad
record) is handed over as well, with its obstacle, so that it is accounted for. Names are
bytes on a file system and UTF-8 in records: a `RawFile` has a readable path for people,
and its id is made from the bytes, so two odd names never become one document.
Next: `beam_pipelines/transforms/read.py` makes documents of raw files.
"""

import dataclasses
import os
from typing import Any, Protocol

import apache_beam as beam

from beam_pipelines.languages.file_types import UNKNOWN, FileType, identify, languages
from opencoder_jax.formats.document import document_id

# Kept by version control and by Python itself beside the sources: no documents.
NOT_SOURCE_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__"})
# What people write for the two languages whose names here have no signs.
_OTHER_NAMES = {"c++": "cpp", "c#": "csharp"}


@dataclasses.dataclass(frozen=True, slots=True)
class RawFile:
    """A file of a source, content and all.

    Attributes:
      repo: repository or package, with its version where it has one.
      path: inside the repository, forward slashes; bytes that are no UTF-8 as `\\xNN`.
      content: the bytes; empty where there is an obstacle, or where `decided_unread` says
        that nobody will look at them.
      size: bytes, as listed.
      id: of the document that it becomes, `file_id`.
      licence: as the source declares it.
      stars: of the repository; 0 where unknown.
      commit_time: seconds since the epoch; 0 where unknown.
      provenance: the source's name.
      language: what the source says; counts only where the name tells nothing.
      obstacle: why it cannot be read, as a drop reason; empty for a file that was read.
      detail: of the obstacle.
      is_typed: whether `language` is certain, whatever the name looks like, as a page's address
        may look like a file of code.
    """

    repo: str
    path: str
    content: bytes
    size: int
    id: str
    licence: str = ""
    stars: int = 0
    commit_time: int = 0
    provenance: str = ""
    language: str = ""
    obstacle: str = ""
    detail: str = ""
    is_typed: bool = False

    @property
    def telling_name(self) -> str:
        """What may tell the file's type: its path, or nothing where the language is known."""
        return "" if self.is_typed else self.path

    def __reduce__(self) -> tuple[type, tuple]:
        # The default for slots asks `fields()` each time.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


class Source(Protocol):
    """What the cleaning job reads from."""

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        """Every file, listed and read in workers; nothing of the corpus' size in the graph.

        Args:
          pipeline: to put the reading into.
          max_file_bytes: larger files may be handed over without their content.
        """

    def settings(self) -> dict[str, Any]:
        """What distinguishes its output from another source's, for the manifest: no paths."""

    def fingerprint(self) -> str:
        """16 hex digits of what is read: names, sizes, and contents or a store's metadata.

        Raises:
          InputError: the source is missing or empty.
        """


def file_id(provenance: str, repo: str, path: str) -> str:
    """The id of a file's document.

    Args:
      provenance: the source's name.
      repo: repository or package.
      path: inside the repository; undecodable bytes as surrogates, as `os` gives them.
    """
    return document_id(provenance, repo, path)


def readable(name: str | bytes) -> str:
    """A file name as text that UTF-8 can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def file_type_of(path: str, language: str = "", first_line: str = "") -> FileType:
    """The type of a file by its name or `#!` line, else by what its source says."""
    found = identify(path, first_line)
    if found == UNKNOWN and language:
        name = language.lower()
        return languages().get(_OTHER_NAMES.get(name, name), UNKNOWN)
    return found


def decided_unread(
    path: str, size: int, max_file_bytes: int | None, language: str = ""
) -> tuple[str, str] | None:
    """(drop reason, detail) of a file whose content nobody has to see; else None.

    Args:
      path: of the file; without an extension its first line may still tell the language.
      size: bytes, as listed.
      max_file_bytes: None leaves the size out of the decision.
      language: as the source says.
    """
    file_type = file_type_of(path, language)
    if file_type.doc_type == "excluded":
        return "excluded_language", file_type.language
    may_have_shebang = "." not in path.rsplit("/", 1)[-1]
    if file_type.doc_type == "unknown" and not may_have_shebang:
        return "unknown_language", ""
    if max_file_bytes is not None and size > max_file_bytes:
        return "too_large", f"{size} bytes, at most {max_file_bytes}"
    return None
