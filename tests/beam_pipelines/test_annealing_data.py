"""The annealing sets hold what was asked for, from the repositories it came from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipelines.accounting import decode_drop
from beam_pipelines.annealing_data import ALGORITHMIC, SNIPPETS, annealing_data
from beam_pipelines.synthesis.snippets import SnippetSettings
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.manifest import ManifestError, read_manifest
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.corpora import write_corpus
from tests.isolation import require_isolation

DOUBLE = '''def double(x):
    """Twice.

    >>> double(2)
    4
    """
    return 2 * x
'''
TEXTS = [
    ("a", "double.py", DOUBLE),
    ("b", "vendored.py", DOUBLE),
    ("b", "wrong.py", DOUBLE.replace("4", "5").replace("double", "wrong")),
    ("b", "nodoc.py", "def f():\n    return 1\n"),
    ("b", "broken.py", "def f(:\n    '>>> f()'\n# LeetCode 1\n"),
    ("c", "leet.py", "# LeetCode 1: two sums\nclass Solution:\n    pass\n"),
    ("c", "solve.js", "// def solution of it\n"),
    ("c", "readme.md", "leetcode\n"),
    ("c", "copied.py", "# leetcode\n" + load_problems()[0].prompt + "    pass\n"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    write_corpus(folder, TEXTS)
    return folder


@pytest.fixture(scope="module")
def output(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_isolation()
    folder = tmp_path_factory.mktemp("annealing")
    make(corpus, folder)
    return folder


def make(corpus: Path, output: Path, max_lines: int = 50) -> None:
    annealing_data(
        input_dir=str(corpus),
        output_dir=str(output),
        keywords=["leetcode", "def solution"],
        snippets=SnippetSettings(allowed_imports=["math"], max_lines=max_lines),
        benchmarks=["humaneval"],
        num_shards=2,
    )


def documents(folder: Path) -> Iterator[Document]:
    return map(decode_document, read_records(folder, "documents"))


def drops(folder: Path) -> dict[str, str]:
    found = map(decode_drop, read_records(folder / "dropped", "dropped"))
    return {f"{drop.repo}/{drop.path}": drop.reason for drop in found}


def test_algorithmic_files_have_a_keyword_and_no_benchmark(output: Path) -> None:
    kept = {f"{d.repo}/{d.path}": d.provenance for d in documents(output / ALGORITHMIC)}
    assert kept == {
        "b/broken.py": "algorithmic-corpus: leetcode",
        "c/leet.py": "algorithmic-corpus: leetcode",
        "c/solve.js": "algorithmic-corpus: def solution",
    }
    reasons = drops(output / ALGORITHMIC)
    assert reasons["c/readme.md"] == "not_code"
    assert reasons["c/copied.py"] == "benchmark_ngram"
    assert reasons["a/double.py"] == "no_keyword"


def test_snippets_are_proved_once_each_and_stay_with_their_repository(output: Path) -> None:
    (snippet,) = documents(output / SNIPPETS)
    assert (snippet.text, snippet.language, snippet.licence) == (DOUBLE, "python", "MIT")
    assert f"{snippet.repo}/{snippet.path}" in ("a/double.py::double", "b/vendored.py::double")
    # The copied problem has examples of its own.
    reasons = ["benchmark_ngram", "doctest_failed", "duplicate"]
    assert sorted(drops(output / SNIPPETS).values()) == reasons


def test_every_candidate_is_accounted_for(output: Path) -> None:
    for name, candidates in ((ALGORITHMIC, len(TEXTS)), (SNIPPETS, 4)):
        account = read_manifest(output / name)["counts"]["accounting"]
        assert account["input"] == candidates
        assert account["output"] + sum(account["dropped"].values()) == candidates


def test_the_sets_do_not_depend_on_how_the_corpus_is_cut(output: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", TEXTS[::-1], shards=3)
    make(tmp_path / "corpus", tmp_path / "out")
    for name in (ALGORITHMIC, SNIPPETS):
        assert (
            read_manifest(tmp_path / "out" / name)["files"] == read_manifest(output / name)["files"]
        )


def test_a_finished_folder_is_left_alone_and_another_configuration_refused(
    corpus: Path, output: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    make(corpus, output)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    with pytest.raises(ManifestError, match="max_lines"):
        make(corpus, output, max_lines=51)


def test_a_corpus_that_is_missing_unfinished_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        make(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        make(tmp_path / "unfinished", tmp_path / "out")


@pytest.mark.parametrize("gin_file", ["annealing_data/demo.gin", "annealing_data/paper.gin"])
def test_every_gin_file_is_complete(gin_file: str) -> None:
    bindings = ["INPUT_DIR='c'", "OUTPUT_DIR='o'"]
    configuration.configure(annealing_data, gin_files=[gin_file], bindings=bindings)
