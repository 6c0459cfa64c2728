"""Runs of encoded data: base64, lists of bytes in hex, `\\u` escapes.

A compiled pass finds the base64 and tells whether there may be a list of bytes; few texts
have to be searched with the patterns.
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


def encoded_runs(text: str, codes: NDArray[np.uint8]) -> tuple[int, int]:
    """Characters of the longest run of encoded data, and of all runs together.

    Args:
      text: any text.
      codes: uint8[chars], the text as `characters` folds it.
    """
    longest, total, hex_bytes = _scan(codes, _KINDS, _BASE64_RUN)
    others: list[int] = []
    if hex_bytes >= _MIN_HEX_BYTES:
        others += (match.end() - match.start() for match in _HEX_BYTES.finditer(text))
    if "\\u" in text:
        others += map(len, _UNICODE_ESCAPES.findall(text))
    return max([longest, *others]), total + sum(others)


@compiled
def _scan(
    codes: NDArray[np.uint8], kinds: NDArray[np.uint8], shortest: int
) -> tuple[int, int, int]:
    """(longest, total) of the runs of base64 of at least `shortest` characters, newlines
    included; and how many words of two hex digits stand in a row at most, with nothing
    between them that may not stand between bytes."""
    longest = total = row = longest_row = 0
    run = word = digits = 0  # lengths of the run and the word that end here; its hex digits
    between = False  # whether all of the word may stand between bytes
    for i in range(codes.size + 1):
        kind = kinds[codes[i]] if i < codes.size else np.uint8(0)
        if kind & _BASE64:
            run += 1
        elif run:
            if run >= shortest:
                longest = max(longest, run)
                total += run
            run = 0
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
        if not kind & _BETWEEN_BYTES:
            row = 0
        word = digits = 0
    return longest, total, longest_row
