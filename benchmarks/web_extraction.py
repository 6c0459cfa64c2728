"""Extractors of main text on real pages: code lines, boilerplate, text, speed.

    python -m benchmarks.web_extraction --corpus=DIR --peers_python=PYTHON [--every=5]

DIR has `web.jsonl.zst`. Measured on every fifth page, each extractor alone on one core:

- code: lines of `pre` elements that are in the text exactly, with their indentation. Only
  elements whose text is what a reader sees (no line breaks by elements) are counted.
- boilerplate: three words in a row of navigation, headers, footers and sidebars that stand
  nowhere else in the page: the share that is in the text.
- text: the same for the rest of the page, code included.

What is boilerplate is told by elements, roles and the class names that these templates use, so
rules over names have it easier than they would have elsewhere. --peers_python has the packages
of benchmarks/requirements.txt.
"""

import collections
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree
from rich.console import Console
from rich.table import Table

from beam_pipelines.web.code_blocks import is_plain_block
from beam_pipelines.web.main_text import HostileError, main_text
from benchmarks import web_peers
from benchmarks.web_corpus import command, corpus_pages

PEERS = (
    "resiliparse",
    "resiliparse-all",
    "trafilatura",
    "trafilatura-precision",
    "trafilatura-recall",
)
_BOILERPLATE = (
    "nav,footer,aside,[role=navigation],[role=banner],[role=contentinfo],[role=search],"
    ".sphinxsidebar,.related,.navheader,.navfooter,.navigation,.sidebar,.menu,.breadcrumbs,.footer,"
    "#footer,#header,#sidebar,.toc,.contents,#global-nav,.nosearch,.searchmenu,#tdiv,.mobile,"
    ".share,.social,.related-posts,.comments-link,.cookie,.newsletter"
)
# Columns of line numbers are `pre` elements too.
_INVISIBLE = "td.listing_lines,td.linenos,script,style,noscript,template,iframe,textarea,select"
_WORD = re.compile(r"\w+")
_N = 3


class Truth(NamedTuple):
    """What a page has: lines of code, and the word triples of boilerplate and of the rest."""

    code: collections.Counter[str]
    boilerplate: set[tuple[str, ...]]
    text: set[tuple[str, ...]]


def truth(html: str) -> Truth:
    tree = HTMLTree.parse(html)
    body = tree.body
    if body is None:
        return Truth(collections.Counter(), set(), set())
    for node in body.query_selector_all(_INVISIBLE).values():
        node.text = ""
    blocks = [node for node in body.query_selector_all("pre").values() if is_plain_block(node)]
    code = collections.Counter(
        line.rstrip() for node in blocks for line in (node.text or "").splitlines() if line.strip()
    )
    outside: set[tuple[str, ...]] = set()
    for node in body.query_selector_all(_BOILERPLATE).values():
        outside |= _triples(node.text or "")
        node.text = ""
    text = _triples(extract_plain_text(tree, preserve_formatting=True, alt_texts=False))
    return Truth(code, outside - text, text)


def _triples(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text)
    return set(zip(*(words[start:] for start in range(_N)), strict=False))


def score(name: str, truths: Sequence[Truth], texts: Iterable[str], seconds: float) -> list[str]:
    """A row of the table."""
    lines = kept_lines = outside = kept_outside = inside = kept_inside = size = 0
    for page, text in zip(truths, texts, strict=True):
        found = collections.Counter(line.rstrip() for line in text.splitlines() if line.strip())
        lines += page.code.total()
        kept_lines += (page.code & found).total()
        triples = _triples(text)
        outside += len(page.boilerplate)
        kept_outside += len(page.boilerplate & triples)
        inside += len(page.text)
        kept_inside += len(page.text & triples)
        size += len(text)
    return [
        name,
        f"{100 * kept_lines / max(lines, 1):.1f}",
        f"{100 * kept_outside / max(outside, 1):.1f}",
        f"{100 * kept_inside / max(inside, 1):.1f}",
        f"{size / 1e6:.1f}",
        f"{len(truths) / seconds:,.0f}",
    ]


def ours(pages: Sequence[str]) -> tuple[list[str], float]:
    """(main texts, seconds)."""
    main_text(pages[0])
    start = time.process_time()
    texts = []
    for page in pages:
        try:
            texts.append(main_text(page))
        except HostileError:
            texts.append("")
    return texts, time.process_time() - start


def web_extraction(corpus: Path, every: int, peers_python: str) -> None:
    """Prints the table."""
    pages = [page.html for page in corpus_pages(corpus)][::every]
    truths = [truth(page) for page in pages]
    texts, seconds = ours(pages)
    rows = [score("ours", truths, texts, seconds)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pages"
        file.write_text("".join(json.dumps(page) + "\n" for page in pages))
        for peer in PEERS:
            command = [peers_python, web_peers.__file__, "extract", peer, str(file)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            rows.append(score(peer, truths, found["texts"], found["seconds"]))
    table = Table(
        "extractor",
        "code lines %",
        "boilerplate %",
        "text %",
        "MB",
        "pages/s",
        title=f"{len(pages)} pages",
    )
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(command(web_extraction, __doc__, every=5))
