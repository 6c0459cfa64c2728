"""Signals that texts and code have alike: sizes, words, n-grams, kinds of characters.

Each is registered twice, as `qsc_doc_*` for the group `text` and as `qsc_code_*` for
`code`; `text` and `code` add what only one of them has.
"""

import functools
from typing import Literal

from beam_pipelines.signals.characters import REPLACEMENT
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.ngrams import DUPLICATE_LENGTHS, TOP_LENGTHS
from beam_pipelines.signals.registry import add_signal

PREFIXES = {"text": "qsc_doc", "code": "qsc_code"}


def share(part: float, whole: float, of_nothing: float | None = None) -> float | None:
    """`part / whole`; undefined, or `of_nothing`, where there is nothing to have a share of."""
    return part / whole if whole else of_nothing


def num_chars(document: ParsedDocument) -> float:
    return len(document.text)


def num_lines(document: ParsedDocument) -> float:
    return document.profile.lines


def num_words(document: ParsedDocument) -> float:
    return len(document.words)


def mean_word_length(document: ParsedDocument) -> float | None:
    return share(document.words.num_chars, len(document.words))


def frac_words_unique(document: ParsedDocument) -> float | None:
    return share(document.words.num_distinct, len(document.words))


def frac_chars_replacement_symbols(document: ParsedDocument) -> float | None:
    """Share of U+FFFD, which decoders put for what is not text."""
    return share(int(document.profile.counts[REPLACEMENT]), len(document.text))


def frac_chars_alphabet(document: ParsedDocument) -> float | None:
    return share(document.profile.letters, document.num_visible, of_nothing=0.0)


def frac_chars_digital(document: ParsedDocument) -> float | None:
    return share(document.profile.digits, document.num_visible, of_nothing=1.0)


def frac_chars_whitespace(document: ParsedDocument) -> float | None:
    return share(document.profile.spaces, len(document.text), of_nothing=1.0)


def frac_chars_ngrams(
    document: ParsedDocument, kind: Literal["top", "duplicate"], length: int
) -> float:
    return getattr(document.ngrams, kind)[length]


_SIGNALS = (
    num_chars,
    num_lines,
    num_words,
    mean_word_length,
    frac_words_unique,
    frac_chars_replacement_symbols,
    frac_chars_digital,
    frac_chars_whitespace,
)

for _group, _prefix in PREFIXES.items():
    for _function in _SIGNALS:
        add_signal(f"{_prefix}_{_function.__name__}", _group, _function)
    for _n in TOP_LENGTHS:
        add_signal(
            f"{_prefix}_frac_chars_top_{_n}grams",
            _group,
            functools.partial(frac_chars_ngrams, kind="top", length=_n),
        )
    for _n in DUPLICATE_LENGTHS:
        add_signal(
            f"{_prefix}_frac_chars_dupe_{_n}grams",
            _group,
            functools.partial(frac_chars_ngrams, kind="duplicate", length=_n),
        )
