import subprocess
import sys

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.manifest import MANIFEST_NAME, read_manifest
from opencoder_jax.formats.tokenizer import MODEL_NAME
from opencoder_jax.train_tokenizer import chunks, sample_documents, train_tokenizer
from tests import packed_example

SETTINGS = {"vocab_size": 700, "sample_bytes": 300_000, "character_coverage": 0.9995}


def test_the_command_gives_the_same_bytes_in_another_process_from_other_shards(tmp_path):
    corpus = packed_example.write_corpus(
        tmp_path / "corpus", packed_example.documents()[::-1], num_shards=5
    )
    bindings = [f"--gin.train_tokenizer.{name}={value}" for name, value in SETTINGS.items()]

    subprocess.run(
        [
            *(sys.executable, "-m", "opencoder_jax.train_tokenizer", *bindings),
            *(f"--gin.INPUT_DIR={corpus}", f"--gin.OUTPUT_DIR={tmp_path / 'tokenizer'}"),
        ],
        check=True,
    )

    for name in (MODEL_NAME, MANIFEST_NAME):
        ours = (tmp_path / "tokenizer" / name).read_bytes()
        assert ours == (packed_example.tokenizer_dir() / name).read_bytes()


def test_every_document_is_verified_and_counted():
    counts = read_manifest(packed_example.tokenizer_dir())["counts"]
    corpus = packed_example.documents()

    assert counts["verified_documents"] == len(corpus)
    assert counts["bytes"] == sum(len(d.text.encode()) for d in corpus)
    assert counts["sampled_documents"] < len(corpus)
    assert counts["sampled_bytes"] <= SETTINGS["sample_bytes"]


def test_the_sample_is_the_same_in_any_order():
    paths = shards.list_shards(packed_example.corpus_dir(), "documents")

    sample = sample_documents(paths, 50_000, seed=3)

    assert sample == sample_documents(paths[::-1], 50_000, seed=3)
    assert sample != sample_documents(paths, 50_000, seed=4)


def test_chunks_are_whole_lines_and_lose_nothing():
    for document in packed_example.documents():
        parts = list(chunks(document.text))
        assert "".join(parts) == document.text
        assert all(len(part) <= 4096 for part in parts)
        if "\n" in document.text and max(map(len, document.text.splitlines())) < 4096:
            assert all(part.endswith("\n") for part in parts[:-1])


def test_a_finished_tokenizer_is_left_alone_and_other_settings_are_refused():
    corpus, folder = packed_example.corpus_dir(), packed_example.tokenizer_dir()
    before = (folder / MODEL_NAME).stat().st_mtime_ns

    train_tokenizer(str(corpus), str(folder), **SETTINGS)

    assert (folder / MODEL_NAME).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="vocab_size: there 700, here 800"):
        train_tokenizer(str(corpus), str(folder), **{**SETTINGS, "vocab_size": 800})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 200}, "268 ids are reserved"),
        ({"vocab_size": 90_000}, "cannot make 90000 pieces"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused_and_leaves_no_model(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train_tokenizer(
            str(packed_example.corpus_dir()), str(tmp_path / "out"), **{**SETTINGS, **change}
        )

    assert not (tmp_path / "out" / MODEL_NAME).exists()
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_a_missing_an_unfinished_and_an_empty_corpus_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        train_tokenizer(str(tmp_path / "none"), str(tmp_path / "out"), **SETTINGS)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(InputError, match="has not finished"):
        train_tokenizer(str(tmp_path / "unfinished"), str(tmp_path / "out"), **SETTINGS)
    empty = packed_example.write_corpus(tmp_path / "empty", [])
    with pytest.raises(InputError, match="no document"):
        train_tokenizer(str(empty), str(tmp_path / "out"), **SETTINGS)
