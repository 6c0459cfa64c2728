"""Splits a text into code and comments, for every language of the table.

`comment_syntax.json` says how the languages write comments and strings; `comment_scan`
finds the next of either, so a `#` in a string is no comment and a quote in a comment
starts no string. Time is linear in the text whatever it holds. What counts as a comment
follows the Pygments classes that OpenCoder's filter took: comments, `#!` lines and
documentation strings; preprocessor lines are code.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.languages import comment_scan
from beam_pipelines.languages.comment_scan import Token, Tokens
from beam_pipelines.languages.file_types import comment_syntax_name
from beam_pipelines.signals.characters import code_points, folded

_MULTILINE_STRINGS = ('"""', "'''", "`")
# Stands in the folded text for a marker's character that is not ASCII; no other folds to it.
_NOT_ASCII_MARKER = 0xC0
_FEW, _MANY = 64, 65_536  # comments found at a time


@dataclasses.dataclass(frozen=True, slots=True)
class CommentSyntax:
    """How one family of languages writes comments and strings.

    Attributes:
      line: begin a comment that ends with the line, anywhere.
      line_after_space: the same, at a line's start, after white space or after `;`.
      line_start: the same, as the first thing of a line that is not white space.
      column_one, column_seven: the same, at that column only.
      block, block_after_space: (opening, closing) pairs.
      line_block: (opening, closing) words that stand at a line's start and take the rest
        of the line; `=` alone opens with any word behind it.
      strings: delimiters; `char` stands for character literals. Triple quotes and
        backticks may cross lines.
      escapes: whether a backslash escapes the closing quote.
      docstrings: whether a triple-quoted string that begins a line is documentation.
    """

    line: tuple[str, ...] = ()
    line_after_space: tuple[str, ...] = ()
    line_start: tuple[str, ...] = ()
    column_one: tuple[str, ...] = ()
    column_seven: tuple[str, ...] = ()
    block: tuple[tuple[str, str], ...] = ()
    block_after_space: tuple[tuple[str, str], ...] = ()
    line_block: tuple[tuple[str, str], ...] = ()
    strings: tuple[str, ...] = ()
    escapes: bool = True
    docstrings: bool = False


def comment_spans(text: str, language: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every comment, in order; the newline after a line comment is code.

    A text is read as far as it is asked for.
    """
    for bounds in _blocks(text, folded(text), language):
        starts, ends = bounds.T.tolist()
        yield from zip(starts, ends, strict=True)


def comment_bounds(text: str, codes: NDArray[np.uint8], language: str) -> NDArray[np.int32]:
    """int32[comments, 2]: start and end of every comment, in order.

    Args:
      text: of a file.
      codes: uint8[chars], the text as `characters.folded` gives it.
      language: lower-case Linguist name.
    """
    blocks = list(_blocks(text, codes, language))
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks) if blocks else np.empty((0, 2), np.int32)


def _blocks(text: str, codes: NDArray[np.uint8], language: str) -> Iterator[NDArray[np.int32]]:
    """int32[comments, 2], many at a time."""
    scanner = _scanner(comment_syntax_name(language))
    if scanner.tokens is None:
        return
    if scanner.not_ascii and scanner.not_ascii in text:
        codes = codes.copy()
        codes[code_points(text) == ord(scanner.not_ascii)] = _NOT_ASCII_MARKER
        codes.flags.writeable = False
    state = comment_scan.new_scan()
    place = _FEW
    while True:
        bounds = np.empty((place, 2), np.int32)
        found = comment_scan.scan(codes, scanner.tokens, state, bounds)
        yield bounds[:found]
        if found < place:
            return
        place = _MANY


def comment_syntax(language: str) -> CommentSyntax:
    """The comment syntax of `language`; a cautious one where the table names none."""
    return _scanner(comment_syntax_name(language)).syntax


@dataclasses.dataclass(frozen=True, slots=True)
class _Scanner:
    """A syntax and its tokens; `not_ascii` is the one character of its markers that is not."""

    syntax: CommentSyntax
    tokens: Tokens | None
    not_ascii: str


@functools.cache
def _scanner(syntax_name: str) -> _Scanner:
    syntax = _syntaxes()[syntax_name]
    tokens = list(_tokens(syntax))
    markers = "".join(token[1] for token in tokens)
    not_ascii = "".join({character for character in markers if not character.isascii()})
    if len(not_ascii) > 1:
        raise ValueError(f"comment syntax {syntax_name!r}: at most one character beyond ASCII")

    def encoded(marker: str) -> bytes:
        return bytes(_NOT_ASCII_MARKER if c == not_ascii else ord(c) for c in marker)

    rows = [
        Token(kind, encoded(opening), where, encoded(closing), escapes)
        for kind, opening, where, closing, escapes in tokens
    ]
    return _Scanner(syntax, comment_scan.compile_tokens(rows) if rows else None, not_ascii)


def _tokens(syntax: CommentSyntax) -> Iterator[tuple[int, str, int, str, bool]]:
    """(kind, opening, where, closing, escapes) of every token, in the order of their trial."""
    scan = comment_scan
    # An escaped quote outside a string opens none; taking it here also keeps a line of
    # nothing but escaped quotes from being read once per quote.
    if syntax.strings and syntax.escapes:
        yield scan.ESCAPE, "\\", scan.ANYWHERE, "", False
    for opening, closing in syntax.line_block:
        yield scan.LINE_BLOCK, opening, scan.COLUMN_ONE, closing, False
    for opening, closing in syntax.block:
        yield scan.BLOCK, opening, scan.ANYWHERE, closing, False
    for opening, closing in syntax.block_after_space:
        yield scan.BLOCK, opening, scan.AFTER_SPACE, closing, False
    for markers, kind, where in (
        (syntax.column_one, scan.LINE, scan.COLUMN_ONE),
        (syntax.column_seven, scan.LINE, scan.COLUMN_SEVEN),
        (syntax.line_start, scan.LINE_START, scan.ANYWHERE),
        (syntax.line_after_space, scan.LINE, scan.AFTER_SPACE_OR_SEMICOLON),
    ):
        for marker in markers:
            yield kind, marker, where, "", False
    for marker in syntax.line:
        # `https://` is no comment where it stands outside a string.
        where = scan.NOT_AFTER_COLON if marker == "//" else scan.ANYWHERE
        yield scan.LINE, marker, where, "", False
    for delimiter in syntax.strings:
        if delimiter in _MULTILINE_STRINGS:
            kind = scan.DOCSTRING if syntax.docstrings else scan.LONG_STRING
            yield kind, delimiter, scan.ANYWHERE, delimiter, syntax.escapes
        elif delimiter == "char":
            # Where a lone quote means something else (lifetimes, primes, symbols).
            yield scan.CHARACTER, "'", scan.ANYWHERE, "", False
        else:
            yield scan.STRING, delimiter, scan.ANYWHERE, "", syntax.escapes


@functools.cache
def _syntaxes() -> dict[str, CommentSyntax]:
    text = resources.files(__package__).joinpath("comment_syntax.json").read_text(encoding="utf-8")
    return {name: CommentSyntax(**_frozen(entry)) for name, entry in json.loads(text).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value
