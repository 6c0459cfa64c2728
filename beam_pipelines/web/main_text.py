"""The main text of an HTML page, Markdown-like: headings, lists, fenced code blocks.

resiliparse finds the main content (rules over tags, classes and shares of links; docs/web.md
compares it with others), `code_blocks` keeps code out of its hands. Depth and the
number of a tag's attributes, which its time is quadratic in, are limited.
"""

import re

import numpy as np
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DOMContext, ElementNode, HTMLTree, traverse_dom

from beam_pipelines.web.code_blocks import RESERVED, put_back, take_out

# Browsers stop at 512 too.
DEEPEST = 512
_SURELY_SHALLOW = 800
_MOST_ATTRIBUTES = 3000
# A name and a blank each.
_LONG_TAG = _MOST_ATTRIBUTES
_TAG = re.compile("<[A-Za-z]")
_HEADINGS = "h1,h2,h3,h4,h5,h6"
_BULLET = re.compile(r"^( *)• ?", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n[ \t\xa0]*\n(?:[ \t\xa0]*\n)+")
_LINE_END = re.compile(r"[ \t\xa0]+$", re.MULTILINE)


class HostileError(Exception):
    """A page that nobody wrote for readers, with the drop reason; parsing it would take hours."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def main_text(html: str) -> str:
    """The main text; empty where there is none.

    Raises:
      HostileError: `too_deep` or `too_many_attributes`.
    """
    for character in RESERVED:
        if character in html:
            html = html.replace(character, "")
    _check_tags(html)
    tree = HTMLTree.parse(html)
    body = tree.body
    if body is None:
        return ""
    if _may_be_deep(html):
        _check_depth(body)
    blocks = take_out(body)
    _mark_headings(tree, body)
    text = extract_plain_text(
        tree,
        preserve_formatting=True,
        main_content=True,
        alt_texts=False,
    )
    text = _LINE_END.sub("", text)
    text = _EMPTY_LINES.sub("\n\n", _BULLET.sub(r"\1- ", text))
    return put_back(text, blocks).strip("\n")


def _mark_headings(tree: HTMLTree, body: ElementNode) -> None:
    for heading in body.query_selector_all(_HEADINGS).values():
        first = heading.first_child
        if first is not None:
            level = int(str(heading.tag)[1])
            mark = tree.create_text_node("#" * level + " ")
            if mark is not None:
                heading.insert_before(mark, first)


def _check_tags(html: str) -> None:
    """Refuses tags with thousands of attributes, each of which is compared with all others."""
    start = 0
    # Where a tag is that long, no `>` stands between two places this far apart.
    for position in range(_LONG_TAG, len(html), _LONG_TAG):
        if position < start or html.find(">", position - _LONG_TAG, position) >= 0:
            continue
        begin = max(start, html.rfind(">", start, position - _LONG_TAG) + 1)
        tag = _TAG.search(html, begin, position)
        if tag is None:
            start = position
            continue
        start = html.find(">", position)
        start = len(html) if start < 0 else start
        if len(html[tag.start() : start].split(None, _MOST_ATTRIBUTES)) > _MOST_ATTRIBUTES:
            detail = f"more than {_MOST_ATTRIBUTES} in one tag"
            raise HostileError("too_many_attributes", detail)


def _may_be_deep(html: str) -> bool:
    """Whether opened elements, less closed ones, ever are many; void ones count as open."""
    if html.count("<") <= _SURELY_SHALLOW:
        return False
    codes = np.frombuffer(html.encode("utf-8", "replace") + b"  ", np.uint8)
    after = codes[np.flatnonzero(codes[:-1] == ord("<")) + 1]
    steps = (after >= ord("A")).astype(np.int32) - (after == ord("/"))
    depth = np.cumsum(steps)
    # Closing what is not open takes nothing away.
    depth -= np.minimum(np.minimum.accumulate(depth), 0)
    return bool(depth.max() > _SURELY_SHALLOW)


def _check_depth(body: ElementNode) -> None:
    def look(context: DOMContext) -> None:
        if context.depth > DEEPEST:
            raise HostileError("too_deep", f"more than {DEEPEST} levels")

    traverse_dom(body, look, elements_only=True)
