"""Pages are written whole or not at all, where they were asked for."""

from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.report import page_file


def test_a_page_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "page.html"
    page_file.write(path, "one")
    page_file.write(path, "two \ud800")
    assert path.read_text() == "two \\ud800"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_place_of_a_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for path in (Path(), Path("/"), folder):
        with pytest.raises(InputError, match="is a folder: name a file in it"):
            page_file.write(path, "page")
    assert list(tmp_path.iterdir()) == [folder]
