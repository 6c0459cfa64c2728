"""DuckDB and pandas read the parquet files as the docs have it, and find what the shards hold."""

import collections
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines import refinecode
from beam_pipelines.accounting import Drop, decode_drop
from opencoder_jax import configuration
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.judged import Judged, decode_judged
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.bad_files import make_repositories

DOCS = Path(__file__).parents[2] / "docs" / "cleaning.md"


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
def found(folder: Path) -> dict[str, Any]:
    """What the lines in the docs give their names to."""
    block = re.search(
        r"^    import glob\n    import duckdb\n(?:(?:    .*)?\n)+", DOCS.read_text(), re.M
    )
    assert block
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(textwrap.dedent(block[0]), names)
    return names


def test_languages_are_those_of_the_documents(folder: Path, found: dict[str, Any]) -> None:
    documents = [decode_document(record) for record in read_records(folder / "corpus", "documents")]
    expected = {
        language: (
            sum(document.language == language for document in documents),
            sum(len(d.text.encode()) for d in documents if d.language == language),
        )
        for language in {document.language for document in documents}
    }
    rows = found["languages"].itertuples()
    assert {row.language: (row.documents, row.bytes) for row in rows} == expected
    assert sum(len(document.text) for document in documents) < sum(b for _, b in expected.values())


def test_reasons_are_those_of_the_drops(folder: Path, found: dict[str, Any]) -> None:
    drops = drops_of(folder)
    counts = collections.Counter((drop.reason, drop.signal) for drop in drops)
    rows = found["reasons"].itertuples()
    assert {(row.reason, row.signal): row.documents for row in rows} == counts
    copies = [drop for drop in drops if drop.reason == "near_duplicate"]
    assert copies
    assert sorted(found["copies"].itertuples(index=False, name=None)) == sorted(
        (drop.repo, drop.path, drop.value, drop.detail) for drop in copies
    )


def test_signals_and_violations_are_those_of_the_judged(
    folder: Path, found: dict[str, Any]
) -> None:
    shards = read_records(folder / "corpus" / "signals", "signals")
    judged = [decode_judged(record) for record in shards]
    counts = collections.Counter(one["signal"] for each in judged for one in each.violated())
    assert {row.signal: row.documents for row in found["rules"].itertuples()} == counts
    kept = [one for one in judged if one.language == "python" and one.kept]
    longest = sorted(kept, key=lambda one: (-_longest_line(one), one.id))[:10]
    assert list(found["longest"].itertuples(index=False, name=None)) == [
        (one.repo, one.path, _longest_line(one)) for one in longest
    ]


def test_every_field_is_a_column(folder: Path, found: dict[str, Any]) -> None:
    duckdb = found["duckdb"]
    for name, record in (("documents", Document), ("dropped", Drop), ("signals", Judged)):
        table = duckdb.sql(f"SELECT * FROM '{folder}/corpus/parquet/{name}-*.parquet'")
        assert table.columns == list(record.__slots__)


def drops_of(folder: Path) -> list[Drop]:
    return [decode_drop(record) for record in read_records(folder / "corpus/dropped", "dropped")]


def _longest_line(judged: Judged) -> float:
    return judged.values()["qsc_code_num_chars_line_max"] or 0.0
