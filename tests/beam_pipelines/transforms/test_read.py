"""Reading: what is text in a known language becomes a document, the rest has a reason."""

import os
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines import runner
from beam_pipelines.sources.entry import FileEntry, make_entry
from beam_pipelines.transforms.read import (
    NotTextError,
    ReadFiles,
    content_fingerprint,
    decode_text,
    read_document,
)

CAP = 1000


def entry_of(path: Path | str, name: str = "") -> FileEntry:
    return make_entry("test", "repo", name or Path(path).name, str(path), follow_links=False)


def reason(entry: FileEntry) -> str:
    with pytest.raises(NotTextError) as problem:
        read_document(entry, CAP)
    return problem.value.reason


def test_a_document_is_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("x = 'é'\r\n".encode())
    document = read_document(entry_of(tmp_path / "a.py"), CAP)
    assert (document.text, document.language, document.doc_type) == (
        "x = 'é'\r\n",
        "python",
        "code",
    )
    assert (document.repo, document.path, document.provenance) == ("repo", "a.py", "test")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    (tmp_path / "b.py").write_bytes(b"x = 1\n")
    first, second = (read_document(entry_of(tmp_path / name), CAP) for name in ("a.py", "b.py"))
    assert first.text == second.text
    assert first.content_sha256 == second.content_sha256
    assert first.id != second.id


def test_a_script_without_extension_is_known_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\necho 1\n")
    assert read_document(entry_of(tmp_path / "run"), CAP).language == "shell"


def test_size_is_decided_before_the_file_is_opened(tmp_path: Path) -> None:
    entry = FileEntry("0", "repo", "a.py", b"/nowhere/a.py", CAP + 1)
    assert reason(entry) == "too_large"


def test_a_file_that_grew_since_it_was_listed_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    entry = entry_of(tmp_path / "a.py")
    (tmp_path / "a.py").write_text("x = 1\n" * CAP)
    assert reason(entry) == "too_large"


def test_a_file_that_vanished_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    entry = entry_of(tmp_path / "a.py")
    (tmp_path / "a.py").unlink()
    assert reason(entry) == "unreadable"


@pytest.mark.timeout(20)
def test_a_file_that_became_a_pipe_or_a_link_is_never_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    entry = entry_of(path)
    path.unlink()
    os.mkfifo(path)
    assert reason(entry) == "unreadable"
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert reason(entry) == "unreadable"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_an_input_output_error_is_a_drop_with_its_name() -> None:
    with pytest.raises(NotTextError, match="EIO"):
        read_document(entry_of("/proc/self/mem"), CAP)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\n \t\r\n", "empty"),
        (b"abc\0", "binary"),
        (b"\x01\x02abc", "binary"),
        (b"\xff\xfea\0", "not_utf8"),
        (b"caf\xe9", "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),
    ],
)
def test_bytes_that_are_no_text_have_a_reason(content: bytes, expected: str) -> None:
    with pytest.raises(NotTextError) as problem:
        decode_text(content)
    assert problem.value.reason == expected


@pytest.mark.parametrize("text", ["a\tb\r\nc\x0c\x0b\x1b[0m", "日本語 \U0001f600", "\ufffd\ufeff"])
def test_odd_but_valid_text_is_kept_exactly(text: str) -> None:
    assert decode_text(text.encode()) == text


def test_the_fingerprint_sees_contents_and_not_places(tmp_path: Path) -> None:
    def fingerprint(folder: str, text: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.py").write_text(text)
        return content_fingerprint([entry_of(tmp_path / folder / "a.py")], CAP)

    assert fingerprint("one", "x = 1\n") == fingerprint("two", "x = 1\n")
    assert fingerprint("one", "x = 2\n") != fingerprint("two", "x = 1\n")


def test_a_file_that_is_listed_twice_is_one_document_and_one_drop(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text(f"place = '{folder}'\n")
    twice = [entry_of(tmp_path / folder / "x.py") for folder in ("b", "a")]
    with runner.pipeline([]) as pipeline:
        read = pipeline | beam.Create(twice) | ReadFiles(CAP)
        assert_that(read.kept | beam.Map(lambda d: d.text), equal_to(["place = 'a'\n"]), "kept")
        reasons = read.dropped | beam.Map(lambda drop: (drop.id, drop.reason))
        assert_that(reasons, equal_to([(twice[0].id, "duplicate_id")]), "dropped")
