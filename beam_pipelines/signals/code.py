"""Signals of code and data files: the `qsc_code_*` rules (paper Table 11).

They look for files that are generated, encoded, mostly comments, mostly strings, or
laid out as no one writes code. Shares of lines are of the lines of the code without
comments, unless a docstring says otherwise. Python alone of all languages has its
`#` and docstrings counted in a way of its own.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.encoded import encoded_runs
from beam_pipelines.signals.general import frac_chars_alphabet, share
from beam_pipelines.signals.literals import Literals
from beam_pipelines.signals.quoting import long_lines, long_words, may_join_strings
from beam_pipelines.signals.registry import add_signal, signal
from beam_pipelines.signals.text import hex_word_chars

_AUTOGEN_WINDOW = 200
_XML_WINDOW = 100
_LONG_STRING_TOKENS = 20
_LONG_WORD = 20
_ASSERT = "assert"
_LONG_RUN = 1024
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
# One of them is in whatever the pattern finds.
_AUTOGEN_PARTS = ("gen", "do not")
_PROMPT_MARKERS = ("your code here", "fixme", "todo")
_PROMPT = re.compile(rf"\b(?:{'|'.join(_PROMPT_MARKERS)})\b")
_LITERALS = Literals((*_PROMPT_MARKERS, _ASSERT))
_URL = re.compile(r"https?://|ftp://|www\.")
_QUOTED = r"""(?:"[^"\n]*+"|'[^'\n]*+')"""
_STRING_CONCAT = re.compile(rf"=\s*+{_QUOTED}\s*+\+\s*+{_QUOTED}")

add_signal("qsc_code_frac_chars_alphabet", "code", frac_chars_alphabet)


@signal("qsc_code_size_file_byte", "code")
def size_file_byte(document: ParsedDocument) -> float:
    return document.size_bytes


@signal("qsc_code_num_chars_line_max", "code")
def num_chars_line_max(document: ParsedDocument) -> float:
    """Of the raw lines, with their newline."""
    return document.profile.longest_line


@signal("qsc_code_num_chars_line_mean", "code")
def num_chars_line_mean(document: ParsedDocument) -> float | None:
    return share(len(document.text), document.profile.lines, of_nothing=0.0)


@signal("qsc_code_frac_lines_dupe_lines", "code")
def frac_lines_dupe_lines(document: ParsedDocument) -> float | None:
    """Lines that occur twice once white space is gone; `},` and single characters are free."""
    lines = document.compact_code_lines
    return share(lines.repeated, lines.total)


@signal("qsc_code_frac_chars_comments", "code")
def frac_chars_comments(document: ParsedDocument) -> float | None:
    """Of Python the docstrings, one below the other, and the `#` comments without `#`."""
    if document.language != "python":
        return share(document.num_comment_chars, len(document.text))
    hashes = "".join(c.replace("#", "").strip("\r") for c in document.comments if c[0] == "#")
    return share(len("\n".join([*document.docstrings, hashes]).strip()), len(document.text))


@signal("qsc_code_cate_xml_start", "code")
def cate_xml_start(document: ParsedDocument) -> float:
    return float("<?xml version=" in document.text[:_XML_WINDOW])


@signal("qsc_code_cate_autogen", "code")
def cate_autogen(document: ParsedDocument) -> float:
    start = document.text[:_AUTOGEN_WINDOW]
    if not any(part in start.lower() for part in _AUTOGEN_PARTS):
        return 0.0
    return float(_AUTOGEN.search(start) is not None)


@signal("qsc_code_frac_lines_long_string", "code")
def frac_lines_long_string(document: ParsedDocument) -> float | None:
    """Lines of quoted strings with more than 20 tokens."""
    lines = long_lines(document.code_codes, document.strings, _LONG_STRING_TOKENS)
    return share(lines, document.num_code_lines)


@signal("qsc_code_frac_chars_string_length", "code")
def frac_chars_string_length(document: ParsedDocument) -> float | None:
    return share(document.strings.num_chars, len(document.code), of_nothing=0.0)


@signal("qsc_code_frac_chars_long_word_length", "code")
def frac_chars_long_word_length(document: ParsedDocument) -> float | None:
    """Words in strings that are longer than 20 characters and no addresses."""
    words = long_words(document.code_codes, document.strings, _LONG_WORD)
    chars = sum(
        end - start
        for start, end in zip(words.starts.tolist(), words.ends.tolist(), strict=True)
        if not _URL.search(document.code, start, end)
    )
    return share(chars, len(document.code), of_nothing=0.0)


@signal("qsc_code_frac_lines_string_concat", "code")
def frac_lines_string_concat(document: ParsedDocument) -> float | None:
    if not may_join_strings(document.code_codes):
        return share(0, document.num_code_lines)
    code = document.code
    concatenations = 0
    plus = code.find("+")
    while plus >= 0:
        end_of_line = code.find("\n", plus)
        end_of_line = len(code) if end_of_line < 0 else end_of_line
        line = code.rfind("\n", 0, plus) + 1
        concatenations += _STRING_CONCAT.search(code[line:end_of_line]) is not None
        plus = code.find("+", end_of_line)
    return share(concatenations, document.num_code_lines)


@signal("qsc_code_cate_encoded_data", "code")
def cate_encoded_data(document: ParsedDocument) -> float:
    """Whether a run of base64, hex bytes or \\u escapes is long, or all are most of the file."""
    longest, total = encoded_runs(document.text, document.codes)
    return float(longest > _LONG_RUN or total > _RUN_SHARE * len(document.text))


@signal("qsc_code_frac_chars_hex_words", "code")
def frac_chars_hex_words(document: ParsedDocument) -> float | None:
    return share(hex_word_chars(document.code), len(document.code), of_nothing=0.0)


@signal("qsc_code_frac_lines_prompt_comments", "code")
def frac_lines_prompt_comments(document: ParsedDocument) -> float | None:
    """Comment lines that leave work to do, of all lines."""
    markers = document.once(_words_of_work).intersection(_PROMPT_MARKERS)
    if not markers:
        return share(0, document.profile.lines)
    places = np.sort(np.concatenate([_places(document.lowered, word) for word in markers]))
    prompts = sum(
        _PROMPT.search(line) is not None
        for comment in document.comments_at(places)
        for line in comment.lower().split("\n")
    )
    return share(prompts, document.profile.lines)


@signal("qsc_code_frac_lines_assert", "code")
def frac_lines_assert(document: ParsedDocument) -> float | None:
    """Lines with an assertion; a part of a word too, for `assertEqual` and its like."""
    lines = 0
    # None in the text, none in the code.
    if _ASSERT in document.once(_words_of_work):
        word = _ASSERT.encode()
        lowered = document.code_codes.tobytes().lower()
        position = lowered.find(word)
        while position >= 0:
            lines += 1
            end_of_line = lowered.find(b"\n", position)
            position = lowered.find(word, end_of_line) if end_of_line >= 0 else -1
    return share(lines, document.num_code_lines)


def _words_of_work(document: ParsedDocument) -> frozenset[str]:
    """To-do markers and `assert`, those that the text has in whatever case."""
    return _LITERALS.present(document.lowered)


def _places(text: bytes, word: str) -> NDArray[np.int32]:
    """int32[occurrences]: where the word stands."""

    def places() -> Iterator[int]:
        place = text.find(word.encode())
        while place >= 0:
            yield place
            place = text.find(word.encode(), place + 1)

    return np.fromiter(places(), np.int32)
