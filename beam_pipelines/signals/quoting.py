"""Quoted strings of a code, whatever its language: triple, double and single quotes.

The rules on strings look for data that was pasted into code, so they take one notion
of a quoted string for all languages: triple-quoted ones may cross lines, others not. An
escaped quote opens none, and a triple quote that nothing closes is looked for once, so
the compiled scanner is linear in the text.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.signals.characters import IS_SPACE, IS_WORD

_BACKSLASH, _NEWLINE, _PLUS = (np.uint8(ord(character)) for character in "\\\n+")
_DOUBLE, _SINGLE = (np.uint8(ord(character)) for character in "\"'")


class Pieces(NamedTuple):
    """Pieces of a text, in order: int32[pieces] of characters each."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


class Strings(NamedTuple):
    """What stands between the quotes of strings, in order.

    Attributes:
      starts, ends: int32[strings], characters.
      num_chars: in all of them.
    """

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    num_chars: int


def quoted_strings(codes: NDArray[np.uint8]) -> Strings:
    """The contents of every string; an unclosed quote opens none.

    Args:
      codes: uint8[chars], a code as `characters` folds it.
    """
    return Strings(*_quoted(codes))


def long_lines(codes: NDArray[np.uint8], strings: Strings, tokens: int) -> int:
    """Lines of the strings with more than so many tokens: words, or runs of other signs."""
    if strings.num_chars <= tokens:
        return 0
    return _long_lines(codes, strings.starts, strings.ends, tokens, IS_SPACE, IS_WORD)


def long_words(codes: NDArray[np.uint8], strings: Strings, length: int) -> Pieces:
    """Words between white space in the strings that are longer than `length` characters."""
    most = strings.num_chars // length
    starts, ends = np.empty(most, np.int32), np.empty(most, np.int32)
    found = 0
    if most:
        found = _long_words(codes, strings.starts, strings.ends, length, IS_SPACE, starts, ends)
    return Pieces(starts[:found], ends[:found])


def may_join_strings(codes: NDArray[np.uint8]) -> bool:
    """Whether a `+` stands between two quotes, white space aside."""
    return _joins_quotes(codes, IS_SPACE)


@compiled
def _quoted(
    codes: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    size = codes.size
    quotes = 0
    for i in range(size):
        quotes += (codes[i] == _DOUBLE) | (codes[i] == _SINGLE)
    starts, ends = np.empty(quotes // 2, np.int32), np.empty(quotes // 2, np.int32)
    found = characters = i = 0
    closed_double = closed_single = True  # whether a triple quote may still be closed
    while i < size:
        quote = codes[i]
        if quote == _BACKSLASH:
            i += 2 if i + 1 < size and codes[i + 1] != _NEWLINE else 1
        elif quote != _DOUBLE and quote != _SINGLE:
            i += 1
        elif i + 2 < size and codes[i + 1] == quote and codes[i + 2] == quote:
            i += 3
            may_close = closed_double if quote == _DOUBLE else closed_single
            end = _triple(codes, i, quote) if may_close else -1
            if end >= 0:
                starts[found], ends[found] = i, end
                found += 1
                characters += end - i
                i = end + 3
            elif quote == _DOUBLE:
                closed_double = False
            else:
                closed_single = False
        else:
            end = _closing(codes, i + 1, quote)
            if end >= 0:
                starts[found], ends[found] = i + 1, end
                found += 1
                characters += end - i - 1
                i = end
            i += 1
    return starts[:found].copy(), ends[:found].copy(), characters


@compiled
def _triple(codes: NDArray[np.uint8], start: int, quote: np.uint8) -> int:
    """Where the next three quotes begin; -1 if nowhere."""
    for i in range(start, codes.size - 2):
        if codes[i] == quote and codes[i + 1] == quote and codes[i + 2] == quote:
            return i
    return -1


@compiled
def _closing(codes: NDArray[np.uint8], start: int, quote: np.uint8) -> int:
    """Where the quote on this line is that no backslash escapes; -1 if nowhere."""
    i = start
    while i < codes.size and codes[i] != _NEWLINE:
        if codes[i] == quote:
            return i
        if codes[i] == _BACKSLASH:
            i += 1
            if i < codes.size and codes[i] == _NEWLINE:
                return -1
        i += 1
    return -1


@compiled
def _long_lines(
    codes: NDArray[np.uint8],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    most_tokens: int,
    is_space: NDArray[np.uint8],
    is_word: NDArray[np.uint8],
) -> int:
    lines = 0
    for string in range(starts.size):
        if ends[string] - starts[string] <= most_tokens:
            continue
        tokens = 0
        before = 0  # kind of the character before: 0 white space, 1 of a word, 2 another
        for i in range(starts[string], ends[string]):
            code = codes[i]
            if code == _NEWLINE:
                lines += tokens > most_tokens
                tokens = 0
            kind = 0 if is_space[code] else 1 if is_word[code] else 2
            tokens += kind != before and kind != 0
            before = kind
        lines += tokens > most_tokens
    return lines


@compiled
def _long_words(
    codes: NDArray[np.uint8],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    length: int,
    is_space: NDArray[np.uint8],
    word_starts: NDArray[np.int32],
    word_ends: NDArray[np.int32],
) -> int:
    found = 0
    for string in range(starts.size):
        begin = starts[string]
        for i in range(starts[string], ends[string] + 1):
            if i == ends[string] or is_space[codes[i]]:
                if i - begin > length:
                    word_starts[found], word_ends[found] = begin, i
                    found += 1
                begin = i + 1
    return found


@compiled
def _joins_quotes(codes: NDArray[np.uint8], is_space: NDArray[np.uint8]) -> bool:
    size = codes.size
    quote = np.uint8(0)  # the quote that only white space follows so far, or 0
    joined = False  # whether then a `+` came
    for i in range(size):
        code = codes[i]
        if code in (_DOUBLE, _SINGLE):
            if joined:
                return True
            quote = code
        elif code == _PLUS and quote and not joined:
            joined = True
        elif not is_space[code]:
            quote, joined = np.uint8(0), False
    return False
