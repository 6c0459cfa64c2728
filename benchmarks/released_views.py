"""A document as the released filter sees it: its split into code and comments, its words.

A view is a document of which some parts are given and the rest is computed as always, so
that any of our signals can be asked what it would say there. Each of the first five is one
deviation alone (`released_definitions` lists them); `lexer_split` and `seen_as_released`
put them together. What a view does not change it takes over from the document where that
has been computed.
"""

import collections
import dataclasses
import functools
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pygments
import regex
from numpy.typing import NDArray
from pygments import lexer as lexer_module
from pygments import lexers, token, util

from beam_pipelines.signals.characters import folded
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import SignalFunction
from beam_pipelines.signals.words import Words, words_of

View = Callable[[ParsedDocument], ParsedDocument | None]

_COMMENT_TOKENS = frozenset(
    (
        token.Comment.Multiline,
        token.Comment.Single,
        token.Comment.Hashbang,
        token.Comment.Special,
        token.Literal.String.Doc,
    )
)
_OF_CHARACTERS = (
    *("codes", "line_sizes", "lines", "stripped_lines", "character_counts", "num_whitespace"),
    *("lowered", "profile"),
    *("python_tree", "python_nodes", "python_definitions", "docstrings"),
)
_OF_WORDS = ("raw_word_counts", "num_raw_words", "words", "ngrams")
_OF_CODE = (
    "comments",
    "comment_bounds",
    "code",
    "code_lines",
    "code_codes",
    "compact_code_lines",
    "strings",
)


class _SplitDocument(ParsedDocument):
    """A document whose split into code and comments is given, not made from its spans."""

    split: tuple[str, str]

    @functools.cached_property
    def code(self) -> str:
        return self.split[0]

    @functools.cached_property
    def code_codes(self) -> NDArray[np.uint8]:
        return folded(self.code)

    @functools.cached_property
    def comments(self) -> list[str]:
        return list(filter(None, [self.split[1]]))


def _share_of_comments(document: ParsedDocument) -> float | None:
    return sum(map(len, document.comments)) / len(document.text) if document.text else None


def _prompts(document: ParsedDocument) -> float | None:
    marker = re.compile(r"\b(?:your code here|fixme|todo)\b")
    lines = [line for comment in document.comments for line in comment.lower().split("\n")]
    found = sum(marker.search(line) is not None for line in lines)
    every = len(physical_lines(document.text))
    return found / every if every else None


# Our signals of comments, as they are of a split that is given: where in the text its comments
# stand is not known. Python's comments are found by its own tokens, whatever the split.
OF_COMMENTS: Mapping[str, SignalFunction] = {
    "qsc_code_frac_chars_comments": _share_of_comments,
    "qsc_code_frac_lines_prompt_comments": _prompts,
}


def is_split(document: ParsedDocument) -> bool:
    """Whether the split into code and comments is given, not ours."""
    return isinstance(document, _SplitDocument)


class _WordDocument(ParsedDocument):
    """A document whose words are cut as the released filter cuts those of most languages."""

    @functools.cached_property
    def words(self) -> Words:
        lines = map(_normalised, physical_lines(self.text))
        return words_of([word for line in lines for word in WORD.findall(line)])

    @functools.cached_property
    def raw_word_counts(self) -> Mapping[str, int]:
        lines = physical_lines(self.text)
        return collections.Counter(word for line in lines for word in WORD.findall(line))


class _SplitWordDocument(_SplitDocument, _WordDocument):
    """Both."""


def newline_in_comment(document: ParsedDocument) -> ParsedDocument | None:
    """Our comments, but those of a line take its newline along where the lexer's do."""
    if not any(_with_newline(text) for is_comment, text in lexed(document) if is_comment):
        return None
    code: list[str] = []
    comments: list[str] = []
    position = 0
    for comment in document.comments:
        start = document.text.find(comment, position)
        end = start + len(comment)
        if not comment.startswith("/*") and document.text[end : end + 1] == "\n":
            end += 1
        code.append(document.text[position:start])
        comments.append(document.text[start:end])
        position = end
    code.append(document.text[position:])
    return _with_split(document, code, comments)


def lexer_without_newlines(document: ParsedDocument) -> ParsedDocument | None:
    """What the lexer calls comments, without the newline of those of a line."""
    if not (tokens := lexed(document)):
        return None
    code: list[str] = []
    comments: list[str] = []
    for is_comment, text in tokens:
        if is_comment and _with_newline(text):
            comments.append(text[:-1])
            code.append("\n")
        else:
            (comments if is_comment else code).append(text)
    return _with_split(document, code, comments)


def lexer_split(document: ParsedDocument) -> ParsedDocument | None:
    """What the lexer of that name calls comments; it also strips and ends the text its way."""
    if not (tokens := lexed(document)):
        return None
    code = (text for is_comment, text in tokens if not is_comment)
    comments = (text for is_comment, text in tokens if is_comment)
    return _with_split(document, code, comments)


def splitter_by_hand(document: ParsedDocument) -> ParsedDocument | None:
    """For languages that Pygments has no lexer for by our name of them."""
    if document.doc_type == "text" or document.language == "perl" or _lexer(document.language):
        return None
    code: list[str] = []
    comments: list[str] = []
    inside = False
    for line in physical_lines(document.text):
        bare = line.strip()
        if bare.startswith(('"""', "/*")) or bare.endswith(('"""', "*/")):
            inside = not inside
            comments.append(line)
        elif inside or bare.startswith(("#", "//", "--")):
            inside = True
            comments.append(line)
        else:
            code.append(line)
    return _with_split(document, code, comments)


def perl_by_hand(document: ParsedDocument) -> ParsedDocument | None:
    """Perl has a splitter of its own, beside its lexer."""
    if document.language != "perl":
        return None
    code: list[str] = []
    comments: list[str] = []
    inside = False
    for line in physical_lines(document.text):
        bare = line.strip()
        if bare.startswith("="):
            inside = not bare.startswith("=cut")
            comments.append(line)
        elif inside or bare.startswith("#"):
            comments.append(line)
        else:
            code.append(line)
    return _with_split(document, code, comments)


def words_as_released(document: ParsedDocument) -> ParsedDocument | None:
    """Words of a language that both cut at white space and punctuation."""
    if document.human_language in ("zh", "ja"):
        return None
    if document.text.isascii() and not _CONTROL.search(document.text):
        return None  # Nothing here that the two cut differently.
    return _copied(document, _WordDocument, (*_OF_CHARACTERS, *_OF_CODE))


def seen_as_released(document: ParsedDocument) -> ParsedDocument:
    """The split and the words together."""
    split = lexer_split(document) or perl_by_hand(document) or splitter_by_hand(document)
    words = words_as_released(document)
    if split is None or words is None:
        return split or words or document
    both = _copied(document, _SplitWordDocument, _OF_CHARACTERS)
    object.__setattr__(both, "split", (split.code, "".join(split.comments)))
    return both


def lexed(document: ParsedDocument) -> list[tuple[bool, str]]:
    """(is a comment, text) of what the lexer finds; empty where another splitter is used."""
    return document.once(_lexed)


def physical_lines(text: str) -> list[str]:
    """Lines with their newline."""
    return re.findall(r"[^\n]*\n|[^\n]+$", text)


WORD = regex.compile(r"\w+|[^\w\s]+")


def _lexed(document: ParsedDocument) -> list[tuple[bool, str]]:
    lexer = _lexer(document.language)
    if document.doc_type == "text" or document.language == "perl" or lexer is None:
        return []
    found: list[tuple[bool, str]] = []
    for kind, text in pygments.lex(document.text, lexer):
        found.append((kind in _COMMENT_TOKENS, text))
    return found


@functools.cache
def _lexer(language: str) -> lexer_module.Lexer | None:
    try:
        return lexers.get_lexer_by_name(language)
    except util.ClassNotFound:
        return None


def _with_newline(comment: str) -> bool:
    return comment.endswith("\n") and not comment.startswith("/*")


def _with_split(
    document: ParsedDocument, code: Iterable[str], comments: Iterable[str]
) -> ParsedDocument:
    changed = _copied(document, _SplitDocument, (*_OF_CHARACTERS, *_OF_WORDS))
    object.__setattr__(changed, "split", ("".join(code), "".join(comments)))
    return changed


def _copied(
    document: ParsedDocument, kind: type[ParsedDocument], taken_over: Iterable[str]
) -> ParsedDocument:
    fields = {f.name: getattr(document, f.name) for f in dataclasses.fields(ParsedDocument)}
    copy = kind(**fields)
    copy.__dict__.update((n, document.__dict__[n]) for n in taken_over if n in document.__dict__)
    return copy


# Taken out of words or made spaces; the others, U+FEFF and escape among them, are words.
_DELETED = dict.fromkeys([*range(0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x202C])
_SPACES = dict.fromkeys([0x2009, 0x200B, *map(ord, string.punctuation)], " ")
_WIDE = {ord(char) + 0xFEE0: " " for char in string.punctuation} | dict.fromkeys(
    map(ord, "。、《》【】「」“”‘’"), " "
)
_CONTROL = re.compile(r"[^\t\n\r -~]")


def _normalised(line: str) -> str:
    line = line.translate(_DELETED | _SPACES | _WIDE)
    return unicodedata.normalize("NFKC", " ".join(line.lower().split()))
