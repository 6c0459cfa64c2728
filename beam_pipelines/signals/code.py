"""Signals of code and data files: the `qsc_code_*` rules (paper Table 11).

They look for files that are generated, encoded, mostly comments, mostly strings, or
laid out as no one writes code. Shares of lines are of the lines of the code without
comments, unless a docstring says otherwise. Python alone of all languages has its
`#` and docstrings counted in a way of its own.
"""

import collections
import re
import string

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import frac_chars_alphabet, share
from beam_pipelines.signals.registry import add_signal, signal
from beam_pipelines.signals.text import hex_word_chars

_AUTOGEN_WINDOW = 200
_XML_WINDOW = 100
_LONG_STRING_TOKENS = 20
_LONG_WORD = 20
_LONG_RUN = 1024
_BASE64_RUN = 64
_RUN_SHARE = 0.5

# A header that says so; "generate" alone is also what ordinary code does.
_AUTOGEN = re.compile(
    r"\bauto-?gen(?:erated?)?\b"
    r"|\bautomatically[ -]generated\b"
    r"|\bcode generated\b"
    r"|\bgenerated[ _](?:automatically|by|code|file|from|on|using|via|with)\b"
    r"|@generated\b"
    r"|\bdo not (?:edit|modify)\b",
    re.IGNORECASE,
)
_PROMPT_MARKERS = ("your code here", "fixme", "todo")
_PROMPT = re.compile(rf"\b(?:{'|'.join(_PROMPT_MARKERS)})\b")
_TOKEN = re.compile(r"\w+|[^\w\s]+")
_URL = re.compile(r"https?://|ftp://|www\.")
_QUOTED = r"""(?:"[^"\n]*+"|'[^'\n]*+')"""
_STRING_CONCAT = re.compile(rf"=\s*+{_QUOTED}\s*+\+\s*+{_QUOTED}")
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
_CLASSES = bytes(
    _BASE64 * (chr(code) in _ALPHANUMERIC + "+/=\n")
    | _HEX_DIGIT * (chr(code) in string.hexdigits)
    | _WORD * (chr(code) in _ALPHANUMERIC.replace("x", "") + "_")
    for code in range(256)
)

add_signal("qsc_code_frac_chars_alphabet", "code", frac_chars_alphabet)


@signal("qsc_code_size_file_byte", "code")
def size_file_byte(document: ParsedDocument) -> float:
    return document.size_bytes


@signal("qsc_code_num_chars_line_max", "code")
def num_chars_line_max(document: ParsedDocument) -> float:
    """Of the raw lines, with their newline."""
    return int(document.line_lengths.max(initial=0))


@signal("qsc_code_num_chars_line_mean", "code")
def num_chars_line_mean(document: ParsedDocument) -> float | None:
    return share(len(document.text), len(document.line_lengths), of_nothing=0.0)


@signal("qsc_code_frac_lines_dupe_lines", "code")
def frac_lines_dupe_lines(document: ParsedDocument) -> float | None:
    """Lines that occur twice once white space is gone; `},` and single characters are free."""
    lines = document.compact_code_lines
    repeated = sum(
        count
        for line, count in collections.Counter(lines).items()
        if count > 1 and len(line) > 1 and line != "},"
    )
    return share(repeated, len(lines))


@signal("qsc_code_frac_chars_comments", "code")
def frac_chars_comments(document: ParsedDocument) -> float | None:
    """Of Python the docstrings, one below the other, and the `#` comments without `#`."""
    if document.language != "python":
        return share(sum(map(len, document.comments)), len(document.text))
    hashes = "".join(c.replace("#", "").strip("\r") for c in document.comments if c[0] == "#")
    return share(len("\n".join([*document.docstrings, hashes]).strip()), len(document.text))


@signal("qsc_code_cate_xml_start", "code")
def cate_xml_start(document: ParsedDocument) -> float:
    return float("<?xml version=" in document.text[:_XML_WINDOW])


@signal("qsc_code_cate_autogen", "code")
def cate_autogen(document: ParsedDocument) -> float:
    return float(_AUTOGEN.search(document.text[:_AUTOGEN_WINDOW]) is not None)


@signal("qsc_code_frac_lines_long_string", "code")
def frac_lines_long_string(document: ParsedDocument) -> float | None:
    """Lines of quoted strings with more than 20 tokens."""
    long_pieces = sum(
        len(_TOKEN.findall(piece)) > _LONG_STRING_TOKENS
        for text in document.strings
        if len(text) > _LONG_STRING_TOKENS
        for piece in text.split("\n")
        if len(piece) > _LONG_STRING_TOKENS
    )
    return share(long_pieces, document.num_code_lines)


@signal("qsc_code_frac_chars_string_length", "code")
def frac_chars_string_length(document: ParsedDocument) -> float | None:
    return share(sum(map(len, document.strings)), len(document.code), of_nothing=0.0)


@signal("qsc_code_frac_chars_long_word_length", "code")
def frac_chars_long_word_length(document: ParsedDocument) -> float | None:
    """Words in strings that are longer than 20 characters and no addresses."""
    chars = sum(
        len(word)
        for text in document.strings
        if len(text) > _LONG_WORD
        for word in text.split()
        if len(word) > _LONG_WORD and not _URL.search(word)
    )
    return share(chars, len(document.code), of_nothing=0.0)


@signal("qsc_code_frac_lines_string_concat", "code")
def frac_lines_string_concat(document: ParsedDocument) -> float | None:
    concatenations = sum(
        _STRING_CONCAT.search(line) is not None for line in document.code_lines if "+" in line
    )
    return share(concatenations, document.num_code_lines)


@signal("qsc_code_cate_encoded_data", "code")
def cate_encoded_data(document: ParsedDocument) -> float:
    """Whether a run of base64, hex bytes or \\u escapes is long, or all are most of the file."""
    classes = np.frombuffer(document.ascii_codes.tobytes().translate(_CLASSES), np.uint8)
    runs = _base64_runs(classes)
    if _num_hex_pairs(classes) >= _MIN_HEX_BYTES:
        runs += (match.end() - match.start() for match in _HEX_BYTES.finditer(document.text))
    if "\\u" in document.text:
        runs += map(len, _UNICODE_ESCAPES.findall(document.text))
    if not runs:
        return 0.0
    return float(max(runs) > _LONG_RUN or sum(runs) > _RUN_SHARE * len(document.text))


def _base64_runs(classes: NDArray[np.uint8]) -> list[int]:
    """Lengths of runs of at least 64 characters of base64, newlines included."""
    inside = np.zeros(len(classes) + 2, np.int8)
    inside[1:-1] = classes & _BASE64
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    lengths = edges[1::2] - edges[::2]
    return lengths[lengths >= _BASE64_RUN].tolist()


def _num_hex_pairs(classes: NDArray[np.uint8]) -> int:
    """How many words are two hex digits: few texts have enough to be searched for bytes."""
    hex_digit = classes & _HEX_DIGIT
    word = np.zeros(len(classes) + 2, np.uint8)
    word[1:-1] = classes & _WORD
    pairs = hex_digit[:-1] & hex_digit[1:]
    return int(np.count_nonzero((pairs != 0) & ((word[:-3] | word[3:]) == 0)))


@signal("qsc_code_frac_chars_hex_words", "code")
def frac_chars_hex_words(document: ParsedDocument) -> float | None:
    return share(hex_word_chars(document.code), len(document.code), of_nothing=0.0)


@signal("qsc_code_frac_lines_prompt_comments", "code")
def frac_lines_prompt_comments(document: ParsedDocument) -> float | None:
    """Comment lines that leave work to do, of all lines."""
    prompts = sum(
        _PROMPT.search(line) is not None
        for comment in map(str.lower, document.comments)
        if any(marker in comment for marker in _PROMPT_MARKERS)
        for line in comment.split("\n")
    )
    return share(prompts, len(document.line_lengths))


@signal("qsc_code_frac_lines_assert", "code")
def frac_lines_assert(document: ParsedDocument) -> float | None:
    """Lines with an assertion; a part of a word too, for `assertEqual` and its like."""
    lines = sum("assert" in line for line in document.code.lower().split("\n"))
    return share(lines, document.num_code_lines)
