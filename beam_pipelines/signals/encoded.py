"""Runs of encoded data: base64, lists of bytes in hex, `\\u` escapes.

A compiled pass finds the base64 and counts what may be hex bytes; few texts have enough
of either to be searched with the patterns.
"""

import re
import string

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled

_BASE64_RUN = 64
_HEX = "[0-9a-fA-F]"
_NEXT_HEX_BYTE = rf"(?:,|\b)\s*+(?:(?:\\x|0x)?{_HEX}{{2}}(?:,|\b)\s*+){{7,}}+"
# Begins with a set of characters so that `re` skips to what can begin a byte.
_HEX_BYTES = re.compile(
    rf"[\\0-9a-fA-F](?<!\w.)(?:(?<=[\\0])x{_HEX}{{2}}|(?<={_HEX}){_HEX}){_NEXT_HEX_BYTE}"
)
_MIN_HEX_BYTES = 8
_UNICODE_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}+")

_ALPHANUMERIC = string.ascii_letters + string.digits
# Bits of a character's class, so that one pass over the text tells them all. `x` is none of
# a word's: hex digits may follow it.
_BASE64, _HEX_DIGIT, _WORD = 1, 2, 4
_CLASSES = np.array(
    [
        _BASE64 * (chr(code) in _ALPHANUMERIC + "+/=\n")
        | _HEX_DIGIT * (chr(code) in string.hexdigits)
        | _WORD * (chr(code) in _ALPHANUMERIC.replace("x", "") + "_")
        for code in range(256)
    ],
    np.uint8,
)


def encoded_runs(text: str, codes: NDArray[np.uint8]) -> tuple[int, int]:
    """Characters of the longest run of encoded data, and of all runs together.

    Args:
      text: any text.
      codes: uint8[chars], the text as `characters` folds it.
    """
    longest, total, hex_pairs = _scan(codes, _CLASSES, _BASE64_RUN)
    others: list[int] = []
    if hex_pairs >= _MIN_HEX_BYTES:
        others += (match.end() - match.start() for match in _HEX_BYTES.finditer(text))
    if "\\u" in text:
        others += map(len, _UNICODE_ESCAPES.findall(text))
    return max([longest, *others]), total + sum(others)


@compiled
def _scan(
    codes: NDArray[np.uint8], classes: NDArray[np.uint8], shortest: int
) -> tuple[int, int, int]:
    """(longest, total) of the runs of base64 of at least `shortest` characters, newlines
    included; and how many words are two hex digits."""
    longest = total = hex_pairs = 0
    run = word = 0  # lengths of the run and of the word that end here
    digits = 0  # how many of the word's characters are hex digits
    for i in range(codes.size):
        kind = classes[codes[i]]
        if kind & _BASE64:
            run += 1
        elif run:
            if run >= shortest:
                longest = max(longest, run)
                total += run
            run = 0
        if kind & _WORD:
            word += 1
            digits += (kind & _HEX_DIGIT) >> 1
        elif word:
            hex_pairs += word == 2 and digits == 2
            word = digits = 0
    if run >= shortest:
        longest = max(longest, run)
        total += run
    hex_pairs += word == 2 and digits == 2
    return longest, total, hex_pairs
