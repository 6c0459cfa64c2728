"""A corpus in an object store: the same job from there and to there, on a server of each kind."""

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines import refinecode, stores
from beam_pipelines.output import working_folder
from beam_pipelines.sources.folder import Folder
from beam_pipelines.sources.remote import list_files as remote_files
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.manifest import ManifestError, file_sha256, read_manifest
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.object_store import Store

NAMES = ("textwrap.py", "heapq.py", "bisect.py", "shlex.py", "json/decoder.py")


def clean(source: str, output: str, *flags: str, **changes: Any) -> None:
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin"],
        bindings=[f"SOURCE_DIR = '{source}'", f"OUTPUT_DIR = '{output}'", "NUM_SHARDS = 2"],
    )
    configured(pipeline_args=flags, parquet=True, **changes)


def documents_of(folder: Path) -> list[Document]:
    return [decode_document(record) for record in read_records(folder, "documents")]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    library = Path(sysconfig.get_path("stdlib"))
    for name in NAMES:
        (root / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library / name, root / "repo" / name)
    (root / "repo" / ".git").mkdir()
    (root / "repo" / ".git" / "config.py").write_text("x = 1\n")
    (root / "copy.py").write_bytes((library / "heapq.py").read_bytes())
    (root / "picture.svg").write_text("<svg/>")
    return root


@pytest.fixture(scope="module")
def local(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("local")
    clean(str(sources), str(output))
    return output


@pytest.fixture(scope="module")
def remote(store: Store, sources: Path) -> str:
    source, output = store.upload(sources, "in"), f"{store.root}/out/corpus"
    clean(source, output, *store.flags)
    return output


def test_the_result_is_that_of_the_same_folder_on_this_machine(
    store: Store, remote: str, local: Path, tmp_path: Path
) -> None:
    here, there = read_manifest(local), json.loads(store.content(f"{remote}/manifest.json"))
    assert there["counts"] == here["counts"]
    assert there["files"] == here["files"]
    assert documents_of(store.download(remote, tmp_path)) == documents_of(local)


def test_the_manifest_has_the_hash_of_every_object(
    store: Store, remote: str, tmp_path: Path
) -> None:
    folder = store.download(remote, tmp_path)
    for name, digest in read_manifest(folder)["files"].items():
        assert file_sha256(folder / name) == digest
    names = set(store.names(remote))
    assert {"config.gin", "timing.json", "statistics.json"} <= names
    assert {f"parquet/signals-0000{shard}-of-00002.parquet" for shard in range(2)} <= names
    assert not [name for name in store.names(remote) if name.startswith(".")]


def test_a_finished_folder_is_left_alone_and_other_settings_are_refused(
    store: Store, remote: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"{store.root}/in"
    clean(source, remote, *store.flags)
    assert "nothing to do" in capsys.readouterr().err
    with pytest.raises(ManifestError, match="max_file_bytes: there 8000000, here 9"):
        clean(source, remote, *store.flags, max_file_bytes=9)
    store.put(f"{store.root}/in2/a/b.py", b"x = 1\n")
    with pytest.raises(ManifestError, match="input source"):
        clean(f"{store.root}/in2", remote, *store.flags)


@pytest.mark.slow
def test_a_killed_job_leaves_nothing_that_looks_finished_and_is_done_again(
    store: Store, sources: Path, remote: str
) -> None:
    output = f"{store.root}/killed/corpus"
    command = [sys.executable, "-m", "beam_pipelines.refinecode", *store.flags]
    command += ["--gin_file=refinecode/paper.gin", f"--gin.SOURCE_DIR={store.root}/in"]
    command += [f"--gin.OUTPUT_DIR={output}", "--gin.NUM_SHARDS=2"]
    command += ["--gin.refinecode.parquet=True"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if any(name.endswith(".arrayrecord") for name in store.names(output)):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    assert all(name.startswith(".incomplete/") for name in store.names(output))
    store.put(f"{output}/documents-00000-of-00009.arrayrecord", b"of a run with more shards")
    # What is left where the killing comes while finished shards move up.
    moved = next(name for name in store.names(output) if name.endswith(".arrayrecord"))
    above = moved.removeprefix(".incomplete/")
    stores.move([(f"{output}/{moved}", f"{output}/{above}")])
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(store.names(output)) == sorted(store.names(remote))
    finished = store.content(f"{output}/manifest.json")
    assert finished == store.content(f"{remote}/manifest.json")


def test_failed_work_leaves_no_manifest(store: Store, remote: str) -> None:
    output = f"{store.root}/failed"

    def fail() -> None:
        with working_folder(output) as work:
            (work.local / "manifest.json").write_text("{}")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.names(output) == []


def test_a_folder_named_like_a_pattern_is_that_folder_and_no_output(
    store: Store, remote: str
) -> None:
    for name in ("odd[1]*/a/b?.py", "odd1/a/c.py", "odd1x/a/d.py"):
        store.put(f"{store.root}/{name}", b"x = 1\n")
    folder = f"{store.root}/odd[1]*"
    assert [path for path, _ in stores.list_below(folder)] == ["a/b?.py"]
    assert [file.path for file in remote_files(folder)] == ["a/b?.py"]
    with pytest.raises(InputError, match="patterns"), working_folder(folder):
        pass


def test_a_remote_source_without_files_is_bad_input(store: Store, remote: str) -> None:
    with pytest.raises(InputError, match="holds no files"):
        Folder(f"{store.root}/nothing").fingerprint()
    with pytest.raises(InputError, match="no-such-bucket"):
        Folder(store.root.replace("corpora", "no-such-bucket") + "/nothing").fingerprint()
    with pytest.raises(InputError, match="nonsense"):
        Folder("nonsense://nothing").fingerprint()
