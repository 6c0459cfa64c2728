"""The page of a cleaning job: safe, whole, small enough, and honest about what it lacks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax import configuration
from opencoder_jax.corpus_report import corpus_report
from opencoder_jax.errors import InputError
from opencoder_jax.report.perplexity import Sampling, sample_documents
from tests.opencoder_jax.evaluation.tiny_model import write_model_dir
from tests.opencoder_jax.report.corpus_folder import write_cleaned
from tests.opencoder_jax.report.run_folder import HOSTILE
from tests.opencoder_jax.report.test_report import Tags


def make(folder: Path | str, **changes: object) -> str:
    configured = configuration.configure(
        corpus_report,
        gin_files=["report/corpus.gin"],
        bindings=[f"CORPUS_DIR = '{folder}'"],
    )
    return configured(**changes).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cleaned(tmp_path_factory.mktemp("report") / "corpus")


@pytest.fixture(scope="module")
def page(corpus: Path) -> str:
    return make(corpus)


def test_text_of_documents_cannot_become_markup(page: str) -> None:
    assert HOSTILE not in page
    tags = Tags(page)
    # The histograms' data and the code that draws them: nothing that a document brought.
    assert [tag for tag, _ in tags.found].count("script") == 2
    assert not [tag for tag, _ in tags.found if tag == "img"]
    assert not [names for _, names in tags.found if any(name.startswith("on") for name in names)]
    # Language, samples, clusters, configuration: shown as it is, each of them.
    assert "".join(tags.text).count(HOSTILE) >= 8


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("gs://bucket/corpus", "`gcloud storage cp -r gs://bucket/corpus FOLDER`"),
        ("s3://bucket/corpus", "`aws s3 cp --recursive s3://bucket/corpus FOLDER`"),
        ("hdfs://host/corpus", "copy it first; manifest.json"),
    ],
)
def test_a_corpus_in_a_store_has_to_be_copied_first(folder: str, command: str) -> None:
    with pytest.raises(InputError, match=re.escape(command)):
        make(folder)


def test_a_page_is_not_written_into_a_store(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"output gs:.* is in a store"):
        make(corpus, output="gs://bucket/page.html")
    assert not list(tmp_path.iterdir())


def test_the_page_loads_nothing_from_a_network(page: str) -> None:
    for tag, attributes in Tags(page).found:
        for name in ("src", "href", "action"):
            value = attributes.get(name) or ""
            assert value in ("", "data:,") or value.startswith("#"), (tag, value)


def test_the_histograms_of_all_tables_are_in_the_page(corpus: Path, page: str) -> None:
    text = re.search(r'id="histogram-data" type="application/json">(.*?)</script>', page)
    assert text
    statistics = json.loads((corpus / "statistics.json").read_text())
    assert json.loads(text[1])["tables"] == statistics["tables"]


def test_links_between_a_dropped_and_its_kept_document_lead_somewhere(page: str) -> None:
    found = Tags(page).found
    ids = {attributes.get("id") for _, attributes in found}
    links = [a["href"] for tag, a in found if tag == "a" and "cluster-" in (a.get("href") or "")]
    assert links == ["#cluster-1-a"]
    assert {link[1:] for link in links if link} <= ids
    assert "not shown" in page


def test_four_hundred_languages_and_all_rules_stay_below_ten_megabytes(tmp_path: Path) -> None:
    folder = write_cleaned(tmp_path / "corpus", languages=400, tables=26, signals=98, samples=3)
    assert len(make(folder).encode()) < 10_000_000


def test_a_model_adds_the_extremes_of_every_language(corpus: Path, tmp_path: Path) -> None:
    write_model_dir(tmp_path / "model")
    page = make(
        corpus,
        output=str(tmp_path / "page.html"),
        ppl_checkpoint=str(tmp_path / "model"),
        ppl_max_bytes=600,
        ppl_extremes=2,
    )
    assert "12 documents, a hash sample" in " ".join(page.split())
    # Two at each end, of all and of each of two languages.
    assert len(re.findall(r"perplexity \d+\.\d\d, ", page)) == 2 * 2 * 3
    assert HOSTILE not in page


def test_the_sample_is_the_same_whatever_the_order_of_the_documents(corpus: Path) -> None:
    sampling = Sampling(2, 2, 1000, 100, 1, 1)
    first = sample_documents(corpus, sampling)
    assert first == sample_documents(corpus, sampling)
    assert sorted(d.language for d in first) == ["c", "c", "python", "python"]
    assert all(len(d.text.encode()) <= 100 for d in first)


def test_a_folder_that_is_no_model_or_no_corpus_is_said_to_be_none(
    corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no checkpoint_N folder"):
        make(corpus, ppl_checkpoint=str(tmp_path))
    with pytest.raises(InputError, match=r"no manifest\.json"):
        make(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        make(tmp_path / "absent")


def test_statistics_without_histograms_ask_for_another_cleaning(tmp_path: Path) -> None:
    folder = write_cleaned(tmp_path / "corpus")
    statistics = json.loads((folder / "statistics.json").read_text())
    del statistics["tables"]
    (folder / "statistics.json").write_text(json.dumps(statistics))
    with pytest.raises(InputError, match="no histograms of signals; clean the corpus again"):
        make(folder)


def test_plain_flags_and_bindings_are_the_same_and_need_neither_jax_nor_beam(
    corpus: Path, tmp_path: Path
) -> None:
    program = (
        "import runpy, sys\n"
        "name = 'opencoder_jax.corpus_report'\n"
        "try: runpy.run_module(name, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: status = end.code\n"
        "assert not {'jax', 'apache_beam'} & sys.modules.keys()\n"
        "sys.exit(status)\n"
    )
    for number, flag in enumerate((f"--corpus_dir={corpus}", f"--gin.CORPUS_DIR={corpus}")):
        output = tmp_path / f"{number}.html"
        done = subprocess.run(
            [sys.executable, "-c", program, flag, f"--output={output}"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert f"report: {output}" in done.stdout
    assert (tmp_path / "0.html").read_text() == (tmp_path / "1.html").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "opencoder_jax.corpus_report", f"--ppl_checkpoint={tmp_path}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "CORPUS_DIR" in done.stderr
