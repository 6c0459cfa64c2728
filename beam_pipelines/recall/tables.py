"""Tab-separated tables that people write: a header, a row a line, errors with the line.

Files are local or in a store. Lines that begin with `#` and empty ones are comments, so a
table can say where it comes from. Spreadsheets' tables are read, too: fields in quotes, and
UTF-16 with its mark, which Excel calls "Unicode Text". Next: `patterns` and `labels`, which
say what rows mean.
"""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from beam_pipelines import stores
from opencoder_jax.errors import InputError

# What a table that comes with the package is named by: `shipped:chinese.tsv`.
SHIPPED = "shipped:"
_FOLDER = Path(__file__).parent / "shipped"


class Row(NamedTuple):
    """A line of a table.

    Attributes:
      values: column to text.
      label: the value of `label`; empty where nobody has given one.
      place: file and line, for messages.
    """

    values: dict[str, str]
    label: str
    place: str


def read_table(path: str, columns: Sequence[Sequence[str]]) -> list[Row]:
    """All rows.

    Args:
      path: of the file, a url, or `shipped:NAME`.
      columns: groups of names; of each group the header has to have one.

    Raises:
      InputError: it cannot be read, is neither UTF-8 nor marked UTF-16, lacks a
        column, or a row has too many or too few fields; the message names file and line.
    """
    rows: list[Row] = []
    header: list[str] | None = None
    for number, line in enumerate(_text(path).split("\n"), start=1):
        fields = [_unquoted(field.strip()) for field in line.split("\t")]
        if not line.strip() or fields[0].startswith("#"):
            continue
        place = f"{path}, line {number}"
        if header is None:
            header = fields
            for group in columns:
                if not set(group) & set(header):
                    raise InputError(
                        f"{place}: expected a header with the column {' or '.join(group)}, "
                        f"separated by tabs, found {', '.join(header)}"
                    )
            if len(set(header)) != len(header):
                raise InputError(f"{place}: a column is named twice in {', '.join(header)}")
            continue
        # Editors cut empty fields off the end of a line.
        fields += [""] * (len(header) - len(fields))
        if len(fields) > len(header):
            raise InputError(
                f"{place}: {len(fields)} fields, expected {len(header)} ({', '.join(header)})"
            )
        values = dict(zip(header, fields, strict=True))
        rows.append(Row(values, values.get("label", ""), place))
    if header is None:
        names = ", ".join(" or ".join(group) for group in columns)
        raise InputError(f"{path} is empty, expected a header with the columns {names}")
    return rows


def read_bytes(path: str) -> bytes:
    """The content of a table's file.

    Raises:
      InputError: it cannot be read.
    """
    place = located(path)
    try:
        return stores.read(place) if stores.is_remote(place) else Path(place).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def located(path: str) -> str:
    """Path or url of a table.

    Raises:
      InputError: `shipped:` names none that comes with the package.
    """
    if not path.startswith(SHIPPED):
        return path
    place = _FOLDER / path.removeprefix(SHIPPED)
    if not place.is_file():
        names = ", ".join(SHIPPED + file.name for file in sorted(_FOLDER.glob("*.tsv")))
        raise InputError(f"no table {path} comes with the package; there are {names}")
    return str(place)


def _unquoted(field: str) -> str:
    """Spreadsheets quote fields with commas or quotes in them, as many urls have."""
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field


def _text(path: str) -> str:
    content = read_bytes(path)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: begins like UTF-16, and is none") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: is no UTF-8") from error
