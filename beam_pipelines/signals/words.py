"""Normalised text and words, as the rules on words and n-grams see a document.

Normalising makes `Foo_bar(baz)` the words `foo bar baz`: control characters, odd spaces,
ASCII punctuation and its typographic and full-width forms become spaces, letters lower
case, and NFKC folds what is left. Words are runs of letters, digits and marks, or of
other visible characters; Chinese is cut by jieba after conversion to simplified
characters, Japanese where the script changes. `document` asks for both kinds of words.
Where no dictionary is needed, words are cut and told apart by the compiled passes of `scan`.
"""

import collections
import dataclasses
import functools
import re
import string
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.signals.characters import (
    IS_SPACE,
    IS_WORD_OR_MARK,
    code_points,
    code_units,
    folded,
)
from beam_pipelines.signals.scan import numbered_runs

# A run of one script is near to a word, and needs no dictionary of 50 MB.
_JAPANESE_WORD = re.compile(
    r"[\u4e00-\u9fff\u3005]+|[\u3040-\u309f]+|[\u30a0-\u30ff]+"
    r"|[^\W\u3005\u3040-\u30ff\u4e00-\u9fff]+|[^\w\s]+"
)
# jieba takes each block of these by itself, and every other character for a word.
_CHINESE_BLOCK = re.compile(r"[\u4e00-\u9fd5a-zA-Z0-9+#&._%\-]+|\S")
_LONGEST_REMEMBERED = 100
# A sentence is shorter; jieba takes hundreds of bytes for each character of one.
_LONGEST_BLOCK = 5000
_CONTROL = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA1), 0x200B, 0x2060, 0xFEFF]))
# Full-width forms of ASCII's, and the quotation marks and stops of Chinese. Dashes are words.
_WIDE_PUNCTUATION = (
    "".join(chr(ord(c) + 0xFEE0) for c in string.punctuation) + "。、《》【】「」“”‘’"
)
_SEPARATORS = frozenset(string.punctuation + _CONTROL + _WIDE_PUNCTUATION)
_ASCII_TO_NORMALISED = bytes(
    ord(" ") if chr(code) in _SEPARATORS else ord(chr(code).lower()) for code in range(128)
) + bytes(range(128, 256))
# Kinds of characters for `scan.runs`: word characters with marks, other visible ones.
_WORD_KINDS = np.where(IS_SPACE == 1, 0, np.where(IS_WORD_OR_MARK == 1, 1, 2)).astype(np.uint8)


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """The words of a text, in order.

    Attributes:
      ids: int32[words], equal for equal words, in order of first occurrence.
      lengths: int32[words], characters of each word.
      num_distinct: how many different words there are.
      num_chars: in all of them.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    num_distinct: int
    num_chars: int

    def __len__(self) -> int:
        return len(self.ids)


def normalised_words(text: str, human_language: str) -> Words:
    """Words of the normalised text."""
    if text.isascii():
        codes = np.frombuffer(text.encode().translate(_ASCII_TO_NORMALISED), np.uint8)
        return _words(codes, codes)
    normalised = _normalised(text)
    if human_language in ("zh", "ja"):
        return words_of(_cut(normalised, human_language))
    return _words(folded(normalised), code_units(normalised))


def words_of(words: Sequence[str]) -> Words:
    """The words of a text that is cut already."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    ids = np.fromiter(map(numbers.__getitem__, words), np.int32, len(words))
    lengths = np.fromiter(map(len, words), np.int32, len(words))
    return Words(ids, lengths, len(numbers), int(lengths.sum()))


def raw_word_counts(text: str, codes: NDArray[np.uint8], human_language: str) -> Mapping[str, int]:
    """How often each word of the text as it is occurs.

    Args:
      text: any text.
      codes: uint8[chars], the text as `characters.folded` gives it.
      human_language: ISO 639 code.
    """
    if human_language in ("zh", "ja"):
        return collections.Counter(_cut(text, human_language))
    found = numbered_runs(codes, code_units(text), _WORD_KINDS)
    starts = found.first_starts.tolist()
    ends = (found.first_starts + found.first_lengths).tolist()
    words = (text[start:end] for start, end in zip(starts, ends, strict=True))
    return dict(zip(words, found.counts.tolist(), strict=True))


def _words(codes: NDArray[np.uint8], units: NDArray[np.uint8] | NDArray[np.uint32]) -> Words:
    found = numbered_runs(codes, units, _WORD_KINDS)
    return Words(found.ids, found.lengths, len(found.counts), found.num_chars)


def _normalised(text: str) -> str:
    codes = _separators_to_spaces()[code_points(text)]
    return unicodedata.normalize(
        "NFKC", codes.tobytes().decode("utf-32-le", "surrogatepass").lower()
    )


def _cut(text: str, human_language: str) -> list[str]:
    """Words of Chinese or Japanese, in order."""
    if human_language == "ja":
        return _JAPANESE_WORD.findall(text)
    to_simplified, _ = _chinese()
    words: list[str] = []
    for line in text.splitlines():
        for block in _CHINESE_BLOCK.findall(to_simplified(line, "zh-cn")):
            if len(block) == 1:
                words.append(block)
            elif len(block) <= _LONGEST_REMEMBERED:
                words += _words_of_block(block)
            else:
                for start in range(0, len(block), _LONGEST_BLOCK):
                    words += _chinese()[1](block[start : start + _LONGEST_BLOCK])
    return words


@functools.lru_cache(maxsize=32_768)  # most blocks come again in the normalised text
def _words_of_block(block: str) -> tuple[str, ...]:
    return tuple(_chinese()[1](block))


@functools.cache
def _separators_to_spaces() -> NDArray[np.uint32]:
    """uint32[code points]: the code point itself, that of a space for separators."""
    codes = np.arange(0x110000, dtype=np.uint32)
    codes[[ord(separator) for separator in _SEPARATORS]] = ord(" ")
    return codes


@functools.cache
def _chinese() -> tuple[Callable[[str, str], str], Callable[[str], list[str]]]:
    # Their dictionaries take a second to load, and most corpora's documents need neither.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # jieba 0.42 has invalid escapes.
        import jieba
        import zhconv

    jieba.setLogLevel("WARNING")
    return zhconv.convert, jieba.lcut
