"""What is to be replaced in a text: spans, merged so that none overlap.

Each detector (`secrets`, `names`, `personal_data`) says where it found what; the text is
rewritten once.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

NAME, EMAIL, IP, PASSWORD, KEY = "<name>", "<email>", "<ip>", "<password>", "<key>"
# Of two that overlap the first here wins: an e-mail address in a key is part of the key.
PRECEDENCE = (KEY, PASSWORD, EMAIL, IP, NAME)


class Span(NamedTuple):
    """Characters `start` to `end` of a text, which become `placeholder`."""

    start: int
    end: int
    placeholder: str


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """The spans in order; of those that overlap the one of the first kind, then the longest."""
    result: list[Span] = []
    for span in sorted(spans):
        if result and span.start < result[-1].end:
            result[-1] = min(result[-1], span, key=_rank)
        else:
            result.append(span)
    return result


def substitute(text: str, spans: Iterable[Span]) -> str:
    """`text` with each span replaced; spans in order and without overlaps."""
    pieces: list[str] = []
    last = 0
    for span in spans:
        pieces += text[last : span.start], span.placeholder
        last = span.end
    return "".join(itertools.chain(pieces, (text[last:],)))


def _rank(span: Span) -> tuple[int, int, int]:
    return PRECEDENCE.index(span.placeholder), span.start - span.end, span.start
