"""Signals of HTML alone: the `qsc_codehtml_*` rules, on the text that a page shows.

The text is what stands outside tags, comments, scripts, styles and templates, with its
character references decoded; white space between two tags counts once. One scan finds
it, at the speed of a browser's parser and without a tree; HTML has no syntax that
browsers refuse, so every page parses.
"""

import html
import re

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

_WHITE_SPACE = " \t\n\r\f"  # HTML's own: a no-break space is text.
# What opens and never closes takes the rest along, which is then read once.
_ATTRIBUTES = r"""(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+(?:>|\Z)"""
_MARKUP = re.compile(
    r"<(?:"
    r"!--(?:>|->|[\s\S]*?(?:--!?>|\Z))"
    rf"|(?P<hidden>script|style|template)(?=[\s/>]){_ATTRIBUTES}[\s\S]*?(?:</(?P=hidden)(?=[\s/>])[^>]*+>|\Z)"
    rf"|(?P<kept>pre|textarea)(?=[\s/>]){_ATTRIBUTES}[\s\S]*?(?=</(?P=kept)(?=[\s/>])|\Z)"
    r"|[!?][^>]*+(?:>|\Z)"
    rf"|/?[a-zA-Z]{_ATTRIBUTES}"
    r")",
    re.IGNORECASE,
)


@signal("qsc_codehtml_cate_ast", "html")
def cate_ast(document: ParsedDocument) -> float:
    """Whether the text parses: always."""
    return 1.0


@signal("qsc_codehtml_frac_words_text", "html")
def frac_words_text(document: ParsedDocument) -> float | None:
    """Characters of the visible text, of all."""
    return share(document.once(_num_text), len(document.text))


@signal("qsc_codehtml_num_chars_text", "html")
def num_chars_text(document: ParsedDocument) -> float:
    return document.once(_num_text)


def _num_text(document: ParsedDocument) -> int:
    return sum(map(len, visible_text(document.text)))


def visible_text(text: str) -> list[str]:
    """Pieces of the text between markup, in order, decoded."""
    pieces = []
    position = 0
    for match in _MARKUP.finditer(text):
        pieces.append(_shown(text[position : match.start()]))
        position = match.end()
        if match["kept"]:
            pieces.append(_preformatted(match[0]))
    pieces.append(_shown(text[position:]))
    return pieces


def _shown(piece: str) -> str:
    if piece and not piece.strip(_WHITE_SPACE):
        return "\n" if "\n" in piece else " "
    return html.unescape(piece)


def _preformatted(element: str) -> str:
    """White space counts in full here; tags and comments do not."""
    return html.unescape(_TAG.sub("", element))


_TAG = re.compile(rf"<(?:!--[\s\S]*?(?:-->|\Z)|[!?][^>]*+(?:>|\Z)|/?[a-zA-Z]{_ATTRIBUTES})")
