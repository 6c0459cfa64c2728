"""A folder as a source: every file once, nothing outside it, no loop."""

import os
from pathlib import Path

import pytest

from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.folder import Folder
from opencoder_jax.errors import InputError
from tests.beam_pipelines.bad_files import make_repositories
from tests.beam_pipelines.sources.reading import files_of


def read(root: Path) -> list[RawFile]:
    return files_of(Folder(str(root)))


def test_every_file_is_listed_once_with_its_obstacle(tmp_path: Path) -> None:
    expected = make_repositories(tmp_path)
    entries = read(tmp_path)
    assert sorted((entry.repo, entry.path) for entry in entries) == sorted(expected)
    obstacles = {"link", "dangling_link", "not_a_file"}
    for entry in entries:
        reason = expected[entry.repo, entry.path]
        assert entry.obstacle == (reason if reason in obstacles else "")


def test_the_list_depends_on_names_alone(tmp_path: Path) -> None:
    for folder, order in (("one", "abc"), ("two", "cab")):
        for name in order:
            (tmp_path / folder / name).mkdir(parents=True)
            (tmp_path / folder / name / "x.py").write_text(folder)
    first, second = (read(tmp_path / folder) for folder in ("one", "two"))
    assert [(e.id, e.repo, e.path) for e in first] == [(e.id, e.repo, e.path) for e in second]


def test_a_checkout_is_one_repository_without_its_history(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text("ref")
    (root / "src").mkdir()
    (root / "src" / "a.py").write_text("")
    assert [(file.repo, file.path) for file in read(root)] == [("project", "src/a.py")]


def test_a_file_in_the_root_and_one_in_a_folder_named_alike_are_two(tmp_path: Path) -> None:
    root = tmp_path / "x"
    (root / "x").mkdir(parents=True)
    (root / "a.py").write_text("")
    (root / "x" / "a.py").write_text("")
    assert len({entry.id for entry in read(root)}) == 2


def test_names_that_are_no_utf8_stay_apart(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.py")).write_text("")
    (tmp_path / "\\xff.py").write_text("")
    entries = read(tmp_path)
    assert {entry.path for entry in entries} == {"\\xff.py"}
    assert len({entry.id for entry in entries}) == 2


@pytest.mark.parametrize("root", ["nowhere", "file", "empty"])
def test_a_source_without_files_is_bad_input(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=root):
        Folder(str(tmp_path / root)).fingerprint()
