"""The language of a file by its name, as GitHub Linguist tells it.

`languages.tsv` holds the languages of Linguist with their extensions, file names and
interpreters; where several languages claim an extension the table names the most
common one, so a name has one answer and nobody has to read the file. Types (code,
data, text, excluded) follow OpenCoder's released filter. `docs/rules.md` lists the
choices; `comments` uses the table's comment syntaxes.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator
from importlib import resources

_ENV_ARGUMENTS = re.compile(r"-\S*|\w+=\S*")
_VERSION = re.compile(r"[\d.]+$")


@dataclasses.dataclass(frozen=True, slots=True)
class FileType:
    """A language and what is done with its files.

    Attributes:
      language: lower-case Linguist name, `cpp` and `csharp` for C++ and C#; `unknown`.
      doc_type: `code`, `data` and `text` have tables of rules, `excluded` and `unknown`
        files are dropped.
    """

    language: str
    doc_type: str


UNKNOWN = FileType("unknown", "unknown")


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    languages: dict[str, FileType]
    comment_syntaxes: dict[str, str]
    extensions: dict[str, FileType]
    file_names: dict[str, FileType]
    interpreters: dict[str, FileType]


def identify(path: str, first_line: str = "") -> FileType:
    """The type of a file: by its whole name, else its longest extension, else its `#!` line.

    File names are compared with their case, as Linguist does. Extensions are too, first,
    because `.C` and `.H` are C++ and `.S` is assembly; then without.

    Args:
      path: of the file, with forward slashes; only the last part counts.
      first_line: of the text, for scripts without an extension.
    """
    found = _by_name(path.rsplit("/", 1)[-1])
    return found or _table().interpreters.get(_interpreter(first_line), UNKNOWN)


def identified_by(path: str, first_line: str = "") -> str:
    """What tells `identify` the language, e.g. `extension .py`; empty where nothing does."""
    table = _table()
    name = path.rsplit("/", 1)[-1]
    if name in table.file_names:
        return f"file name {name}"
    for extension in _extensions(name):
        if extension in table.extensions or extension.lower() in table.extensions:
            return f"extension {extension}"
    interpreter = _interpreter(first_line)
    return f"interpreter {interpreter}" if interpreter in table.interpreters else ""


def languages() -> dict[str, FileType]:
    """Every language of the table by its name."""
    return dict(_table().languages)


def comment_syntax_name(language: str) -> str:
    """The entry of `comment_syntax.json` that describes `language`."""
    return _table().comment_syntaxes.get(language, "default")


@functools.lru_cache(maxsize=1024)  # a file is asked for some times in a row
def _by_name(name: str) -> FileType | None:
    table = _table()
    if name in table.file_names:
        return table.file_names[name]
    for extension in _extensions(name):
        found = table.extensions.get(extension) or table.extensions.get(extension.lower())
        if found:
            return found
    return None


def _extensions(name: str) -> Iterator[str]:
    """`.b.c`, then `.c`, of `a.b.c`."""
    position = name.find(".")
    while position != -1:
        yield name[position:]
        position = name.find(".", position + 1)


def _interpreter(first_line: str) -> str:
    """`python` of `#!/usr/bin/env -S python3.12 -u`; empty where there is none."""
    if not first_line.startswith("#!"):
        return ""
    words = first_line[2:].split()
    if words and words[0].rsplit("/", 1)[-1] == "env":
        words = [word for word in words[1:] if not _ENV_ARGUMENTS.fullmatch(word)]
    if not words:
        return ""
    command = words[0].rsplit("/", 1)[-1]
    known = _table().interpreters
    return command if command in known else _VERSION.sub("", command)


@functools.cache
def _table() -> _Table:
    table = _Table({}, {}, {}, {}, {})
    text = resources.files(__package__).joinpath("languages.tsv").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    for row in rows[1:]:
        language, doc_type, syntax, extensions, file_names, interpreters = row.split("\t")
        file_type = FileType(language, doc_type)
        table.languages[language] = file_type
        table.comment_syntaxes[language] = syntax or "default"
        for names, index in (
            (extensions, table.extensions),
            (file_names, table.file_names),
            (interpreters, table.interpreters),
        ):
            index.update((name, file_type) for name in names.split("|") if name)
    return table
