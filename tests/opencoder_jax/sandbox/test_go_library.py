"""Go's library is compiled once and left out where that helps nobody."""

from pathlib import Path

import pytest

from opencoder_jax.sandbox import go_library


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Go whose compiler only notes that it was called."""
    root = tmp_path / "go"
    (root / "bin").mkdir(parents=True)
    (root / "VERSION").write_text("go9.9")
    compiler = root / "bin" / "go"
    compiler.write_text("#!/bin/sh\n[ $1 = build ] && echo $CGO_ENABLED $* >> $GOCACHE/calls\n")
    compiler.chmod(0o755)
    return root


def test_the_library_is_made_whole_or_not_at_all(root: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    go_library._make(str(root), library)
    assert (library / "calls").read_text().startswith("0 build bufio")
    # Programs are another user.
    assert library.stat().st_mode & 0o777 == 0o755
    go_library._make(str(root), library)
    assert len((library / "calls").read_text().splitlines()) == 1
    (root / "bin" / "go").write_text("#!/bin/sh\ntouch $GOCACHE/half; exit 1\n")
    with pytest.raises(go_library.subprocess.CalledProcessError):
        go_library._make(str(root), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["go", "library"]


def test_none_is_made_where_go_brings_it_or_programs_would_not_see_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/opencoder-jax-test")
    assert go_library.folder(str(root)) is None
    compiled = root / "pkg" / "linux_amd64" / "fmt.a"
    compiled.parent.mkdir(parents=True)
    compiled.touch()
    go_library._folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.home()))
    assert go_library.folder(str(root)) is None
