"""Runs of encoded data: base64, lists of bytes in hex, `\\u` escapes.

A compiled pass finds the base64 and tells whether there may be a list of bytes; few texts
have to be searched with the patterns. It looks at every 64th character of a text without
base64, and at every 23rd of one without anything like a list of bytes.
"""

import re
import string

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled
from beam_pipelines.signals import characters

_BASE64_RUN = 64
_HEX = "[0-9a-fA-F]"
_NEXT_HEX_BYTE = rf"(?:,|\b)\s*+(?:(?:\\x|0x)?{_HEX}{{2}}(?:,|\b)\s*+){{7,}}+"
# Begins with a set of characters so that `re` skips to what can begin a byte.
_HEX_BYTES = re.compile(
    rf"[\\0-9a-fA-F](?<!\w.)(?:(?<=[\\0])x{_HEX}{{2}}|(?<={_HEX}){_HEX}){_NEXT_HEX_BYTE}"
)
_MIN_HEX_BYTES = 8
_MIN_HEX_RUN = 3 * _MIN_HEX_BYTES - 1  # two digits each, and at least one sign between
_UNICODE_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}+")

# What a character may be part of, as bits. `x` is part of no word: hex digits may follow it.
_BASE64, _HEX_DIGIT, _WORD, _BETWEEN_BYTES = 1, 2, 4, 8
_ALPHANUMERIC = string.ascii_letters + string.digits
_KINDS = (
    _BASE64 * characters.table(_ALPHANUMERIC + "+/=\n")
    | _HEX_DIGIT * characters.table(string.hexdigits)
    | _WORD * characters.table(_ALPHANUMERIC.replace("x", "") + "_")
    | _BETWEEN_BYTES * (characters.table(",\\x0") | characters.IS_SPACE)
)
_IN_HEX_RUN = (_KINDS & (_HEX_DIGIT | _BETWEEN_BYTES) != 0).astype(np.uint8)


def encoded_runs(text: str, codes: NDArray[np.uint8]) -> tuple[int, int]:
    """Characters of the longest run of encoded data, and of all runs together.

    Args:
      text: any text.
      codes: uint8[chars], the text as `characters` folds it.
    """
    longest, total, may_be_hex = _scan(codes, _KINDS, _IN_HEX_RUN)
    others: list[int] = []
    if may_be_hex:
        others += (match.end() - match.start() for match in _HEX_BYTES.finditer(text))
    if "\\u" in text:
        others += map(len, _UNICODE_ESCAPES.findall(text))
    return max([longest, *others]), total + sum(others)


@compiled
def _scan(
    codes: NDArray[np.uint8], kinds: NDArray[np.uint8], in_hex_run: NDArray[np.uint8]
) -> tuple[int, int, bool]:
    """(longest, total) of the runs of base64 of at least 64 characters, newlines included; and
    whether eight words of two hex digits stand in a row somewhere, with nothing between them
    that may not stand between bytes."""
    longest = total = start = 0
    while start + _BASE64_RUN <= codes.size:
        # Backwards from where the shortest run would end: what is no base64 there is passed over.
        i = start + _BASE64_RUN - 1
        while i >= start and kinds[codes[i]] & _BASE64:
            i -= 1
        if i >= start:
            start = i + 1
            continue
        end = start + _BASE64_RUN
        while end < codes.size and kinds[codes[end]] & _BASE64:
            end += 1
        longest = max(longest, end - start)
        total += end - start
        start = end
    start = 0
    while start + _MIN_HEX_RUN <= codes.size:
        i = start + _MIN_HEX_RUN - 1
        while i >= start and in_hex_run[codes[i]]:
            i -= 1
        if i >= start:
            start = i + 1
            continue
        end = start + _MIN_HEX_RUN
        while end < codes.size and in_hex_run[codes[end]]:
            end += 1
        if _bytes_in_a_row(codes, start, end, kinds) >= _MIN_HEX_BYTES:
            return longest, total, True
        start = end
    return longest, total, False


@compiled
def _bytes_in_a_row(
    codes: NDArray[np.uint8], start: int, end: int, kinds: NDArray[np.uint8]
) -> int:
    """How many words of two hex digits stand in a row at most in a run of what may be in one.

    A word at an end of the run may go on beyond it; the pattern decides.
    """
    row = longest_row = 0
    word = digits = 0  # lengths of the word that ends here, and its hex digits
    between = False  # whether all of the word may stand between bytes
    for i in range(start, end + 1):
        kind = kinds[codes[i]] if i < end else np.uint8(0)
        if kind & _WORD:
            between = (between or word == 0) and kind & _BETWEEN_BYTES != 0
            word += 1
            digits += kind & _HEX_DIGIT != 0
            continue
        if word == 2 and digits == 2:
            row += 1
            longest_row = max(longest_row, row)
        elif word and not between:
            row = 0
        word = digits = 0
    return longest_row
