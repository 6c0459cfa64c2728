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
_HINT = re.compile(
    r"copyright|licen[sc]e|©|all rights reserved|\(c\) ?(?:19|20)\d\d|public domain", re.IGNORECASE
)
_HINT_REACH = 4000
# One of them, or what the pattern alone finds, is in every ASCII text that has a hint.
_HINTS = ("copyright", "license", "licence", "all rights reserved", "(c)", "public domain")
# What may stand between the file's start and its notice, beside comments.
_BEFORE_NOTICE = re.compile(
    r"""(?:\s|<\?php\b|<\?hh\b|declare\s*\(strict_types\s*=\s*1\);|<\?xml[^>]{0,200}\?>
    |<!DOCTYPE[^>]{0,200}>|<%@[^%]{0,200}%>|---\n|@charset\ [^;\n]{0,40};|['"]use\ strict['"];?
    |\#[ \t]*(?:(?:region|pragma|ifndef|ifdef|if|else|define|endif)\b|include\ ")[^\n]{0,120}
    |@?echo\ off\b|@?setlocal\b
    |@?rem\b|dnl\b|exec\ (?:wish|tclsh)[^\n]{0,80}|\ufeff)*""",
    re.IGNORECASE | re.VERBOSE,
)
# Lines of nothing but the mark of a comment, which needs a blank behind it to be one.
_BARE_MARKS = re.compile(r"(?:\s|@?rem\b|dnl\b)*", re.IGNORECASE)
_EMPTY_REGION = re.compile(r"#region[^\n]{0,80}\n\s*#endregion[^\n]{0,80}\n?", re.IGNORECASE)
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
    | ^[^\w\n]*licen[sc]e\ ?: | the\ licen[sc]e\ file | \bcopying\ file | public\ domain\b
    | disclaims\ copyright | ^[^\w\n]*may\ you\ (?:do\ good|find\ forg|share\ free)
    | see\ copyright\ notice | ^[^\w\n]*this\ file\ is\ part\ of\b)
    """,
    re.VERBOSE | re.MULTILINE,
)
# One of them is in lower case in whatever that finds.
_NOTICE_PARTS = (
    *("copyright", "(c)", "©", "rights", "spdx-", "licen", "redistribut", "permission", "terms"),
    *("warrant", "as is", "as-is", "liable", "domain", "copying file", "may you", "this file is"),
    *("this software", "the software"),
)
# In a documentation string only lines that are nothing but a notice.
_NOTICE_IN_DOCSTRING = re.compile(
    r"""^[^\w\n]*(?:copyright\ *(?:\(c\)|©|(?:19|20)\d\d)|:copyright:|:licen[sc]e:|spdx-
    |\(c\)\ *(?:copyright\ *)?(?:19|20)\d\d|licen[sc]ed\ under\ the
    |permission\ is\ hereby|permission\ to\ use,\ copy|redistribution\ and\ use
    |the\ above\ copyright\ notice|the\ software\ is\ provided|this\ software\ is\ provided)""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
# What may stand between two paragraphs of a notice and be part of it.
_LEGAL = re.compile(
    r"licen[sc]|redistribut|warrant|liab|permi[ts]|rights|conditions|copies|copyright|notice|terms"
    r"|\(c\)|authors?\b|contribut|https?:|agreement|\blaw|provided|trademark|patent|disclaim",
    re.IGNORECASE,
)
_ONLY_A_LINK = re.compile(r"\W*(?:https?://|www\.)\S+\s*")
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
    if not _has_hint(text):
        return text
    pieces: list[str] = []
    position = 0
    for comment in _leading_comments(text, language):
        before = text[comment.start : comment.end]
        after = _without_notice(before, comment.is_block)
        if after != before:
            pieces += text[position : comment.start], after
            position = comment.end if after.strip() else _next_text(text, comment.end)
            if after.endswith("\n"):
                # The newline behind a comment's last line is not the comment's.
                position += text.startswith("\n", position)
    if not pieces:
        return text
    start = "".join(pieces) + text[position : position + _LONGEST_GAP]
    if "#region" in start:
        start = _EMPTY_REGION.sub("", start, 1)
    return start + text[position + _LONGEST_GAP :]


def licence_notice(text: str, language: str) -> str:
    """The lines that `remove_licence_header` takes away; empty where there is no notice."""
    if not _has_hint(text):
        return ""
    notices = []
    for comment in _leading_comments(text, language):
        lines = text[comment.start : comment.end].splitlines(keepends=True)
        notices += [lines[i] for i in sorted(_notice_lines(lines, _NOTICE))]
    return "".join(notices)


def _has_hint(text: str) -> bool:
    start = text[:_HINT_REACH]
    if start.isascii():
        # The pattern, which tells no case apart, takes ten times as long.
        lowered = start.lower()
        if not any(hint in lowered for hint in _HINTS):
            return False
    return _HINT.search(start) is not None


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
        blank = _BARE_MARKS.fullmatch(gap)
        goes_on = comments and not comments[-1].is_block and (gap.count("\n") <= 1 or gap.strip())
        if goes_on and not is_block and blank:
            comments[-1].end = end
        else:
            comments.append(_Comment(start, end, is_block))
        end_of_last = end
    return comments


def _without_notice(comment: str, is_block: bool) -> str:
    """The comment without the paragraphs of its notice; empty if nothing else is said."""
    lines = comment.splitlines(keepends=True)
    is_docstring = comment.startswith(_DOCSTRINGS)
    notice = _notice_lines(lines, _NOTICE)
    if is_docstring and any(_WORD.search(lines[i]) for i in range(len(lines)) if i not in notice):
        notice = _notice_lines(lines, _NOTICE_IN_DOCSTRING)
    if not notice:
        return comment
    kept = [i for i in range(len(lines)) if i not in notice]
    if not is_block:
        kept = _without_outer_rules(lines, kept, notice)
        return "".join(lines[i] for i in kept)
    if not any(_WORD.search(lines[i]) for i in kept):
        return ""
    return _closed_again(lines, kept)


def _notice_lines(lines: list[str], notice: re.Pattern[str]) -> set[int]:
    """Indices of the paragraphs that are a notice, tools' lines left out.

    Those between two of them belong to it if they speak of legal matters.
    """
    paragraphs: list[list[int]] = [[]]
    for index, line in enumerate(lines):
        if _KEPT_LINE.match(line) or not _WORD.search(line):
            paragraphs.append([])
        else:
            paragraphs[-1].append(index)
    texts = ["".join(lines[i] for i in paragraph) for paragraph in paragraphs]
    notices = [n for n, text in enumerate(texts) if text and _is_notice(text, notice)]
    if not notices:
        return set()
    # "... is available at", and the link as a paragraph of its own.
    while notices[-1] + 1 < len(texts) and (
        not texts[notices[-1] + 1] or _ONLY_A_LINK.fullmatch(texts[notices[-1] + 1])
    ):
        notices.append(notices[-1] + 1)
    found: set[int] = set()
    for n in range(notices[0], notices[-1] + 1):
        if n in notices or _LEGAL.search(texts[n]):
            found.update(paragraphs[n])
    # The empty lines behind each paragraph of it go too, but for those before what stays.
    behind_notice = False
    for index in range(min(found), max(found) + 1):
        if _WORD.search(lines[index]):
            behind_notice = index in found
        elif behind_notice and not _KEPT_LINE.match(lines[index]):
            found.add(index)
    return found


def _is_notice(paragraph: str, notice: re.Pattern[str]) -> bool:
    if paragraph.isascii():
        lowered = paragraph.lower()
        if not any(part in lowered for part in _NOTICE_PARTS):
            return False
    return notice.search(paragraph) is not None


def _without_outer_rules(lines: list[str], kept: list[int], notice: set[int]) -> list[int]:
    """`kept` without the empty or ruled comment lines that stood around the notice."""
    first, last = min(notice), max(notice)
    while first - 1 in kept and not _WORD.search(lines[first - 1]):
        first -= 1
    while last + 1 in kept and not _WORD.search(lines[last + 1]):
        last += 1
    around = {*range(first, min(notice)), *range(max(notice) + 1, last + 1)}
    return [i for i in kept if i not in around or _KEPT_LINE.match(lines[i])]


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
