"""Plain twins of the compiled passes over a text: strings, patterns and dictionaries.

Slow and short; `test_scans` holds the compiled ones beside them.
"""

import collections
import re
import unicodedata
from collections.abc import Sequence

from beam_pipelines.signals.words import _SEPARATORS

_MARKS = "".join(
    chr(code) for code in range(0x20000) if unicodedata.category(chr(code)).startswith("M")
)
_WORD = re.compile(rf"[\w{_MARKS}\u200c\u200d]+|[^\w\s{_MARKS}\u200c\u200d]+")
_TOKEN = re.compile(r"\w+|[^\w\s]+")
_QUOTE = re.compile(
    r"""[\\"'](?:(?<=\\).|(?P<triple>(?<=")""|(?<=')'')"""
    r"""|(?<=")[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|(?<=')[^'\\\n]*+(?:\\.[^'\\\n]*+)*+')"""
)
_BASE64 = re.compile(r"[a-zA-Z0-9+/=\n]{64,}")
_HEX_BYTES = re.compile(
    r"(?<!\w)(?:\\x|0x)?[0-9a-fA-F]{2}(?:,|\b)\s*+"
    r"(?:(?:\\x|0x)?[0-9a-fA-F]{2}(?:,|\b)\s*+){7,}+"
)
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}+")


def normalised_words(text: str) -> list[str]:
    spaced = "".join(" " if character in _SEPARATORS else character for character in text)
    return _WORD.findall(unicodedata.normalize("NFKC", spaced.lower()))


def raw_words(text: str) -> list[str]:
    return _WORD.findall(text)


def line_sizes(text: str) -> tuple[int, int]:
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    return len(lines), max(map(len, lines), default=0)


def repeated_lines(lines: Sequence[str], exempt: bool) -> tuple[int, int, int, int]:
    """The four numbers of `lines.Lines`."""
    lines = [line for line in lines if line]
    repeated = [
        line
        for line in lines
        if lines.count(line) > 1 and not (exempt and (len(line) == 1 or line == "},"))
    ]
    return len(lines), sum(map(len, lines)), len(repeated), sum(map(len, repeated))


def quoted_strings(code: str) -> list[str]:
    found: list[str] = []
    position = 0
    while match := _QUOTE.search(code, position):
        position = match.end()
        if match["triple"] is None:
            if not match[0].startswith("\\"):
                found.append(match[0][1:-1])
            continue
        end = code.find(match[0], position)
        if end != -1:
            found.append(code[position:end])
            position = end + 3
    return found


def long_lines(strings: Sequence[str], tokens: int) -> int:
    pieces = [piece for text in strings for piece in text.split("\n")]
    return sum(len(_TOKEN.findall(piece)) > tokens for piece in pieces)


def long_words(strings: Sequence[str], length: int) -> list[str]:
    return [word for text in strings for word in text.split() if len(word) > length]


def encoded_runs(text: str) -> tuple[int, int]:
    runs = [*_BASE64.findall(text), *(m[0] for m in _HEX_BYTES.finditer(text))]
    lengths = [len(run) for run in (*runs, *_ESCAPES.findall(text))]
    return max(lengths, default=0), sum(lengths)


def ngram_shares(words: Sequence[str], n: int) -> tuple[float, float]:
    """Shares of characters: of the most frequent n-gram, and of all that occur twice."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = collections.Counter(grams)
    total = max(1, sum(map(len, words)))
    top, count = max(counts.items(), key=lambda item: item[1], default=((), 0))
    covered = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
    most = sum(map(len, top)) * count if count > 1 else 0
    return most / total, sum(len(words[i]) for i in covered) / total
