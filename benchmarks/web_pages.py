"""Crawl file to main texts on one core: ours beside datatrove's reader and extractor.

    python -m benchmarks.web_pages --corpus=DIR --peers_python=PYTHON [--every=10]

DIR has `web.jsonl.zst`, which is packaged as WARC: a gzip member a page. Both read the same file
one after the other: ours with `WarcFormat` and `page_document`, without Beam; datatrove's
`WarcReader` and its `Trafilatura` extractor, by a Python that has it (benchmarks/requirements.txt).
CPU seconds count, of datatrove with its extractor's process. The rounds alternate.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beam_pipelines.sources.containers import Container
from beam_pipelines.web.address import BadAddressError
from beam_pipelines.web.charset import NoTextError
from beam_pipelines.web.page import RawPage
from beam_pipelines.web.transform import PageSettings, page_document
from beam_pipelines.web.warc import WarcFormat
from benchmarks import web_peers
from benchmarks.web_corpus import command, corpus_pages, write_warc
from opencoder_jax.formats.document import Document

SETTINGS = PageSettings(max_page_bytes=8 << 20, min_characters=100)
_ROUNDS = 3


class Speed(NamedTuple):
    """Pages that gave a text, of how many, and seconds of one core."""

    kept: int
    pages: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.pages / self.seconds


def read_documents(warc: Path) -> Iterator[Document | None]:
    """Each page of a crawl file as the job makes it; None where it drops one."""
    container = Container(str(warc), warc.name, warc.stat().st_size)
    form = WarcFormat()
    for part in form.split(container):
        for page in form.read(container, part, SETTINGS.max_page_bytes):
            if isinstance(page, RawPage):
                try:
                    yield page_document(page, SETTINGS)
                except (BadAddressError, NoTextError):
                    yield None


def our_speed(warc: Path) -> Speed:
    """Reads and extracts a crawl file here."""
    start = time.process_time()
    found = list(read_documents(warc))
    seconds = time.process_time() - start
    return Speed(sum(document is not None for document in found), len(found), seconds)


def datatrove_speed(warc: Path, pages: int, python: str) -> Speed:
    """The same by datatrove."""
    command = [python, web_peers.__file__, "datatrove", str(warc)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Speed(found["kept"], pages, found["cpu_seconds"])


def web_pages(corpus: Path, every: int, peers_python: str) -> None:
    """Prints a line a round, and the ratio of the medians."""
    with tempfile.TemporaryDirectory() as folder:
        warc = Path(folder) / "pages.warc.gz"
        pages = list(corpus_pages(corpus))[::every]
        write_warc(pages, warc)
        print(f"{len(pages)} pages, {warc.stat().st_size / 1e6:.1f} MB as {warc.name}")
        our_speed(warc)
        rounds = []
        for _ in range(_ROUNDS):
            ours = our_speed(warc)
            theirs = datatrove_speed(warc, len(pages), peers_python)
            rounds.append((ours, theirs))
            print(
                f"ours {ours.rate:,.0f} pages/s ({ours.kept} kept), "
                f"datatrove {theirs.rate:,.1f} pages/s ({theirs.kept} kept), "
                f"{ours.rate / theirs.rate:.1f} times"
            )
        ratios = sorted(ours.rate / theirs.rate for ours, theirs in rounds)
        print(f"ours is {ratios[len(ratios) // 2]:.1f} times as fast (median)")


if __name__ == "__main__":
    sys.exit(command(web_pages, __doc__, every=10))
