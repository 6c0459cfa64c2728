"""A plain twin of the compiled comment scanner: one `re` alternation per comment syntax.

`test_comments` holds the compiled one beside it.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from beam_pipelines.languages.comments import CommentSyntax, comment_syntax

_MULTILINE_STRINGS = ('"""', "'''", "`")
_CHARACTER = r"(?:\\[^\n]{1,8}?|[^'\\\n])'"
_STRING_PREFIX = frozenset("rubfRUBF")


def comment_spans(text: str, language: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every comment, in order; the newline after a line comment is code."""
    scanner = _scanner(comment_syntax(language))
    if scanner.pattern is None:
        return
    position = 0
    unclosed: set[str] = set()
    while match := scanner.pattern.search(text, position):
        token = scanner.tokens[match.lastgroup or ""]
        position = match.end()
        if token.kind == "line" or (
            token.kind == "line_start" and _begins_line(text, match.start())
        ):
            position = _line_end(text, position)
            yield match.start(), position
        elif token.closing is not None:
            end = -1 if token.name in unclosed else token.closing(text, position)
            if end == -1:
                # Nothing later can close it either, so it is not looked for again.
                unclosed.add(token.name)
                continue
            position = end
            if token.kind == "block" or (
                token.kind == "docstring" and _is_documentation(text, match.start())
            ):
                yield match.start(), end


@dataclasses.dataclass(frozen=True, slots=True)
class _Token:
    """What a match of the scanner begins.

    Attributes:
      kind: `line`, `line_start`, `block`, `docstring` or `string`.
      closing: from (text, position after the opening) to the position after the closing,
        -1 where there is none; None where the match itself is the whole token.
    """

    name: str
    kind: str
    closing: Callable[[str, int], int] | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Scanner:
    pattern: re.Pattern[str] | None
    tokens: dict[str, _Token]


@functools.cache
def _scanner(syntax: CommentSyntax) -> _Scanner:
    parts: list[str] = []
    tokens: dict[str, _Token] = {}

    def add(
        kind: str,
        first: str,
        rest: str,
        *,
        before: str = "",
        closing: Callable[[str, int], int] | None = None,
    ) -> None:
        # The pattern begins with one set of characters, so `re` skips what cannot begin a
        # token; each alternative then looks back at its own first character.
        name = f"t{len(tokens)}"
        tokens[name] = _Token(name, kind, closing)
        parts.append(f"(?P<{name}>(?<={before}{re.escape(first)}){rest})")

    def add_marker(kind: str, marker: str, **options: Any) -> None:
        add(kind, marker[0], re.escape(marker[1:]), **options)

    # An escaped quote outside a string opens none; taking it here also keeps a line of
    # nothing but escaped quotes from being read once per quote.
    if syntax.strings and syntax.escapes:
        add("string", "\\", r"[^\n]")
    for opening, closing in syntax.line_block:
        word = rf"{opening[1:]}\b" if opening[1:] else r"[a-zA-Z]\w*"
        add("block", opening[0], word, before="^", closing=_closing_line(closing))
    for opening, closing in syntax.block:
        add_marker("block", opening, closing=_closing_marker(closing))
    for opening, closing in syntax.block_after_space:
        add_marker("block", opening, before=r"(?<!\S)", closing=_closing_marker(closing))
    for marker in syntax.column_one:
        add_marker("line", marker, before="^")
    for marker in syntax.column_seven:
        add_marker("line", marker, before=r"^[^\n]{6}")
    for marker in syntax.line_start:
        add_marker("line_start", marker)
    for marker in syntax.line_after_space:
        add_marker("line", marker, before=r"(?<![^\s;])")
    for marker in syntax.line:
        # `https://` is no comment where it stands outside a string.
        add_marker("line", marker, before="(?<!:)" if marker == "//" else "")
    for delimiter in syntax.strings:
        if delimiter in _MULTILINE_STRINGS:
            kind = "docstring" if syntax.docstrings else "string"
            add_marker(kind, delimiter, closing=_closing_quote(delimiter, syntax.escapes))
        else:
            add("string", *_one_line_string(delimiter, syntax.escapes))
    pattern = None
    if parts:
        first = "".join(sorted({re.escape(c) for c in _first_characters(syntax)}))
        pattern = re.compile(f"[{first}](?:{'|'.join(parts)})", re.MULTILINE)
    return _Scanner(pattern, tokens)


def _first_characters(syntax: CommentSyntax) -> Iterator[str]:
    for markers in (
        syntax.line,
        syntax.line_after_space,
        syntax.line_start,
        syntax.column_one,
        syntax.column_seven,
    ):
        yield from (marker[0] for marker in markers)
    for pairs in (syntax.block, syntax.block_after_space, syntax.line_block):
        yield from (opening[0] for opening, _ in pairs)
    for delimiter in syntax.strings:
        yield "'" if delimiter == "char" else delimiter[0]
    if syntax.strings and syntax.escapes:
        yield "\\"


def _one_line_string(delimiter: str, escapes: bool) -> tuple[str, str]:
    """(opening, pattern of what follows it) of a string that ends on its line."""
    if delimiter == "char":
        return "'", _CHARACTER
    if not escapes:
        return delimiter, rf"[^{delimiter}\n]*+{delimiter}"
    plain = rf"[^{delimiter}\\\n]*+"
    return delimiter, rf"{plain}(?:\\[\s\S]{plain})*+{delimiter}"


def _closing_marker(marker: str) -> Callable[[str, int], int]:
    def closing(text: str, position: int) -> int:
        found = text.find(marker, position)
        return found if found == -1 else found + len(marker)

    return closing


def _closing_line(opening: str) -> Callable[[str, int], int]:
    pattern = re.compile(rf"^{opening}\b", re.MULTILINE)

    def closing(text: str, position: int) -> int:
        match = pattern.search(text, position)
        return _line_end(text, match.end()) if match else -1

    return closing


def _closing_quote(delimiter: str, escapes: bool) -> Callable[[str, int], int]:
    def closing(text: str, position: int) -> int:
        found = text.find(delimiter, position)
        while escapes and found != -1 and _is_escaped(text, found, position):
            found = text.find(delimiter, found + 1)
        return found if found == -1 else found + len(delimiter)

    return closing


def _is_escaped(text: str, position: int, start: int) -> bool:
    """Whether an odd number of backslashes stands between `start` and `position`."""
    before = position
    while before > start and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1


def _line_end(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found == -1 else found


def _begins_line(text: str, position: int) -> bool:
    """Whether only spaces and tabs stand before `position` on its line."""
    while position and text[position - 1] in " \t":
        position -= 1
    return position == 0 or text[position - 1] == "\n"


def _is_documentation(text: str, position: int) -> bool:
    """Whether the triple-quoted string at `position`, with its prefix, begins a line."""
    prefix = position
    while prefix and position - prefix < 2 and text[prefix - 1] in _STRING_PREFIX:
        prefix -= 1
    return _begins_line(text, prefix)
