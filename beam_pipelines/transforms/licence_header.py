"""Removes the copyright or licence notice at a file's start, and only that.

More than 15 % of files begin with one (paper §2.1.1), and it teaches a model nothing. The
comments before the first code are looked at paragraph by paragraph: what lies between the
first and the last paragraph that speaks of copyright goes, a description above or below
stays, and so do `#!` lines, encoding lines, `<?php`, XML declarations and every later comment.
Time is linear in the text.
"""

import dataclasses
import re

from beam_pipelines.languages.comments import comment_spans

# Without one of these words within reach there is nothing to look for.
_HINT = re.compile(r"copyright|licen[sc]e|©|all rights reserved", re.IGNORECASE)
_HINT_REACH = 4000
# What may stand between the file's start and its notice, beside comments.
_BEFORE_NOTICE = re.compile(
    r"(?:\s|<\?php\b|<\?xml[^>]{0,200}\?>|<!DOCTYPE[^>]{0,200}>|<%@[^%]{0,200}%>|---\n"
    r"|@charset [^;\n]{0,40};|['\"]use strict['\"];?)*",
    re.IGNORECASE,
)
_LONGEST_GAP = 1000
# Lines with a meaning for tools.
_KEPT_LINE = re.compile(
    r"#!|[^\w\n]*-\*-|.{0,40}\bcoding[:=]|[^\w\n]*(?:vim?:|cython:|distutils:|go:build|\+build"
    r"|frozen_string_literal|flake8:|pylint:|mypy:|type:|eslint|@flow|@ts-|clang-format)"
)
_NOTICE = re.compile(
    r"""
    ^[^\w\n]*(?:[Cc]opyright|COPYRIGHT)\ *(?:\([Cc]\)|©|[:,]|\d{4}|[A-Z]|the\ [A-Z]|by\b)
    | \([Cc]\)\ *(?:[Cc]opyright\ *)?(?:19|20)\d\d | ©\ *(?:[Cc]opyright\ *)?\w
    | (?:[Cc]opyright|COPYRIGHT)\ *(?:\([Cc]\)|©|(?:19|20)\d\d)
    | (?i:all\ rights\ reserved | SPDX- | @licen[sc]e | @copyright | :copyright: | :licen[sc]e:
    | \blicen[sc]ed\ (?:to|under|as) | \bunder\ the\ (?:terms|licen[sc]e)
    | permission\ is\ hereby\ granted | permission\ to\ use,\ copy
    | redistributions?\ (?:and\ use|of\ source|in\ binary|in\ any) | \bredistributed\ (?:under|and)
    | usage\ and\ redistribution | see\ (?:the\ )?licen[sc]e\b | licen[sc]e\ information
    | without\ warrant(?:y|ies) | "as\ is" | ``as\ is | \bas-is\b | warrant(?:y|ies)\ of
    | (?:in\ no\ event|nor\ shall)\ \w+(?:\ \w+){0,6}\ be\ liable
    | \b(?:mit|bsd|apache|isc|mozilla\ public|gnu\ (?:lesser\ |library\ |affero\ )?general\ public
          |gpl|lgpl|boost\ software|eclipse\ public)(?:[-\ ](?:style|v?\d[\d.]*))?\ licen[sc]e
    | ^[^\w\n]*licen[sc]e\ ?: | the\ licen[sc]e\ file | \bcopying\ file | public\ domain\b)
    """,
    re.VERBOSE | re.MULTILINE,
)
_WORD = re.compile(r"\w")
_OPENING = re.compile(r"[^\w\n]*")
_CLOSING = re.compile(r"[^\w\n]*$")
_BLANK_LINES = re.compile(r"(?:[ \t\r\f]*\n)+")
_DOCSTRINGS = ('"""', "'''", 'r"""', 'R"""')


def remove_licence_header(text: str, language: str) -> str:
    """`text` without the licence notice of its leading comments.

    Args:
      text: of a file.
      language: lower-case Linguist name; decides what is a comment.
    """
    if not _HINT.search(text, 0, _HINT_REACH):
        return text
    pieces: list[str] = []
    position = 0
    for comment in _leading_comments(text, language):
        before = text[comment.start : comment.end]
        after = _without_notice(before, comment.is_block)
        if after != before:
            pieces += text[position : comment.start], after
            position = comment.end if after.strip() else _next_text(text, comment.end)
    return "".join(pieces) + text[position:]


@dataclasses.dataclass(slots=True)
class _Comment:
    """A run of comment lines, or one comment that crosses lines or documents (`is_block`)."""

    start: int
    end: int
    is_block: bool


def _leading_comments(text: str, language: str) -> list[_Comment]:
    """The comments before any code."""
    comments: list[_Comment] = []
    end_of_last = 0
    for start, end in comment_spans(text, language):
        gap = text[end_of_last:start] if start - end_of_last <= _LONGEST_GAP else "code"
        if not _BEFORE_NOTICE.fullmatch(gap):
            break
        is_block = "\n" in text[start:end] or text.startswith(_DOCSTRINGS, start)
        goes_on = comments and not comments[-1].is_block and gap.count("\n") <= 1
        if goes_on and not is_block and not gap.strip():
            comments[-1].end = end
        else:
            comments.append(_Comment(start, end, is_block))
        end_of_last = end
    return comments


def _without_notice(comment: str, is_block: bool) -> str:
    """The comment without the paragraphs of its notice; empty if nothing else is said."""
    lines = comment.splitlines(keepends=True)
    notice = _notice_lines(lines)
    if not notice:
        return comment
    kept = [i for i in range(len(lines)) if i not in notice]
    if not is_block:
        kept = _without_outer_rules(lines, kept, notice)
        return "".join(lines[i] for i in kept)
    if not any(_WORD.search(lines[i]) for i in kept):
        return ""
    if comment.startswith(_DOCSTRINGS):
        return comment
    return _closed_again(lines, kept)


def _notice_lines(lines: list[str]) -> set[int]:
    """Indices from the first to the last paragraph that is a notice, tools' lines left out."""
    paragraphs: list[list[int]] = [[]]
    for index, line in enumerate(lines):
        if _KEPT_LINE.match(line) or not _WORD.search(line):
            paragraphs.append([])
        else:
            paragraphs[-1].append(index)
    notices = [p for p in paragraphs if p and _NOTICE.search("".join(lines[i] for i in p))]
    if not notices:
        return set()
    span = range(notices[0][0], notices[-1][-1] + 1)
    return {index for index in span if not _KEPT_LINE.match(lines[index])}


def _without_outer_rules(lines: list[str], kept: list[int], notice: set[int]) -> list[int]:
    """`kept` without the empty or ruled comment lines that stood around the notice."""
    first, last = min(notice), max(notice)
    while first - 1 in kept and not _WORD.search(lines[first - 1]):
        first -= 1
    while last + 1 in kept and not _WORD.search(lines[last + 1]):
        last += 1
    return [i for i in kept if i < first or i > last or _KEPT_LINE.match(lines[i])]


def _closed_again(lines: list[str], kept: list[int]) -> str:
    """What is left of a block comment, with its opening and closing marks."""
    pieces = [lines[index] for index in kept]
    # mypy does not know that a block comment has both marks.
    if 0 not in kept:
        pieces.insert(0, _OPENING.match(lines[0]).group().rstrip() + "\n")  # type: ignore[union-attr]
    if len(lines) - 1 not in kept:
        pieces.append(_CLOSING.search(lines[-1]).group().lstrip())  # type: ignore[union-attr]
    return "".join(pieces)


def _next_text(text: str, position: int) -> int:
    """Behind the blank lines at `position`: the start of the next line that says something."""
    match = _BLANK_LINES.match(text, position)
    return match.end() if match else position
