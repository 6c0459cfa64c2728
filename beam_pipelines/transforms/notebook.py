"""Jupyter notebooks as readable text: the paper's structured form (App. C.3).

A notebook's JSON is mostly quoting, metadata and pictures. Of StarCoder's two conversions
the paper keeps the structured one, text, code and output in turn, and not the script.
Each cell begins with a line of its own:

    <jupyter_text>      a Markdown cell (or a heading of an old notebook)
    <jupyter_code>      a code cell
    <jupyter_output>    what it printed or returned, as text

They are StarCoder's names, as plain text like the other placeholders (`<email>`): whoever
trains a tokenizer may reserve them, and nobody has to. Next: `read` makes the documents.
"""

import re
from collections.abc import Iterator
from typing import Any

from opencoder_jax.formats.json_object import parse_object

TEXT, CODE, OUTPUT = "<jupyter_text>", "<jupyter_code>", "<jupyter_output>"
_MARKER_OF_CELL = {"markdown": TEXT, "heading": TEXT, "code": CODE}
# Long outputs are logs and tables of numbers.
_MOST_OUTPUT_LINES = 20
_MOST_OUTPUT_CHARACTERS = 2000
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class BadNotebookError(ValueError):
    """No notebook of a known format; the message says what is wrong and where."""


def structured_notebook(content: bytes) -> str:
    """The text of an `.ipynb` file: its cells in order, each behind its marker.

    Formats 2 to 4. Left out: raw cells, pictures, HTML and widgets, and all but the
    beginning of a long output, with the number of lines that are missing.

    Args:
      content: of the file.

    Raises:
      BadNotebookError: it is no UTF-8, no JSON, no notebook, or has no text in any cell.
    """
    pieces: list[str] = []
    for number, cell in enumerate(_cells(parse_object(content, BadNotebookError)), start=1):
        if not isinstance(cell, dict):
            raise BadNotebookError(f"cell {number} is no object")
        kind = cell.get("cell_type")
        marker = _MARKER_OF_CELL.get(kind) if isinstance(kind, str) else None
        source = _text(cell.get("source", cell.get("input", "")), f"the source of cell {number}")
        if marker is None or not source.strip():
            continue
        if kind == "heading":
            level = cell.get("level", 1)
            source = f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {source}"
        pieces += marker, source.strip("\n")
        if kind == "code" and (output := _output(cell.get("outputs", []), number)):
            pieces += OUTPUT, output
    if not pieces:
        raise BadNotebookError("no cell has any text")
    return _SURROGATE.sub("\ufffd", "\n".join(pieces) + "\n")


def _cells(notebook: dict[str, Any]) -> Iterator[Any]:
    """The cells, which formats below 4 keep in worksheets."""
    version = notebook.get("nbformat")
    if version not in (2, 3, 4):
        raise BadNotebookError(f"nbformat is {version!r}, expected 2, 3 or 4")
    sheets = notebook.get("worksheets") if version < 4 else [notebook]
    if not isinstance(sheets, list):
        raise BadNotebookError("`worksheets` is no list")
    for sheet in sheets:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        if not isinstance(cells, list):
            raise BadNotebookError("`cells` is no list")
        yield from cells


def _output(outputs: Any, number: int) -> str:
    """What a cell gave out, as text; empty where it gave pictures or nothing."""
    if not isinstance(outputs, list):
        raise BadNotebookError(f"the outputs of cell {number} are no list")
    texts = [_output_text(output, number) for output in outputs]
    return _cut(_ANSI.sub("", "\n".join(text.strip("\n") for text in texts if text.strip())))


def _output_text(output: Any, number: int) -> str:
    where = f"an output of cell {number}"
    if not isinstance(output, dict):
        raise BadNotebookError(f"{where} is no object")
    kind = output.get("output_type")
    if kind in ("error", "pyerr"):
        return f"{output.get('ename', '')}: {output.get('evalue', '')}"
    if kind == "stream":
        return _text(output.get("text", ""), where)
    # `text` beside `png` and `html` in formats below 4, `data` by media type in 4.
    data = output.get("data")
    return _text(
        data.get("text/plain", "") if isinstance(data, dict) else output.get("text", ""), where
    )


def _cut(text: str) -> str:
    lines = text.split("\n")
    shown = "\n".join(lines[:_MOST_OUTPUT_LINES])[:_MOST_OUTPUT_CHARACTERS]
    missing = len(lines) - shown.count("\n") - 1
    if missing:
        return f"{shown}\n... ({missing} more lines)"
    return (
        shown
        if len(shown) == len(text)
        else f"{shown} ... ({len(text) - len(shown)} more characters)"
    )


def _text(value: Any, what: str) -> str:
    """A string, or a list of strings to be joined."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    if isinstance(value, str):
        return value
    raise BadNotebookError(f"{what} is neither text nor a list of lines")
