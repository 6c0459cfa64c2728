import json
import shutil
import subprocess
import sys

import pytest

from opencoder_jax.data.packed_set import heldout_sequences, open_packed_set
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME
from tests import packed_example


def test_heldout_sequences_are_read_in_one_order():
    first = [s.document_ids for s in heldout_sequences(packed_example.packed_dir(), "refinecode")]

    assert first
    again = heldout_sequences(packed_example.packed_dir(), "refinecode")
    assert first == [s.document_ids for s in again]


def test_reading_heldout_sequences_needs_neither_grain_nor_seqio():
    program = (
        "import sys; from opencoder_jax.data.packed_set import heldout_sequences\n"
        f"assert sum(1 for _ in heldout_sequences({str(packed_example.packed_dir())!r}, "
        "'refinecode')) > 0\n"
        "heavy = {'grain', 'seqio', 'tensorflow', 'jax', 'apache_beam'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture
def copied_dir(tmp_path):
    folder = tmp_path / "packed"
    shutil.copytree(packed_example.packed_dir(), folder)
    return folder


def test_a_set_that_is_not_there_is_refused_with_those_that_are(copied_dir):
    with pytest.raises(InputError, match=r"no such packed set .*algorithmic_corpus, refinecode"):
        open_packed_set(copied_dir, "code_snippets", "train")


def test_an_unfinished_set_is_refused(copied_dir):
    (copied_dir / "refinecode" / MANIFEST_NAME).unlink()

    with pytest.raises(InputError, match="has not finished"):
        open_packed_set(copied_dir, "refinecode", "train")


def test_a_missing_shard_is_refused_by_name(copied_dir):
    (copied_dir / "refinecode" / "train-00001-of-00003.arrayrecord").unlink()

    with pytest.raises(InputError, match="lacks train-00001-of-00003"):
        open_packed_set(copied_dir, "refinecode", "train")


def test_fewer_records_than_the_manifest_says_are_refused(copied_dir):
    folder = copied_dir / "refinecode"
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["counts"]["train"]["sequences"] += 1
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))

    with pytest.raises(InputError, match="pack the set again"):
        open_packed_set(copied_dir, "refinecode", "train")


def test_a_corpus_folder_is_no_packed_set():
    corpus = packed_example.corpus_dir()

    with pytest.raises(InputError, match=r"not by beam_pipelines\.pack"):
        open_packed_set(corpus.parent, corpus.name, "train")
