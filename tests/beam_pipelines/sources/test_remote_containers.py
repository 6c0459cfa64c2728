"""Containers in an object store give the files that they give from a disk; what is gone is said."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from beam_pipelines.runner import pipeline
from beam_pipelines.sources.arrayrecord import ArrayRecords
from beam_pipelines.sources.entry import RawFile, Source
from beam_pipelines.sources.fields import Fields
from beam_pipelines.sources.jsonl import JsonLines
from beam_pipelines.sources.parquet import Parquet
from beam_pipelines.sources.tarball import Tar
from opencoder_jax.errors import InputError
from tests.beam_pipelines.bad_containers import MAX_FILE_BYTES, make_containers
from tests.beam_pipelines.dedup.running import run_source
from tests.beam_pipelines.object_store import Store


def files_of(source: Source, options: Sequence[str]) -> list[RawFile]:
    found = run_source(source, MAX_FILE_BYTES, options)
    return sorted(found, key=lambda file: (file.id, file.content))


@pytest.mark.slow
def test_a_store_gives_the_same_files_and_the_same_damage_as_a_disk(
    store: Store, tmp_path: Path
) -> None:
    root = make_containers(tmp_path / "made").root
    for path in list(root.iterdir()):
        # A store has no links, pipes and folders; large ones would only take time.
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 24:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    url = store.upload(root, "containers") + "/"
    for make in (JsonLines, Parquet, Tar, lambda files: ArrayRecords(files, Fields())):
        local = files_of(make(str(root)), [])
        assert len(local) > 5
        assert files_of(make(url), store.flags) == local


def test_a_pattern_that_matches_nothing_in_a_store_is_said_at_launch(store: Store) -> None:
    with pytest.raises(InputError, match="nothing matches"):
        JsonLines(f"{store.root}/nowhere/*.jsonl").read(pipeline(store.flags), 10)
    with pytest.raises(InputError, match="cannot be listed"):
        JsonLines("gopher://nowhere/*.jsonl").fingerprint()
