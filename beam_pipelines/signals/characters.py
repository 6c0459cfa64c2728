"""One byte per character: what the compiled passes over a text read.

ASCII stands for itself; of any other character only its kind is kept, as a sum of bits.
So every pass works on bytes with tables of 256 entries, whatever the script, and
position i of the bytes is position i of the text. A million entries say which kind each
code point is; they are made when the first text that is not ASCII comes. Next: `scan`.
"""

import functools
import re
import string
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled

# Kinds of characters that are not ASCII, as Python's `str` and `re` tell them.
NOT_ASCII = 128
_SPACE, _LETTER, _DIGIT, _WORD, _MARK, _REPLACEMENT = 1, 2, 4, 8, 16, 32
_LAST_CODE_POINT = 0x10FFFF
# Beyond are ideographs, and selectors that no text has.
_LAST_MARK = 0x1FFFF
# They belong to words too: scripts of India and Persia have them inside.
_JOINERS = "\u200c\u200d"
REPLACEMENT = NOT_ASCII | _REPLACEMENT  # U+FFFD, which decoders put for what is not text


def table(ascii_characters: str, kinds: int = 0) -> NDArray[np.uint8]:
    """uint8[256]: 1 for these characters of ASCII and for bytes of any of these kinds."""
    return np.array(
        [
            chr(code) in ascii_characters if code < NOT_ASCII else bool(code & kinds)
            for code in range(256)
        ],
        np.uint8,
    )


_ASCII_SPACE = "".join(filter(str.isspace, map(chr, range(128))))
_ASCII_WORD = string.ascii_letters + string.digits + "_"
IS_SPACE = table(_ASCII_SPACE, _SPACE)
IS_LETTER = table(string.ascii_letters, _LETTER)
IS_DIGIT = table(string.digits, _DIGIT)
# What a run of word characters is made of; with the combining marks, without which `\w`
# would cut words at every vowel sign in Indic scripts.
IS_WORD = table(_ASCII_WORD, _WORD)
IS_WORD_OR_MARK = table(_ASCII_WORD, _WORD | _MARK)


def folded(text: str) -> NDArray[np.uint8]:
    """uint8[chars], read-only: a byte for each character."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    codes = code_points(text)
    kinds = np.empty(len(codes), np.uint8)
    _look_up(codes, _kinds(), kinds)
    return read_only(kinds)


def code_points(text: str) -> NDArray[np.uint32]:
    """uint32[chars], read-only: the code point of each character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def code_units(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """[chars], read-only: numbers that tell characters apart, in as few bytes as will do."""
    return np.frombuffer(text.encode(), np.uint8) if text.isascii() else code_points(text)


def read_only[Array: NDArray[Any]](array: Array) -> Array:
    """The array itself; compiled functions are compiled for read-only ones, not for both."""
    array.flags.writeable = False
    return array


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """uint8[code points]: the byte that stands for each."""
    text = np.arange(_LAST_CODE_POINT + 1, dtype="<u4").tobytes().decode("utf-32", "surrogatepass")
    kinds = np.full(len(text), NOT_ASCII, np.uint8)
    for kind, pattern in ((_SPACE, r"\s+"), (_WORD, r"\w+")):
        for run in re.finditer(pattern, text):
            kinds[run.start() : run.end()] |= kind
    # Whatever is a letter or a digit belongs to words.
    words = np.flatnonzero(kinds & _WORD)
    characters = [text[code] for code in words.tolist()]
    for kind, holds in ((_LETTER, str.isalpha), (_DIGIT, str.isdigit)):
        kinds[words[np.fromiter(map(holds, characters), bool, len(words))]] |= kind
    kinds[[c for c in range(_LAST_MARK + 1) if unicodedata.category(chr(c))[0] == "M"]] |= _MARK
    kinds[[ord(joiner) for joiner in _JOINERS]] |= _MARK
    kinds[0xFFFD] = REPLACEMENT
    kinds[:NOT_ASCII] = np.arange(NOT_ASCII)
    return read_only(kinds)


@compiled
def _look_up(codes: NDArray[np.uint32], kinds: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
    for i in range(codes.size):
        found[i] = kinds[codes[i]]
