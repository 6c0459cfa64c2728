"""The compiled scanner that finds comments by a table of tokens: what `comments` runs.

A token is what may begin a comment or a string. At each character that begins one the
tokens are tried in their order; the first that fits decides where the scan goes on. What
opens and never closes is looked for once, so time is linear in the text. Spans are
numbers in arrays: a text of nothing but comments makes no Python object for each.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.signals.characters import IS_SPACE, IS_WORD

# What a token begins.
LINE, LINE_START, BLOCK, DOCSTRING, LONG_STRING, STRING, CHARACTER, ESCAPE, LINE_BLOCK = range(9)
# Where it must stand.
ANYWHERE, COLUMN_ONE, COLUMN_SEVEN, AFTER_SPACE, AFTER_SPACE_OR_SEMICOLON, NOT_AFTER_COLON = range(
    6
)
# Columns of the table of tokens.
_KIND, _WHERE, _OPENING, _OPENED, _CLOSING, _CLOSED, _ESCAPES = range(7)
_COLUMN_SEVEN = 7
_LONGEST_ESCAPE = 8
_NEWLINE, _BACKSLASH, _SPACE, _TAB, _COLON, _SEMICOLON, _QUOTE = (
    np.uint8(ord(character)) for character in "\n\\ \t:;'"
)
_IS_PREFIX = np.zeros(256, np.uint8)  # of a string in Python
_IS_PREFIX[list(b"rubfRUBF")] = 1
_IS_LETTER = np.zeros(256, np.uint8)
_IS_LETTER[[*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1)]] = 1
# The state of a scan: where it goes on, and which tokens nothing closes, as bits.
_POSITION, _UNCLOSED = range(2)


class Token(NamedTuple):
    """One row of the table.

    Attributes:
      kind: `LINE`, ...
      where: `ANYWHERE`, ...
      opening, closing: ASCII (or bytes that the caller has put into the codes).
      escapes: whether a backslash escapes the closing.
    """

    kind: int
    opening: bytes
    where: int = ANYWHERE
    closing: bytes = b""
    escapes: bool = False


class Tokens(NamedTuple):
    """The tokens of a comment syntax, compiled.

    Attributes:
      table: int32[tokens, 7].
      markers: uint8[bytes], openings and closings one behind the other.
      begins: uint8[256], 1 for a byte that begins a token.
    """

    table: NDArray[np.int32]
    markers: NDArray[np.uint8]
    begins: NDArray[np.uint8]


def compile_tokens(tokens: list[Token]) -> Tokens:
    """The tokens as arrays, in their order."""
    table = np.empty((len(tokens), 7), np.int32)
    markers = b""
    begins = np.zeros(256, np.uint8)
    for row, token in zip(table, tokens, strict=True):
        opened = len(markers) + len(token.opening)
        closed = opened + len(token.closing)
        row[:] = token.kind, token.where, len(markers), opened, opened, closed, token.escapes
        markers += token.opening + token.closing
        begins[token.opening[0]] = 1
    return Tokens(table, np.frombuffer(markers, np.uint8), begins)


def new_scan() -> NDArray[np.int64]:
    """The state of a scan that begins."""
    return np.zeros(2, np.int64)


def scan(
    codes: NDArray[np.uint8],
    tokens: Tokens,
    state: NDArray[np.int64],
    bounds: NDArray[np.int32],
) -> int:
    """Fills `bounds`, int32[place, 2], with start and end of the next comments; returns how many.

    Fewer than there is place for: the text is at its end. Else `state` says where the next
    call goes on.
    """
    return _scan(codes, *tokens, IS_SPACE, IS_WORD, state, bounds)


@compiled
def _scan(
    codes: NDArray[np.uint8],
    table: NDArray[np.int32],
    markers: NDArray[np.uint8],
    begins: NDArray[np.uint8],
    is_space: NDArray[np.uint8],
    is_word: NDArray[np.uint8],
    state: NDArray[np.int64],
    bounds: NDArray[np.int32],
) -> int:
    found = 0
    i = state[_POSITION]
    unclosed = state[_UNCLOSED]
    while i < codes.size and found < bounds.shape[0]:
        if not begins[codes[i]]:
            i += 1
            continue
        following = i + 1
        for t in range(table.shape[0]):
            token = table[t]
            kind = token[_KIND]
            if not _is_at(codes, i, markers, token[_OPENING], token[_OPENED]):
                continue
            if token[_WHERE] != ANYWHERE and not _stands(codes, i, token[_WHERE], is_space):
                continue
            after = i + token[_OPENED] - token[_OPENING]
            end = np.int64(-1)  # of a comment
            if kind == STRING:
                after = _end_of_string(codes, after, codes[i], token[_ESCAPES] != 0)
            elif kind == CHARACTER:
                after = _end_of_character(codes, after)
            elif kind == ESCAPE:
                after = i + 2 if after < codes.size and codes[after] != _NEWLINE else -1
            elif kind == LINE or (kind == LINE_START and _begins_line(codes, i)):
                end = after = _line_end(codes, after)
            elif kind == LINE_BLOCK and not _is_word_end(codes, after, after - i, is_word):
                after = np.int64(-1)
            elif kind != LINE_START and not (unclosed >> t) & 1:
                closed = _end(codes, after, markers, token, is_word)
                if closed < 0:
                    # Nothing later can close it either, so it is not looked for again.
                    unclosed |= np.int64(1) << t
                else:
                    after = closed
                    documents = kind == DOCSTRING and _begins_documentation(codes, i)
                    if documents or kind in (BLOCK, LINE_BLOCK):
                        end = closed
            if after < 0:
                continue
            if end >= 0:
                bounds[found, 0], bounds[found, 1] = i, end
                found += 1
            following = after
            break
        i = following
    state[_POSITION], state[_UNCLOSED] = i, unclosed
    return found


@compiled
def _is_at(
    codes: NDArray[np.uint8], position: int, markers: NDArray[np.uint8], start: int, end: int
) -> bool:
    if position + end - start > codes.size:
        return False
    for k in range(end - start):  # noqa: SIM110 - Numba compiles no generators
        if codes[position + k] != markers[start + k]:
            return False
    return True


@compiled
def _stands(
    codes: NDArray[np.uint8], position: int, where: int, is_space: NDArray[np.uint8]
) -> bool:
    """Whether what stands before `position` is as the token asks."""
    if where == COLUMN_SEVEN:
        line = position - _COLUMN_SEVEN + 1
        if line < 0 or (line > 0 and codes[line - 1] != _NEWLINE):
            return False
        for k in range(line, position):  # noqa: SIM110 - Numba compiles no generators
            if codes[k] == _NEWLINE:
                return False
        return True
    if position == 0:
        return True
    before = codes[position - 1]
    if where == COLUMN_ONE:
        return before == _NEWLINE
    if where == NOT_AFTER_COLON:
        return before != _COLON
    return is_space[before] != 0 or (where == AFTER_SPACE_OR_SEMICOLON and before == _SEMICOLON)


@compiled
def _end_of_string(codes: NDArray[np.uint8], start: int, quote: np.uint8, escapes: bool) -> int:
    """Behind the quote that closes it on its line; -1 where none does."""
    i = start
    while i < codes.size:
        code = codes[i]
        if code == quote:
            return i + 1
        if escapes and code == _BACKSLASH:
            i += 1  # a newline too: then the string goes on in the next line
        elif code == _NEWLINE:
            return -1
        i += 1
    return -1


@compiled
def _end_of_character(codes: NDArray[np.uint8], start: int) -> int:
    """Behind the quote that closes `'a'` or `'\\n'`; -1 where it is neither."""
    if start >= codes.size or codes[start] == _NEWLINE or codes[start] == _QUOTE:
        return -1
    if codes[start] != _BACKSLASH:
        return start + 2 if start + 1 < codes.size and codes[start + 1] == _QUOTE else -1
    for i in range(start + 1, min(start + 1 + _LONGEST_ESCAPE, codes.size - 1)):
        if codes[i] == _NEWLINE:
            return -1
        if codes[i + 1] == _QUOTE:
            return i + 2
    return -1


@compiled
def _is_word_end(
    codes: NDArray[np.uint8], position: int, opened: int, is_word: NDArray[np.uint8]
) -> bool:
    """Whether the opening of a `LINE_BLOCK` is a whole word; `=` alone takes any word."""
    if opened == 1:
        return position < codes.size and _IS_LETTER[codes[position]] != 0
    return position == codes.size or not is_word[codes[position]]


@compiled
def _end(
    codes: NDArray[np.uint8],
    start: int,
    markers: NDArray[np.uint8],
    token: NDArray[np.int32],
    is_word: NDArray[np.uint8],
) -> int:
    """Behind the closing of what opened before `start`; -1 where it is not closed."""
    first, last = token[_CLOSING], token[_CLOSED]
    size = last - first
    backslashes = 0
    for i in range(start, codes.size - size + 1):
        if codes[i] == markers[first] and _is_at(codes, i, markers, first, last):
            if token[_KIND] == LINE_BLOCK:
                begins = i > 0 and codes[i - 1] == _NEWLINE
                if begins and (i + size == codes.size or not is_word[codes[i + size]]):
                    return _line_end(codes, i + size)
            elif not token[_ESCAPES] or backslashes % 2 == 0:
                return i + size
        backslashes = backslashes + 1 if codes[i] == _BACKSLASH else 0
    return -1


@compiled
def _line_end(codes: NDArray[np.uint8], position: int) -> int:
    while position < codes.size and codes[position] != _NEWLINE:
        position += 1
    return position


@compiled
def _begins_line(codes: NDArray[np.uint8], position: int) -> bool:
    """Whether only spaces and tabs stand before `position` on its line."""
    while position > 0 and (codes[position - 1] == _SPACE or codes[position - 1] == _TAB):
        position -= 1
    return position == 0 or codes[position - 1] == _NEWLINE


@compiled
def _begins_documentation(codes: NDArray[np.uint8], position: int) -> bool:
    """Whether the string at `position`, with its prefix, begins a line."""
    prefix = position
    while prefix > 0 and position - prefix < 2 and _IS_PREFIX[codes[prefix - 1]]:
        prefix -= 1
    return _begins_line(codes, prefix)
