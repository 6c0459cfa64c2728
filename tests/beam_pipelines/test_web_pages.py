"""Crawl files become documents, every capture accounted for, the same bytes every time."""

import argparse
import gzip
import inspect
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from beam_pipelines import refinecode, web_pages
from beam_pipelines.accounting import decode_drop
from opencoder_jax import configuration
from opencoder_jax.formats import shards
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.manifest import ManifestError
from tests.beam_pipelines.engines import dask_cluster, external_pool
from tests.beam_pipelines.web.crawls import members, response, warc_record, write

PACKED = "Content-Encoding: gzip"
PROSE = "A page about programs has to say something before anybody wants to keep it. " * 3


def html(text: str, head: str = "") -> bytes:
    return f"<html><head>{head}</head><body><h1>Title</h1><p>{text}</p></body></html>".encode()


def capture(url: str, body: bytes, *headers: str, status: str = "200 OK", **facts: object) -> bytes:
    mime = str(facts.pop("mime", "text/html"))
    return warc_record(url, response(body, mime, status, *headers), **facts)


def run(crawl: Path, output: Path, *pipeline_args: str, shards_made: int = 2) -> dict[str, bytes]:
    """Runs the job; everything that it wrote but the clock's readings."""
    configured = configuration.configure(
        web_pages.web_pages,
        gin_files=["web_pages/warc.gin"],
        bindings=[
            f"CRAWL_FILES = '{crawl}'",
            f"OUTPUT_DIR = '{output}'",
            f"NUM_SHARDS = {shards_made}",
        ],
    )
    configured(pipeline_args=pipeline_args)
    files = (path for path in output.rglob("*") if path.is_file())
    written = {str(path.relative_to(output)): path.read_bytes() for path in files}
    return {n: content for n, content in written.items() if n not in ("timing.json", "config.gin")}


def pages(output: Path) -> list[Document]:
    return [decode_document(record) for record in shards.read_records(output, "documents")]


def reasons(output: Path) -> dict[str, str]:
    """Address of each drop to its reason."""
    drops = [decode_drop(record) for record in shards.read_records(output / "dropped", "dropped")]
    return {drop.path: drop.reason for drop in drops}


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    records = [
        warc_record("https://example.org/", b"software: test\r\n", "warcinfo"),
        capture(
            "https://www.example.org/old", html("The first. " + PROSE), date="2024-01-01T00:00:00Z"
        ),
        capture(
            "https://www.example.org/old", html("The second. " + PROSE), date="2025-01-01T00:00:00Z"
        ),
        capture("https://example.org/plain", PROSE.encode(), mime="text/plain"),
        capture("https://example.org/packed", gzip.compress(html(PROSE)), PACKED),
        capture("https://example.org/missing", html(PROSE), status="404 Not Found"),
        capture("https://example.org/picture", b"\x89PNG", mime="image/png"),
        capture("https://example.org/lies", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9),
        capture("https://example.org/short", html("Hello.")),
        capture("https://example.org/empty", b""),
        capture("https://example.org/huge", b"<p>" + b"word " * 10_000_000),
        capture("https://example.org/bomb", gzip.compress(b"<p>" * 20_000_000, 1), PACKED),
        capture("https://example.org/deep", html("<div>" * 100_000 + PROSE)),
        capture("ftp://example.org/file", html(PROSE)),
        capture("http://user:pw@other.example:80/#x", html(PROSE)),
    ]
    packed = members(records)
    packed.insert(3, b"junk" * 30)
    write(tmp_path / "crawl" / "a.warc.gz", packed[:8])
    write(tmp_path / "crawl" / "sub" / "b.warc.gz", packed[8:])
    return tmp_path / "crawl"


def test_every_capture_is_a_page_or_a_drop(crawl: Path, tmp_path: Path) -> None:
    output = tmp_path / "pages"
    run(crawl, output)
    found = {page.path: page for page in pages(output)}
    assert sorted(found) == [
        "http://other.example/",
        "https://example.org/packed",
        "https://example.org/plain",
        "https://www.example.org/old",
    ]
    latest = found["https://www.example.org/old"]
    assert latest.text.startswith("# Title\n\nThe second.")
    assert (latest.repo, latest.language, latest.doc_type) == ("example.org", "markdown", "text")
    assert (latest.provenance, latest.commit_time) == ("web-page", 1735689600)
    dropped = reasons(output)
    damaged = [path for path, reason in dropped.items() if reason == "damaged_source"]
    assert len(damaged) == 1
    del dropped[damaged[0]]
    assert dropped == {
        "https://www.example.org/old": "older_capture",
        "https://example.org/missing": "http_status",
        "https://example.org/picture": "not_html",
        "https://example.org/lies": "binary",
        "https://example.org/short": "too_short",
        "https://example.org/empty": "empty",
        "https://example.org/huge": "too_large",
        "https://example.org/bomb": "too_large",
        "https://example.org/deep": "too_deep",
        "ftp://example.org/file": "not_http",
    }
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["counts"]["documents"]["input"] == 15
    assert manifest["counts"]["skipped"] == {"warcinfo": 1}
    statistics = json.loads((output / "statistics.json").read_text())
    assert statistics["totals"] == {
        "captures": 15,
        "pages": 4,
        "bytes": sum(page.text_bytes for page in found.values()),
        "domains": 2,
    }
    assert [(row["domain"], row["pages"]) for row in statistics["domains"]] == [
        ("example.org", 3),
        ("other.example", 1),
    ]
    assert statistics["languages"]["en"]["pages"] == 4


@pytest.mark.slow
def test_the_same_bytes_whatever_the_runner(crawl: Path, tmp_path: Path) -> None:
    expected = run(crawl, tmp_path / "a")
    for index, flags in enumerate(
        (
            ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"],
            ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        )
    ):
        assert run(crawl, tmp_path / str(index), *flags) == expected


@pytest.mark.slow
def test_the_same_bytes_in_other_processes(crawl: Path, tmp_path: Path) -> None:
    expected = run(crawl, tmp_path / "a")
    with external_pool(tmp_path) as flags:
        assert run(crawl, tmp_path / "b", *flags) == expected
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path) as flags:
        assert run(crawl, tmp_path / "c", *flags) == expected


@pytest.mark.slow
def test_a_killed_job_repeated_leaves_the_same_bytes(crawl: Path, tmp_path: Path) -> None:
    expected = run(crawl, tmp_path / "a")
    command = [sys.executable, "-m", "beam_pipelines.web_pages", f"--gin.CRAWL_FILES={crawl}"]
    command += [f"--gin.OUTPUT_DIR={tmp_path / 'b'}", "--gin.NUM_SHARDS=2"]
    with subprocess.Popen(command) as process:
        while not (tmp_path / "b" / ".incomplete").exists() and process.poll() is None:
            os.sched_yield()
        process.kill()
    assert not (tmp_path / "b" / "manifest.json").exists()
    assert run(crawl, tmp_path / "b") == expected


def test_a_finished_folder_is_left_alone_and_refused_to_others(crawl: Path, tmp_path: Path) -> None:
    output = tmp_path / "pages"
    before = run(crawl, output)
    assert run(crawl, output) == before
    with pytest.raises(ManifestError):
        run(crawl, output, shards_made=3)


def test_an_unfinished_folder_is_made_anew(crawl: Path, tmp_path: Path) -> None:
    expected = run(crawl, tmp_path / "a")
    left = write(tmp_path / "b" / ".incomplete" / "documents-00000-of-00002.arrayrecord", b"half")
    assert run(crawl, tmp_path / "b") == expected
    assert not left.exists()


def test_cleaning_takes_pages_as_text_whatever_their_addresses_end_in(tmp_path: Path) -> None:
    documented = (json, textwrap, pathlib.Path, argparse.ArgumentParser, str, dict, gzip, shutil)
    texts = [inspect.getdoc(thing) or "" for thing in documented]
    texts += [inspect.getdoc(getattr(shutil, name)) or "" for name in shutil.__all__]
    prose = "</p>\n<p>".join(text for text in texts if "<" not in text)
    names = ("a.html", "b.py", "c.ipynb", "d.exe", "e", "f.php?x=.c")
    records = [
        capture(f"https://www.{name[0]}.example/{name}", html(f"{prose} {name * 9} {name}"))
        for name in names
    ]
    script = b"#!/usr/bin/env python\n" + prose.encode()
    records.append(capture("https://s.example/script", script, mime="text/plain"))
    run(write(tmp_path / "a.warc.gz", members(records)), tmp_path / "pages")
    clean = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/sources/web_pages.gin"],
        bindings=[
            f"SOURCE_FILES = '{tmp_path}/pages/documents-*'",
            f"OUTPUT_DIR = '{tmp_path}/corpus'",
            "NUM_SHARDS = 2",
        ],
    )
    clean(pipeline_args=())
    before = {page.id: page for page in pages(tmp_path / "pages")}
    after = pages(tmp_path / "corpus")
    assert len(before) == 7
    dropped = reasons(tmp_path / "corpus")
    assert len(after) + len(dropped) == 7
    assert set(dropped.values()) <= {"near_duplicate", "exact_duplicate", "rule"}
    assert after
    for page in after:
        assert (page.language, page.doc_type) == ("markdown", "text")
        assert (page.repo, page.path) == (before[page.id].repo, before[page.id].path)
        assert page.provenance == "web-page"
