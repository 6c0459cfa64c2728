"""Pages, tables and results in an object store: the same bytes as on this machine."""

from pathlib import Path

import pytest

from beam_pipelines import web_recall
from opencoder_jax import configuration
from tests.beam_pipelines.object_store import Store, running_store_of
from tests.beam_pipelines.recall import crawl


@pytest.fixture(params=["s3", "gs"])
def store(request, tmp_path):
    (tmp_path / "store").mkdir()
    with running_store_of(request.param, tmp_path / "store") as running:
        yield running


def run(folder: str, output: str, *flags: str) -> None:
    configured = configuration.configure(
        web_recall.web_recall,
        gin_files=["web_recall/demo.gin"],
        bindings=[
            "NUM_SHARDS = 2",
            "SEED_PATTERNS = ()",
            "classifier.ClassifierSettings.vocabulary = 2000",
            "ROUNDS = 2",
            f"INPUT_DIR = '{folder}/pages'",
            f"SEED_TABLES = '{folder}/seeds.tsv'",
            f"OUTPUT_DIR = '{output}'",
        ],
    )
    configured(pipeline_args=flags)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("timing.json", "config.gin")
    }


@pytest.mark.slow
def test_two_rounds_in_a_store_leave_what_they_leave_here(store: Store, tmp_path: Path) -> None:
    planted = crawl.planted()
    here = tmp_path / "crawl"
    crawl.write_pages(here / "pages", (page for pages in planted.values() for page in pages))
    crawl.write_table(here / "seeds.tsv", [(p.path, "code") for p in planted["seeds"][:40]])
    output = tmp_path / "recall"
    output.mkdir()
    annotated = b"pattern\tlabel\n%handbook.example.org%\tcode\n"
    (output / "annotated-1.tsv").write_bytes(annotated)
    run(str(here), str(output))
    there = store.upload(here, "crawl")
    store.put(f"{store.root}/recall/annotated-1.tsv", annotated)
    run(there, f"{store.root}/recall", *store.flags)
    assert files(store.download(f"{store.root}/recall", tmp_path / "down")) == files(output)
