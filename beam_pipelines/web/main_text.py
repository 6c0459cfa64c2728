"""The main text of an HTML page, Markdown-like: headings, lists, fenced code blocks.

resiliparse finds the main content (rules over tags, classes and shares of links; docs/web.md
compares it with others), `code_blocks` keeps code out of its hands. Time is bounded: depth,
which it and every other extractor tried are quadratic in, is limited.
"""

import re

import numpy as np
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DOMContext, ElementNode, HTMLTree, traverse_dom

from beam_pipelines.web.code_blocks import RESERVED, put_back, take_out

# Browsers stop at 512 too.
DEEPEST = 512
_SURELY_SHALLOW = 800
_HEADINGS = "h1,h2,h3,h4,h5,h6"
_BULLET = re.compile(r"^( *)• ?", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n[ \t\xa0]*\n(?:[ \t\xa0]*\n)+")
_LINE_END = re.compile(r"[ \t\xa0]+$", re.MULTILINE)


class TooDeepError(Exception):
    """A page whose elements are nested deeper than any page that somebody wrote."""


def main_text(html: str) -> str:
    """The main text; empty where there is none.

    Raises:
      TooDeepError: elements are nested deeper than `DEEPEST`.
    """
    for character in RESERVED:
        if character in html:
            html = html.replace(character, "")
    tree = HTMLTree.parse(html)
    if _may_be_deep(html):
        _check_depth(tree)
    if tree.body is None:
        return ""
    blocks = take_out(tree.body)
    _mark_headings(tree, tree.body)
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


def _check_depth(tree: HTMLTree) -> None:
    def look(context: DOMContext) -> None:
        if context.depth > DEEPEST:
            raise TooDeepError(f"more than {DEEPEST} levels")

    if tree.document is not None:
        traverse_dom(tree.document, look, elements_only=True)
