"""The benchmark corpus' pages, and the same pages as a crawl file.

`web.jsonl.zst` has one JSON object a line, with `repo_name`, `path`, `content` and `label`. As a
WARC file each page is a response in a gzip member of its own, as crawlers write them.
"""

import argparse
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from opencoder_jax.errors import InputError

NAME = "web.jsonl.zst"


class CorpusPage(NamedTuple):
    """A page: where it comes from (`debian/git-doc`), what it is said to be, and its HTML."""

    repo: str
    path: str
    label: str
    html: str

    @property
    def url(self) -> str:
        """An address, the packages being hosts: `https://git-doc.debian.example/...`."""
        registry, _, name = self.repo.partition("/")
        return f"https://{name}.{registry}.example/{self.path}"


def command(benchmark: Callable[[Path, int, str], None], doc: str | None, every: int) -> int:
    """Runs a benchmark of one page in `--every`, beside peers of another environment.

    Args:
      benchmark: of the corpus' folder, `--every` and `--peers_python`.
      doc: of its module.
      every: by default.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--corpus", required=True, type=Path)
    parser.add_argument("--every", default=every, type=int)
    parser.add_argument("--peers_python", default=sys.executable)
    arguments = parser.parse_args()
    try:
        benchmark(arguments.corpus, arguments.every, arguments.peers_python)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def corpus_pages(corpus: Path) -> Iterator[CorpusPage]:
    """Raises: InputError: `corpus` has no such file."""
    try:
        file = (corpus / NAME).open("rb")
    except OSError as error:
        raise InputError(f"{corpus / NAME}: {error.strerror}") from error
    with file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            row = json.loads(line)
            yield CorpusPage(row["repo_name"], row["path"], row["label"], row["content"])


def write_warc(pages: Iterable[CorpusPage], path: Path) -> None:
    """Writes the pages as a `.warc.gz`."""
    with path.open("wb") as file:
        for page in pages:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
            block = head + page.html.encode("utf-8")
            record = (
                "WARC/1.0\r\nWARC-Type: response\r\n"
                f"WARC-Record-ID: <{page.url}>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
                f"WARC-Target-URI: {page.url}\r\n"
                "Content-Type: application/http; msgtype=response\r\n"
                f"Content-Length: {len(block)}\r\n\r\n"
            )
            file.write(gzip.compress(record.encode() + block + b"\r\n\r\n", 6, mtime=0))
