"""Git repositories as a source: the blobs of a commit, their times, and nothing that runs."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest

from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.git import Git
from beam_pipelines.sources.stars import read_stars
from opencoder_jax.errors import InputError
from tests.beam_pipelines.sources.reading import files_of

DAY = 86_400


def git(folder: Path, *arguments: str, day: int = 0) -> str:
    """Runs git as somebody who commits on a day since the epoch."""
    when = f"@{day * DAY} +0000"
    who = {
        f"GIT_{role}_{fact}": "a@b"
        for role in ("AUTHOR", "COMMITTER")
        for fact in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env=os.environ | who | {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(folder: Path, files: dict[str, str], *, day: int) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change", day=day)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "forge" / "owner" / "project"
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    commit(folder, {"a.py": "x = 1\n", "src/new\nline.py": "y = 1\n", "b.svg": "<svg/>"}, day=1)
    commit(folder, {"a.py": "x = 2\n"}, day=2)
    return folder


def by_path(files: list[RawFile]) -> dict[str, RawFile]:
    return {file.path: file for file in files}


def test_files_are_those_of_the_commit_with_the_time_of_their_last_change(repository: Path) -> None:
    (repository / "a.py").write_text("not committed")
    (repository / "untracked.py").write_text("")
    files = by_path(files_of(Git(str(repository))))
    assert {path: file.content for path, file in files.items()} == {
        "a.py": b"x = 2\n",
        "src/new\nline.py": b"y = 1\n",
        "b.svg": b"",  # dropped by its name, so nobody reads it
    }
    assert {file.commit_time for file in (files["src/new\nline.py"], files["b.svg"])} == {DAY}
    assert files["a.py"].commit_time == 2 * DAY
    assert {file.repo for file in files.values()} == {"project"}


def test_an_older_commit_can_be_read_and_one_time_for_all(repository: Path) -> None:
    files = by_path(files_of(Git(str(repository), commit="HEAD~1", commit_times="commit")))
    assert files["a.py"].content == b"x = 1\n"
    assert {file.commit_time for file in files.values()} == {DAY}


def test_a_change_that_came_by_a_merge_has_the_time_of_its_own_commit(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, {"side.py": "s = 1\n"}, day=3)
    git(repository, "checkout", "-q", "main")
    commit(repository, {"main.py": "m = 1\n"}, day=4)
    git(repository, "merge", "-q", "--no-edit", "side", day=5)
    files = by_path(files_of(Git(str(repository))))
    assert files["side.py"].commit_time == 3 * DAY
    assert files["main.py"].commit_time == 4 * DAY


def test_a_folder_of_repositories_bare_ones_too_with_stars(repository: Path) -> None:
    forge = repository.parent.parent
    git(forge, "clone", "-q", "--bare", str(repository), "mirror.git")
    stars = forge / "stars.tsv"
    stars.write_text("owner/project\t12\n")
    files = files_of(Git(str(forge), stars=str(stars)))
    assert {file.repo: file.stars for file in files} == {"owner/project": 12, "mirror": 0}
    assert len({file.id for file in files}) == len(files) == 6


def test_links_and_submodules_are_obstacles(repository: Path) -> None:
    (repository / "link.py").symlink_to("/etc/passwd")
    git(repository, "submodule", "add", "-q", str(repository), "inside")
    commit(repository, {}, day=3)
    files = by_path(files_of(Git(str(repository))))
    assert (files["link.py"].obstacle, files["link.py"].content) == ("link", b"")
    assert files["inside"].obstacle == "submodule"


def test_a_damaged_repository_is_accounted_for_and_costs_no_other(repository: Path) -> None:
    forge = repository.parent.parent
    broken = forge / "broken"
    shutil.copytree(repository, broken)
    tree = git(broken, "rev-parse", "HEAD^{tree}")
    (broken / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    (forge / "empty").mkdir()
    git(forge / "empty", "init", "-q")
    files = files_of(Git(str(forge)))
    damaged = {file.repo: file for file in files if file.obstacle}
    assert {repo: file.obstacle for repo, file in damaged.items()} == {
        "broken": "damaged_source",
        "empty": "damaged_source",
    }
    assert "there is no commit 'HEAD'" in damaged["empty"].detail
    assert len([file for file in files if file.repo == "owner/project"]) == 3


def test_a_blob_that_is_missing_is_unreadable_and_the_others_are_read(repository: Path) -> None:
    blob = git(repository, "rev-parse", "HEAD:a.py")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    files = by_path(files_of(Git(str(repository))))
    assert (files["a.py"].obstacle, files["src/new\nline.py"].content) == ("unreadable", b"y = 1\n")


def test_names_that_are_no_utf8_stay_apart(repository: Path) -> None:
    for name in (b"\xff.py", b"\\xff.py"):
        (repository / os.fsdecode(name)).write_text("")
    commit(repository, {}, day=3)
    files = [file for file in files_of(Git(str(repository))) if file.path == "\\xff.py"]
    assert len({file.id for file in files}) == 2


def test_nothing_that_a_repository_configures_is_run(repository: Path) -> None:
    trap = repository.parent / "trap"
    program = f"touch {trap}; cat"
    git(repository, "config", "core.fsmonitor", program)
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "gpg.program", program)
    git(repository, "config", "diff.external", program)
    git(repository, "config", "diff.trap.textconv", program)
    git(repository, "config", "filter.trap.smudge", program)
    (repository / ".git" / "info" / "attributes").write_text("* diff=trap filter=trap\n")
    assert len(files_of(Git(str(repository)))) == 3
    assert not trap.exists()


def test_the_fingerprint_is_that_of_the_commit_wherever_the_repository_stands(
    repository: Path, tmp_path: Path
) -> None:
    before = Git(str(repository)).fingerprint()
    copy = tmp_path / "project"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    assert Git(str(copy)).fingerprint() == before
    assert Git(str(repository), commit="HEAD~1").fingerprint() != before
    commit(repository, {"a.py": "x = 3\n"}, day=3)
    assert Git(str(repository)).fingerprint() != before


def test_a_branch_that_moves_after_the_start_changes_nothing(repository: Path) -> None:
    for first in ("fingerprint", "graph"):
        source, same = Git(str(repository)), Git(str(repository))
        fingerprint = same.fingerprint()
        moving = Moving(source, first, lambda: commit(repository, {"a.py": "later\n"}, day=9))
        before = git(repository, "show", "HEAD:a.py")
        files = by_path(files_of(moving))
        assert git(repository, "show", "HEAD:a.py") == "later" != before
        assert files["a.py"].content == f"{before}\n".encode()
        assert files["a.py"].commit_time == 2 * DAY
        assert source.fingerprint() == fingerprint != Git(str(repository)).fingerprint()
        git(repository, "reset", "-q", "--hard", "HEAD~1")


class Moving:
    """A source that something happens to between its fingerprint or graph and the run."""

    def __init__(self, source: Git, first: str, happens: Callable[[], object]) -> None:
        self._source = source
        self._first = first
        self._happens = happens

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection:
        if self._first == "fingerprint":
            self._source.fingerprint()
            self._happens()
        files = self._source.read(pipeline, max_file_bytes)
        if self._first == "graph":
            self._happens()
        return files


def test_a_commit_that_is_gone_when_it_is_read_is_accounted_for(repository: Path) -> None:
    source = Git(str(repository))
    moving = Moving(source, "graph", lambda: shutil.rmtree(repository))
    (gone,) = files_of(moving)
    assert (gone.repo, gone.obstacle) == ("project", "damaged_source")


def test_what_is_no_repository_is_bad_input(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is no repository and holds none"):
        Git(str(tmp_path / "empty")).fingerprint()
    with pytest.raises(InputError, match="nowhere: no such folder"):
        Git(str(tmp_path / "nowhere")).fingerprint()
    with pytest.raises(InputError, match="there is no commit 'v9'"):
        Git(str(repository), commit="v9").fingerprint()
    with pytest.raises(InputError, match="--output=x"):
        Git(str(repository), commit="--output=x").fingerprint()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs the `git` command"):
        Git(str(repository)).fingerprint()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "no JSON"), ('{"a": "3"}', "'a' has '3'"), ("a 3\n", "line 1"), ("a\tmany\n", "line 1")],
)
def test_a_stars_file_that_is_none_is_bad_input(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "stars").write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_stars(str(tmp_path / "stars"))


def test_stars_are_json_or_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"o/a": 3, "o/b": 0}')
    (tmp_path / "b.tsv").write_text("o/a\t3\no/b\t0\n")
    assert read_stars(str(tmp_path / "a.json")) == read_stars(str(tmp_path / "b.tsv"))
