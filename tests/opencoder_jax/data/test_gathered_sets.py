"""Packed sets that lie apart, shown as one folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax.data import gathered_sets
from opencoder_jax.data.dataset import Dataset, DatasetConfig
from opencoder_jax.data.gathered_sets import SETS_NAME, set_folder, set_folders
from opencoder_jax.data.packed_set import open_packed_set
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.bits_per_byte import BitsPerByte
from opencoder_jax.evaluation.trained_on import sets_of_run
from opencoder_jax.evaluation.training_data import check_training_data
from opencoder_jax.gather_sets import gather_sets
from tests import packed_example
from tests.opencoder_jax import small_run


@pytest.fixture
def gathered(tmp_path) -> Path:
    """`all/`: a set of a folder named otherwise, and the same once more; one of its own."""
    stages = tmp_path / "stages"
    for name in ("packed-1", "packed-2"):
        shutil.copytree(packed_example.packed_dir() / "refinecode", stages / name)
    folder = tmp_path / "stages" / "all"
    gather_sets([f"refinecode={stages}/packed-1", f"heldout={stages}/packed-2/"], str(folder))
    shutil.copytree(packed_example.packed_dir() / "refinecode", folder / "own")
    return folder


def test_sets_are_found_by_their_name(gathered):
    assert (gathered / SETS_NAME).read_text() == (
        '{\n "heldout": "../packed-2",\n "refinecode": "../packed-1"\n}\n'
    )
    plain = open_packed_set(packed_example.packed_dir(), "refinecode", "train")
    for name in ("refinecode", "heldout", "own"):
        found = open_packed_set(gathered, name, "train")
        assert found.fingerprint == plain.fingerprint
        assert found.name == name
    assert list(set_folders(gathered)) == ["heldout", "own", "refinecode"]
    with pytest.raises(InputError, match=r"other: no such packed set \(in .*: heldout, own, ref"):
        open_packed_set(gathered, "other", "train")
    task = BitsPerByte(str(gathered), ["heldout"])
    assert task.inputs() == {"heldout heldout": plain.fingerprint}


def test_a_dataset_of_gathered_sets_is_the_same(gathered):
    length = {"targets": packed_example.SEQUENCE_LENGTH}
    one, other = (
        Dataset(DatasetConfig("refinecode", str(folder), length, "train", 2, 0))
        for folder in (packed_example.packed_dir(), gathered)
    )
    assert one.fingerprint == other.fingerprint
    assert (one.sequence(5)["tokens"] == other.sequence(5)["tokens"]).all()


def test_gathered_sets_are_searched_as_training_data(gathered):
    tokenizers = [packed_example.tokenizer()]
    assert check_training_data([gathered], [], {}, tokenizers) == {}


def test_both_can_be_moved_together(gathered, tmp_path):
    (tmp_path / "stages").rename(tmp_path / "moved")
    assert open_packed_set(tmp_path / "moved" / "all", "refinecode", "train").num_records


def test_a_store_has_gathered_sets_too(gathered, tmp_path):
    sets = [f"refinecode=file://{tmp_path}/stages/packed-1"]
    gather_sets(sets, f"file://{tmp_path}/stages/remote")
    assert (tmp_path / "stages" / "remote" / SETS_NAME).exists()
    url = f"file://{tmp_path}/stages/remote"
    assert set_folder(url, "refinecode") == f"file://{tmp_path}/stages/packed-1"
    assert open_packed_set(url, "refinecode", "train").num_records
    assert gathered_sets._joined("gs://b/stages/all", "../x-1") == "gs://b/stages/x-1"
    assert gathered_sets._relative("gs://b/stages/x-1", "gs://b/stages/all") == "../x-1"
    assert gathered_sets._relative("gs://b/x-1", "s3://b/all") == "gs://b/x-1"


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "which sets"),
        (["refinecode"], "expected NAME=FOLDER"),
        (["a/b=c"], "expected NAME=FOLDER"),
        (["a=b", "a=c"], "set 'a' is there twice"),
        (["a=nowhere"], "nowhere: no such folder"),
    ],
)
def test_words_that_cannot_be_gathered(tmp_path, sets, message):
    with pytest.raises(InputError, match=message):
        gather_sets(sets, str(tmp_path / "all"))
    assert not (tmp_path / "all").exists()


def test_damage_is_told(gathered):
    (gathered / SETS_NAME).write_text("[")
    with pytest.raises(InputError, match=r"sets\.json is damaged"):
        open_packed_set(gathered, "refinecode", "train")


@pytest.mark.slow
def test_a_run_on_gathered_sets_knows_what_it_saw(gathered, tmp_path):
    model_dir = tmp_path / "run"
    words = small_run.flags(steps=2, save_period=2)
    words.append(f"--gin.PACKED_DIR={gathered}")
    words.append(f"--gin.MODEL_DIR={model_dir}")
    subprocess.run([sys.executable, "-m", "opencoder_jax.train", *words], check=True)
    [found], unknown = sets_of_run(model_dir, [])
    assert found.name in ("packed-1", "packed-2", "own")
    assert not unknown
