"""Readers of WARC files: what damage costs each, and how fast they are.

    python -m benchmarks.web_readers --corpus=DIR --peers_python=PYTHON [--every=1]

Each damaged file has five records, the third damaged in one way. A cell says which of the four
others and of the third a reader hands over (`3!`: the third, or another, with other content than it
has), and `error` where it then ends. Speed: `web.jsonl.zst` as `.warc.gz`, read to payloads.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from beam_pipelines.sources.containers import Container
from beam_pipelines.web.page import RawPage
from beam_pipelines.web.warc import WarcFormat
from benchmarks import web_peers
from benchmarks.web_corpus import command, corpus_pages, write_warc

PEERS = ("fastwarc", "warcio")
_LONGEST = 1 << 30
_BODY = "<p>This is page %d. " * 150


def record(number: int, length: int | None = None) -> bytes:
    """A response; `length` is what it claims of its block."""
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body(number)
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:{number}>\r\nWARC-Target-URI: http://a.example/{number}\r\n"
        "Content-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def body(number: int) -> bytes:
    return (_BODY.replace("%d", str(number))).encode()


def _flip(member: bytes, at: int) -> bytes:
    return member[:at] + bytes([member[at] ^ 0xFF]) + member[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a byte flipped": lambda record: _flip(gzip.compress(record), 60),
    "member cut": lambda record: gzip.compress(record)[:100],
    "wrong checksum": lambda record: _flip(gzip.compress(record), -8),
}
LENGTHS = {"length too small": 100, "length too large": 6000}


def damaged_files() -> dict[str, bytes]:
    """What is damaged, with `gzip` or `plain`, to the file."""
    records = [record(number) for number in range(1, 6)]
    members = [gzip.compress(one) for one in records]
    files = {
        f"{name}, gzip": b"".join([*members[:2], damage(records[2]), *members[3:]])
        for name, damage in DAMAGES.items()
    }
    wrong = {name: record(3, length) for name, length in LENGTHS.items()}
    wrong["no length"] = records[2].replace(b"Content-Length", b"Content-Missing")
    for name, bad in wrong.items():
        files[f"{name}, gzip"] = b"".join([*members[:2], gzip.compress(bad), *members[3:]])
        files[f"{name}, plain"] = b"".join([*records[:2], bad, *records[3:]])
    files["fifth record cut, gzip"] = b"".join(members)[:-40]
    files["fifth record cut, plain"] = b"".join(records)[:-400]
    return files


def ours(path: Path) -> list[tuple[str, bytes]]:
    """(address, body) of each page."""
    container = Container(str(path), path.name, path.stat().st_size)
    form = WarcFormat()
    return [
        (page.url, page.body)
        for part in form.split(container)
        for page in form.read(container, part, _LONGEST)
        if isinstance(page, RawPage)
    ]


def described(found: Sequence[tuple[str, int]], error: str) -> str:
    """The numbers of the records, marked where their bytes are not all that they have."""
    marks = [url.rpartition("/")[2] + ("" if size == len(body(1)) else "!") for url, size in found]
    return " ".join([*marks, "error" if error else ""]).strip() or "nothing"


def web_readers(corpus: Path, every: int, peers_python: str) -> None:
    """Prints both tables."""
    table = Table("damage", "ours", *PEERS)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in damaged_files().items():
            path = Path(folder) / ("a.warc" if name.endswith("plain") else "a.warc.gz")
            path.write_bytes(content)
            cells = [described([(url, len(found)) for url, found in ours(path)], "")]
            for peer in PEERS:
                found = _peer(peers_python, peer, path)
                cells.append(described(found["found"], found["error"]))
            table.add_row(name, *cells)
        path = Path(folder) / "pages.warc.gz"
        write_warc(list(corpus_pages(corpus))[::every], path)
        start = time.process_time()
        pages = ours(path)
        megabytes = sum(len(content) for _, content in pages) / 1e6
        speeds = [megabytes / (time.process_time() - start)]
        speeds += [megabytes / _peer(peers_python, peer, path)["seconds"] for peer in PEERS]
        table.add_row("none: MB of payload/s", *(f"{speed:,.0f}" for speed in speeds))
    Console(width=100).print(table)


def _peer(python: str, name: str, path: Path) -> dict:
    command = [python, web_peers.__file__, "records", name, str(path)]
    return json.loads(
        subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ).stdout
    )


if __name__ == "__main__":
    sys.exit(command(web_readers, __doc__, every=1))
