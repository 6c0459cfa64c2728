"""Normalised text and words, as the rules on words and n-grams see a document.

Normalising makes `Foo_bar(baz)` the words `foo bar baz`: control characters, odd spaces,
ASCII punctuation and its typographic and full-width forms become spaces, letters lower
case, and NFKC folds what is left. Words are runs of letters, digits and marks, or of
other visible characters; Chinese is cut by jieba after conversion to simplified
characters, Japanese where the script changes. `document` asks for both kinds of words.
"""

import functools
import re
import string
import unicodedata
import warnings
from collections.abc import Callable

# Beyond are ideographs, and selectors that no text has.
_LAST_MARK = 0x1FFFF


def _combining_marks() -> str:
    """All combining marks (Unicode category M) as ranges of a character set.

    `\\w` leaves them out, and would cut words at every vowel sign in Indic scripts.
    """
    marks = [
        code for code in range(_LAST_MARK + 1) if unicodedata.category(chr(code)).startswith("M")
    ]
    ranges: list[list[int]] = []
    for code in marks:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


# The joiners belong to words too: scripts of India and Persia have them inside.
_MARKS = _combining_marks() + "\u200c\u200d"
_WORD = re.compile(rf"[\w{_MARKS}]+|[^\w\s{_MARKS}]+")
# A run of one script is near to a word, and needs no dictionary of 50 MB.
_JAPANESE_WORD = re.compile(
    r"[\u4e00-\u9fff\u3005]+|[\u3040-\u309f]+|[\u30a0-\u30ff]+"
    r"|[^\W\u3005\u3040-\u30ff\u4e00-\u9fff]+|[^\w\s]+"
)
_CONTROL = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA1), 0x200B, 0x2060, 0xFEFF]))
# Full-width forms of ASCII's, and the quotation marks and stops of Chinese. Dashes are words.
_WIDE_PUNCTUATION = (
    "".join(chr(ord(c) + 0xFEE0) for c in string.punctuation) + "。、《》【】「」“”‘’"
)
_SEPARATORS = frozenset(string.punctuation + _CONTROL + _WIDE_PUNCTUATION)
_ASCII_TO_NORMALISED = bytes(
    ord(" ") if chr(code) in _SEPARATORS else ord(chr(code).lower()) for code in range(128)
) + bytes(range(128, 256))
_SEPARATOR = re.compile(f"[{re.escape(''.join(sorted(_SEPARATORS)))}]+")


def normalised_words(text: str, human_language: str) -> list[str]:
    """Words of the normalised text, in order."""
    if text.isascii():
        return text.encode().translate(_ASCII_TO_NORMALISED).decode().split()
    normalised = unicodedata.normalize("NFKC", _SEPARATOR.sub(" ", text).lower())
    return raw_words(normalised, human_language)


def raw_words(text: str, human_language: str) -> list[str]:
    """Words of the text as it is, in order."""
    if human_language == "zh":
        to_simplified, cut = _chinese()
        words = (w for line in text.splitlines() for w in cut(to_simplified(line, "zh-cn")))
        return [word for word in words if not word.isspace()]
    if human_language == "ja":
        return _JAPANESE_WORD.findall(text)
    return _WORD.findall(text)


@functools.cache
def _chinese() -> tuple[Callable[[str, str], str], Callable[[str], list[str]]]:
    # Their dictionaries take a second to load, and most corpora's documents need neither.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # jieba 0.42 has invalid escapes.
        import jieba
        import zhconv

    jieba.setLogLevel("WARNING")
    return zhconv.convert, jieba.lcut
