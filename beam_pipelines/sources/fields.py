"""Records with named fields (JSON objects, parquet rows, Examples) as raw files.

`Fields` says under which names a corpus keeps what a document needs; the first name that
a record has counts. What is optional and null takes its default. What is required and
missing, or of a kind that cannot be meant, makes a `bad_record`, with the field's name.
Defaults read this project's own JSONL, The Stack v1 and v2, RefineCode's metadata, and most
public code corpora.
"""

import codecs
import dataclasses
import datetime
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from beam_pipelines.sources.containers import Container, obstacle_file, one_line
from beam_pipelines.sources.entry import RawFile, decided_unread, file_id, readable

_LARGEST = 2**63 - 1
_LAST_SECOND = 253_402_300_799  # of the year 9999
_LONGEST_NAME = 4096
_MOST_DIGITS = 30
_OR = re.compile(r"\bOR\b", re.IGNORECASE)
# Their bytes can be valid UTF-8 and mean something else.
_SEVEN_BIT = ("utf-16", "utf-32", "iso2022", "hz", "utf-7")
# Python's codecs that are no encodings of files; punycode's time is quadratic.
_NO_ENCODINGS = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")


class BadRecordError(Exception):
    """A record that gives no file, with the drop reason and, where it has them, its names."""

    def __init__(self, detail: str, reason: str = "bad_record") -> None:
        super().__init__(detail, reason)
        self.detail = detail
        self.reason = reason
        self.repo = ""
        self.path = ""


class Omitted(NamedTuple):
    """Instead of a content that is too large in any encoding: its bytes."""

    size: int


@dataclasses.dataclass(frozen=True)
class Fields:
    """Names of fields, in order of preference; `a.b` is the field `b` of the object `a`.

    Attributes:
      content: the file's text, or bytes; required.
      path: inside the repository; required, a file's type is in its name.
      repo: repository; the container's name where there is none.
      licence: one name, an SPDX expression, or a list; of several, all apply
        (`MIT AND Apache-2.0`).
      stars: a count; below 0 is unknown.
      commit_time: seconds since the epoch, ISO 8601, or a timestamp column.
      language: counts only where the file's name tells none.
      encoding: of contents that are bytes; text is Unicode already.
      blob: SHA-1 of the content, where contents are kept apart (The Stack v2).
    """

    content: Sequence[str] = ("content", "text", "code")
    path: Sequence[str] = (
        "path",
        "max_stars_repo_path",
        "file_path",
        "sub_path",
        "filename",
        "meta.path",
    )
    repo: Sequence[str] = ("repo_name", "repo", "max_stars_repo_name", "meta.repo_name")
    licence: Sequence[str] = (
        "license",
        "licence",
        "detected_licenses",
        "max_stars_repo_licenses",
        "gha_license_id",
    )
    stars: Sequence[str] = ("stars", "star_events_count", "max_stars_count")
    commit_time: Sequence[str] = ("commit_time", "committer_date", "revision_date")
    # RefineCode's metadata has a `lang` beside it that is none of programs.
    language: Sequence[str] = ("language", "program_lang", "lang")
    encoding: Sequence[str] = ("src_encoding",)
    blob: Sequence[str] = ("blob_id",)

    def present(self, columns: Iterable[str]) -> list[str]:
        """Those of the top-level `columns` that can be asked for."""
        wanted = {
            name
            for field in dataclasses.fields(self)
            for names in getattr(self, field.name)
            for name in (names, names.partition(".")[0])
        }
        return [column for column in columns if column in wanted]


def bad_record_file(
    provenance: str, container: Container, position: str, error: BadRecordError
) -> RawFile:
    """What stands for a record that gives no file."""
    return obstacle_file(
        provenance,
        container,
        position,
        error.reason,
        f"{position}: {error.detail}",
        error.repo,
        error.path,
    )


def lacking(fields: Fields, columns: Iterable[str], required: Sequence[str]) -> str:
    """Which required field none of the top-level `columns` can give, in words; else empty."""
    columns = set(columns)
    for kind in required:
        names = getattr(fields, kind)
        if not any(name in columns or name.partition(".")[0] in columns for name in names):
            return f"a field for {kind} ({', '.join(names) or 'none is named'})"
    return ""


def name_yours(fields: Fields) -> str:
    """What to do where a corpus has other names."""
    kind = type(fields).__name__
    return f"name yours with --gin.{kind}.content, {kind}.path, ... (docs/cleaning.md)"


def raw_file(
    record: Mapping[str, Any],
    fields: Fields,
    provenance: str,
    default_repo: str,
    max_file_bytes: int,
    *,
    is_text: bool = False,
    with_content: bool = True,
) -> RawFile:
    """The raw file that a record describes.

    Args:
      record: name to value; text may be str or UTF-8 bytes.
      fields: names to look under.
      provenance: the source's name.
      default_repo: where the record names none.
      max_file_bytes: the content of larger files is left out.
      is_text: the content is text although it comes as bytes, so no encoding applies.
      with_content: False for records whose content is elsewhere.

    Raises:
      BadRecordError: with the reason and the field.
    """
    path = _name(record, fields.path, "path")
    path = path.lstrip("/").removeprefix("./") if path else ""
    if not path:
        raise BadRecordError(f"no path ({', '.join(fields.path)}), which tells a file's type")
    repo = _name(record, fields.repo, "repo") or default_repo
    try:
        content: bytes | Omitted = b""
        if with_content:
            content = _content(record, fields, is_text)
        size = content.size if isinstance(content, Omitted) else len(content)
        language = shown(_name(record, fields.language, "language"))
        unread = decided_unread(shown(path), size, max_file_bytes, language)
        return RawFile(
            repo=shown(repo),
            path=shown(path),
            content=b"" if unread or isinstance(content, Omitted) else content,
            size=size,
            id=file_id(provenance, repo, path),
            licence=_licence(record, fields.licence),
            stars=_count(first(record, fields.stars), "stars"),
            commit_time=seconds_of(first(record, fields.commit_time)),
            provenance=provenance,
            language=language,
        )
    except BadRecordError as error:
        error.repo, error.path = shown(repo), shown(path)
        raise


def first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of the named values that is not null; None where there is none."""
    for name in names:
        value = record.get(name)
        if value is None and "." in name:
            outer, _, inner = name.partition(".")
            nested = record.get(outer)
            value = nested.get(inner) if isinstance(nested, Mapping) else None
        if value is not None:
            return value
    return None


def decoded(content: bytes, encoding: str) -> bytes:
    """Content in a declared encoding as UTF-8; what is UTF-8 already stays as it is.

    Raises:
      BadRecordError: reason `not_utf8`: neither, or the encoding is unknown.
    """
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if not name.startswith(_SEVEN_BIT):
        try:
            content.decode("utf-8")
            return content
        except UnicodeDecodeError:
            pass
    if not name or name in _NO_ENCODINGS:
        raise BadRecordError(f"src_encoding {one_line(encoding, 40)!r} is unknown", "not_utf8")
    try:
        return content.decode(name).encode("utf-8")
    except (UnicodeError, LookupError) as error:
        raise BadRecordError(f"src_encoding {encoding}: {one_line(error)}", "not_utf8") from error


def shown(name: str) -> str:
    """A name as text that UTF-8 can hold, whatever surrogates a record has in it."""
    try:
        return readable(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(value: Any, kind: str) -> str:
    """A text value; bytes that are no UTF-8 as surrogates, as `os` gives them.

    Raises:
      BadRecordError: it is something else.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise BadRecordError(f"{kind} is {_kind(value)}, expected text")
    return value


def _name(record: Mapping[str, Any], names: Sequence[str], kind: str) -> str:
    value = first(record, names)
    if value is None:
        return ""
    text = text_of(value, kind)
    if len(text) > _LONGEST_NAME:
        raise BadRecordError(f"{kind} has {len(text)} characters, at most {_LONGEST_NAME}")
    return text


def _content(record: Mapping[str, Any], fields: Fields, is_text: bool) -> bytes | Omitted:
    value = first(record, fields.content)
    if value is None:
        raise BadRecordError(f"no content ({', '.join(fields.content)} missing or null)")
    if isinstance(value, str):
        # Lone surrogates, which JSON can escape, then count as what they are: no UTF-8.
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Omitted):
        return value
    if not isinstance(value, bytes):
        raise BadRecordError(f"content is {_kind(value)}, expected text")
    encoding = None if is_text else first(record, fields.encoding)
    return decoded(value, text_of(encoding, "encoding")) if encoding else value


def _licence(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first that says anything: an empty list says nothing."""
    for name in names:
        value = first(record, [name])
        several = value if isinstance(value, list | tuple) else [value]
        licences = [shown(text_of(one, "licence")).strip() for one in several if one is not None]
        if found := list(dict.fromkeys(filter(None, licences))):
            # `AND` binds tighter: a choice stays one among several that all apply.
            return found[0] if len(found) == 1 else " AND ".join(map(_whole, found))
    return ""


def _whole(licence: str) -> str:
    return f"({licence})" if _OR.search(licence) else licence


def _count(value: Any, kind: str) -> int:
    """A whole number from 0 to 2^63 - 1; unknown where it is below."""
    if isinstance(value, str | bytes):
        text = text_of(value, kind).strip()
        if not text:
            return 0
        # What is much longer than any count costs time to convert.
        value = int(text) if len(text) <= _MOST_DIGITS and _is_integer(text) else text
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        if math.isinf(value) or value == int(value):
            value = _LARGEST if math.isinf(value) else int(value)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRecordError(f"{kind} is {_kind(value)}, expected a whole number")
    return min(max(value, 0), _LARGEST)


def _is_integer(text: str) -> bool:
    return text.lstrip("+-").isdecimal() and len(text) - len(text.lstrip("+-")) <= 1


def seconds_of(value: Any) -> int:
    """Seconds since the epoch of a number, ISO 8601 or a timestamp; 0 for None.

    Raises:
      BadRecordError: it is no time.
    """
    if isinstance(value, bytes):
        value = text_of(value, "commit_time")
    if isinstance(value, str) and value.strip() and not _is_integer(value.strip()):
        try:
            value = datetime.datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise BadRecordError(
                f"commit_time is {one_line(value, 40)!r}, expected seconds or ISO 8601"
            ) from error
    if isinstance(value, datetime.datetime):
        zone = value.tzinfo or datetime.UTC
        value = math.floor(value.replace(tzinfo=zone).timestamp())
    elif isinstance(value, datetime.date):
        value = math.floor(
            datetime.datetime(*value.timetuple()[:3], tzinfo=datetime.UTC).timestamp()
        )
    seconds = _count(value, "commit_time")
    if seconds > _LAST_SECOND:
        raise BadRecordError(f"commit_time is {seconds}, expected seconds since 1970")
    return seconds


def _kind(value: Any) -> str:
    """A value in a message: its type, and what it says where that is short."""
    if isinstance(value, list | tuple | Mapping):
        return "a list" if isinstance(value, list | tuple) else "an object"
    return f"{type(value).__name__} {one_line(value, 40)!r}"
