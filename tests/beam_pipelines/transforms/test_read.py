"""Reading: what is text in a known language becomes a document, the rest has a reason."""

import os
from pathlib import Path

import pytest

from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.local import LocalFile, fingerprint, list_file, read_file
from beam_pipelines.transforms.read import NotTextError, decode_text, read_document

CAP = 1000


def entry_of(path: Path | str, name: str = "") -> LocalFile:
    return list_file("test", "repo", name or Path(path).name, str(path), follow_links=False)


def reason(entry: LocalFile) -> str:
    with pytest.raises(NotTextError) as problem:
        read_document(read_file(entry, CAP), CAP)
    return problem.value.reason


def test_a_document_is_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("x = 'é'\r\n".encode())
    document = read_document(read_file(entry_of(tmp_path / "a.py"), CAP), CAP)
    assert (document.text, document.language, document.doc_type) == (
        "x = 'é'\r\n",
        "python",
        "code",
    )
    assert (document.repo, document.path, document.provenance) == ("repo", "a.py", "test")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    (tmp_path / "b.py").write_bytes(b"x = 1\n")
    first, second = (
        read_document(read_file(entry_of(tmp_path / name), CAP), CAP) for name in ("a.py", "b.py")
    )
    assert first.text == second.text
    assert first.content_sha256 == second.content_sha256
    assert first.id != second.id


def test_a_script_without_extension_is_known_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\necho 1\n")
    assert read_document(read_file(entry_of(tmp_path / "run"), CAP), CAP).language == "shell"


def test_size_is_decided_before_the_file_is_opened(tmp_path: Path) -> None:
    entry = LocalFile("0", "repo", "a.py", b"/nowhere/a.py", CAP + 1)
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
        read_document(read_file(entry_of("/proc/self/mem"), CAP), CAP)


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


def test_the_fingerprint_sees_contents_and_neither_places_nor_order(tmp_path: Path) -> None:
    def files(folder: str, text: str) -> list[LocalFile]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.py").write_text(text)
        (tmp_path / folder / "b.py").write_text("")
        return [entry_of(tmp_path / folder / name) for name in ("a.py", "b.py")]

    first = fingerprint(files("one", "x = 1\n"))
    assert fingerprint(files("two", "x = 1\n")[::-1]) == first
    assert fingerprint(files("one", "x = 2\n")) != first


def test_what_a_name_decides_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    entry = entry_of(tmp_path / "a.svg")
    (tmp_path / "a.svg").unlink()
    assert read_file(entry, CAP).content == b""
    assert reason(entry) == "excluded_language"


@pytest.mark.parametrize(
    ("path", "language", "expected"),
    [
        ("a.py", "Ruby", "python"),
        ("a.unheard", "C++", "cpp"),
        ("README", "Markdown", "markdown"),
        ("run", "", "shell"),
    ],
)
def test_a_source_s_language_counts_where_the_name_tells_nothing(
    path: str, language: str, expected: str
) -> None:
    content = b"#!/bin/sh\necho 1\n" if path == "run" else b"text\n"
    file = RawFile("repo", path, content, len(content), "0", language=language)
    assert read_document(file, CAP).language == expected
