"""Code blocks of a page, kept byte for byte while the text around them is extracted.

Before extraction each block's content is taken out of the tree and a token put in its place,
afterwards the token becomes a fenced block. So whatever the extractor does to white space
does not touch code, and a block that it leaves out with a menu or a footer stays out.
Highlighters wrap lines in elements, number them and add buttons; what is recognisable of that
is left out, and line breaks that are elements become line ends.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from resiliparse.parse.html import ElementNode, Node

# Unicode's non-characters: no page means anything by them.
_OPEN, _CLOSE, _WEIGHT = "\ufdd0", "\ufdd1", "\ufdd2"
RESERVED = (_OPEN, _CLOSE, _WEIGHT)
_TOKEN = re.compile(f"{_OPEN}(\\d+){_CLOSE}{_WEIGHT}*")
_BLOCKS = "pre,listing,xmp"
# A block weighs in the extractor's shares of links as much as its text would, up to this.
_WEIGHED = 1000
# What makes an element's text differ from what a reader sees.
_SPECIAL = (
    "br,div,li,tr,p,td,button,script,style,textarea,svg,.ln,.lnt,.hljs-ln,.gutter,.sr-only,"
    ":not(code)[class*=lineno],:not(code)[class*=line-n],:not(code)[class*=linenum],"
    ":not(code)[class*=line_n],:not(code)[class*=LineN],:not(code)[class*=copy]"
)
# Elements of a line each, in what highlighters make.
_LINES = frozenset({"div", "li", "tr", "p"})
_LAYOUT = frozenset({"ol", "ul", "table", "tbody", "thead", "tr"})
_CODE = frozenset({"code", "pre", "ol", "ul", "li"})
_NOT_CODE = frozenset({"button", "script", "style", "template", "textarea", "svg"})
_NOT_CODE_CLASS = re.compile(
    r"(?:^|\s)(?:line-?nos?|line-?num(?:ber)?s?(?:-rows)?|lnt?|gutter|hljs-ln-n(?:umbers)?"
    r"|blob-num|rouge-gutter|copy(?:-?(?:btn|button|code))?|copybtn|clipboard-copy|sr-only)(?:\s|$)",
    re.IGNORECASE,
)
# Of a block, or around one, that holds nothing but numbers; `linenums` is on the code itself.
_GUTTER_CLASS = re.compile(
    r"(?:^|\s)(?:line-?nos?|gutter|rouge-gutter|listing_lines)(?:\s|$)", re.IGNORECASE
)
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-source-|highlight-text-|highlight-|brush:\s*|src-"
    r"|sourceCode\s+)([a-z][\w+#.-]{0,19})(?:[\s;]|$)",
    re.IGNORECASE,
)
_BARE_LANGUAGE = re.compile(r"(?:^|\s)hljs\s+([a-z][\w+#.-]{0,19})$|^([a-z][\w+#.-]{0,19})\s+hljs$")
_NO_LANGUAGE = frozenset(
    {"auto", "code", "default", "nohighlight", "none", "notranslate", "plain", "plaintext", "text"}
)
_LANGUAGE_ATTRIBUTES = ("data-lang", "data-language")
_NAME = re.compile(r"[A-Za-z][\w+#.-]{0,19}")
_FENCE = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)


class CodeBlock(NamedTuple):
    """A block's text, without empty lines around it, and its language; empty where unnamed."""

    text: str
    language: str


def take_out(body: ElementNode) -> list[CodeBlock]:
    """Replaces the blocks of a page by tokens; a token has its block's index in what returns."""
    blocks: list[CodeBlock] = []
    inner: set[Node] = set()
    for node in _of_highlighter(body):
        inner.update(node.query_selector_all(_BLOCKS).values())
        _replace(node, blocks)
    for node in body.query_selector_all(_BLOCKS).values():
        if node in inner:
            continue
        inner.update(node.query_selector_all(_BLOCKS).values())
        parent = node.parent
        if _is_gutter(node) or (isinstance(parent, ElementNode) and _is_gutter(parent)):
            node.text = ""
        else:
            _replace(node, blocks)
    return blocks


def put_back(text: str, blocks: list[CodeBlock]) -> str:
    """The text with a fenced block for each token, on lines of its own."""
    parts = []
    end = 0
    for token in _TOKEN.finditer(text):
        block = blocks[int(token[1])]
        longest = max((len(fence) for fence in _FENCE.findall(block.text)), default=2)
        fence = "`" * (longest + 1)
        before = text[end : token.start()].rstrip(" \t\n")
        parts += [before, f"\n\n{fence}{block.language}\n{block.text}\n{fence}\n\n"]
        end = token.end()
    if not parts:
        return text
    rest = text[end:].lstrip("\n")
    return "".join([*parts, rest])


def is_plain_block(node: ElementNode) -> bool:
    """Whether the text of an element is what a reader sees, lines and all."""
    return node.query_selector(_SPECIAL) is None


def _of_highlighter(body: ElementNode) -> Iterator[ElementNode]:
    """Blocks that are no `pre`: SyntaxHighlighter's tables, `code` with line breaks."""
    yield from body.query_selector_all(".syntaxhighlighter").values()
    seen: set[Node] = set()
    for line_break in body.query_selector_all("code br").values():
        around = {str(node.tag): node for node in _ancestors(line_break)}
        code = around.get("code")
        if isinstance(code, ElementNode) and code not in seen and "pre" not in around:
            seen.add(code)
            yield code


def _ancestors(node: Node) -> Iterator[Node]:
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def _replace(node: ElementNode, blocks: list[CodeBlock]) -> None:
    text = _text(node)
    if not text or text.isspace():
        node.text = ""
        return
    language = _language(node)
    weight = _WEIGHT * min(len(text) // len(_WEIGHT.encode()), _WEIGHED)
    node.text = f"{_OPEN}{len(blocks)}{_CLOSE}{weight}"
    blocks.append(CodeBlock(_trimmed(text), language))


def _trimmed(text: str) -> str:
    """Without empty lines at its start and white space at its end; its indentation stays."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    start = len(text) - len(text.lstrip())
    return text[text.rfind("\n", 0, start) + 1 :]


def _text(node: ElementNode) -> str:
    if is_plain_block(node):
        return node.text or ""
    if "syntaxhighlighter" in _class(node):
        node = node.query_selector("td.code") or node
    return _lines(node).replace("\xa0", " ")


def _lines(root: ElementNode) -> str:
    """The text as a reader sees it, a line for each element that is one."""
    out: list[str] = []
    # (node, None), or (None, how much there was before a line element that ends here).
    stack: list[tuple[Node | None, int]] = [(child, 0) for child in reversed(_children(root))]
    at_start = True
    while stack:
        node, before = stack.pop()
        if node is None:
            if len(out) == before or not at_start:
                out.append("\n")
                at_start = True
            continue
        tag = node.tag
        if tag == "#text":
            text = str(node.node_value or "")
            parent = node.parent
            if text and not (text.isspace() and parent is not None and parent.tag in _LAYOUT):
                out.append(text)
                at_start = text.endswith("\n")
        elif tag == "br":
            out.append("\n")
            at_start = True
        elif isinstance(node, ElementNode) and tag not in _NOT_CODE and not _is_not_code(node):
            if tag in _LINES:
                if not at_start:
                    out.append("\n")
                    at_start = True
                stack.append((None, len(out)))
            stack += [(child, 0) for child in reversed(_children(node))]
    return "".join(out)


def _children(node: Node) -> list[Node]:
    return list(node.child_nodes.values())


def _class(node: ElementNode) -> str:
    return node.get_attribute("class") or ""


def _is_not_code(node: ElementNode) -> bool:
    # On the code itself such a class asks a script for numbers.
    return node.tag not in _CODE and bool(_NOT_CODE_CLASS.search(_class(node)))


def _is_gutter(node: ElementNode) -> bool:
    return bool(_GUTTER_CLASS.search(_class(node)))


def _language(node: ElementNode) -> str:
    """The language that the page names at the block, the `code` in it, or around it."""
    parent = node.parent
    around = (parent, parent.parent if parent is not None else None)
    for element in (node, node.query_selector("code"), *around):
        if not isinstance(element, ElementNode) or element.tag in ("body", "html"):
            continue
        for name in _names(element):
            if name.lower() not in _NO_LANGUAGE:
                return name.lower()
    return ""


def _names(element: ElementNode) -> Iterator[str]:
    for attribute in _LANGUAGE_ATTRIBUTES:
        value = element.get_attribute(attribute) or ""
        if value and _NAME.fullmatch(value):
            yield value
    names = _class(element)
    if not names:
        return
    yield from _LANGUAGE.findall(names)
    if bare := _BARE_LANGUAGE.search(names):
        yield bare[1] or bare[2]
    if names.startswith("syntaxhighlighter"):
        yield from (name for name in names.split()[1:2])
