"""DuckDB and pandas read the parquet files as the docs have it, and find what the shards hold."""

import collections
import re
import textwrap
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_pipelines import refinecode
from beam_pipelines.accounting import Drop, decode_drop
from opencoder_jax import configuration
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.judged import Judged, decode_judged
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.bad_files import make_repositories

DOCS = (Path(__file__).parents[2] / "docs" / "cleaning.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    (root / "source").mkdir()
    make_repositories(root / "source")
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin"],
        bindings=[f"SOURCE_DIR = '{root}/source'", f"OUTPUT_DIR = '{root}/corpus'"],
    )
    configured(parquet=True, num_shards=3)
    return root


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, list[tuple]]:
    """The rows of each query in the docs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = run_lines("import duckdb")
        relation = names["duckdb"].DuckDBPyRelation
        return {k: v.fetchall() for k, v in names.items() if isinstance(v, relation)}


def run_lines(first: str) -> dict[str, Any]:
    """Runs the block of the docs that begins with a line; the names that it makes."""
    block = re.search(
        rf"^    (?:import glob\n    )?{first}.*\n(?:(?:    .*)?\n)+", DOCS, re.MULTILINE
    )
    assert block
    names: dict[str, Any] = {}
    exec(textwrap.dedent(block[0]), names)
    return names


def test_languages_are_those_of_the_documents(folder: Path, found: dict[str, list[tuple]]) -> None:
    documents = [decode_document(record) for record in read_records(folder / "corpus", "documents")]
    expected = {
        language: (
            sum(document.language == language for document in documents),
            sum(len(d.text.encode()) for d in documents if d.language == language),
        )
        for language in {document.language for document in documents}
    }
    assert {name: tuple(counts) for name, *counts in found["languages"]} == expected
    assert sum(len(document.text) for document in documents) < sum(b for _, b in expected.values())


def test_reasons_are_those_of_the_drops(folder: Path, found: dict[str, list[tuple]]) -> None:
    counts = collections.Counter((drop.reason, drop.signal) for drop in drops_of(folder))
    assert {(reason, signal): count for reason, signal, count in found["reasons"]} == counts


def test_pandas_reads_the_drops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas", reason="in no environment of Beam's, which would import it")
    monkeypatch.chdir(folder)
    names = run_lines("import pandas")
    copies = [drop for drop in drops_of(folder) if drop.reason == "near_duplicate"]
    assert copies
    assert sorted(names["copies"].itertuples(index=False, name=None)) == sorted(
        (drop.repo, drop.path, drop.value, drop.detail) for drop in copies
    )


def test_signals_and_violations_are_those_of_the_judged(
    folder: Path, found: dict[str, list[tuple]]
) -> None:
    shards = read_records(folder / "corpus" / "signals", "signals")
    judged = [decode_judged(record) for record in shards]
    counts = collections.Counter(one["signal"] for each in judged for one in each.violated())
    assert dict(found["rules"]) == counts
    kept = [one for one in judged if one.language == "python" and one.kept]
    longest = sorted(kept, key=lambda one: (-_longest_line(one), one.id))[:10]
    assert found["longest"] == [(one.repo, one.path, _longest_line(one)) for one in longest]


def test_every_field_is_a_column(folder: Path) -> None:
    for name, record in (("documents", Document), ("dropped", Drop), ("signals", Judged)):
        table = duckdb.sql(f"SELECT * FROM '{folder}/corpus/parquet/{name}-*.parquet'")
        assert table.columns == list(record.__slots__)


def drops_of(folder: Path) -> list[Drop]:
    return [decode_drop(record) for record in read_records(folder / "corpus/dropped", "dropped")]


def _longest_line(judged: Judged) -> float:
    return judged.values()["qsc_code_num_chars_line_max"] or 0.0
