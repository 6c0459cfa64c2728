"""Licences of a Stack v2 through the whole job: what `OR`, `AND` and `WITH` mean to a list."""

import sysconfig
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines import refinecode
from beam_pipelines.accounting import decode_drop
from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.fields import Fields, raw_file
from opencoder_jax import configuration
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.shards import read_records

ALLOWED = ("MIT", "Apache-2.0", "BSD-3-Clause", "ISC")
# Module of Python's library to what was detected, what GitHub says, and the expression if allowed.
ROWS: dict[str, tuple[list[str], str | None, str]] = {
    "linecache": (["MIT"], None, "MIT"),
    "heapq": (["MIT", "Apache-2.0"], None, "MIT AND Apache-2.0"),
    "shlex": (["MIT", "GPL-3.0-only"], None, ""),
    "textwrap": (["MIT OR GPL-3.0-only"], None, "MIT OR GPL-3.0-only"),
    "fnmatch": (["GPL-2.0-only OR MIT", "ISC"], None, "(GPL-2.0-only OR MIT) AND ISC"),
    "queue": (["GPL-3.0-only OR LGPL-3.0-only", "MIT"], None, ""),
    "contextlib": (["MIT OR GPL-3.0-only", "GPL-2.0-only"], None, ""),
    "sched": (["Apache-2.0 WITH LLVM-exception"], None, "Apache-2.0 WITH LLVM-exception"),
    "glob": (["GPL-2.0-only WITH Classpath-exception-2.0", "MIT"], None, ""),
    "csv": (["MIT", "LicenseRef-scancode-unknown-license-reference"], None, ""),
    "getopt": (["MIT License", "Apache 2.0"], None, "Apache-2.0 AND MIT"),
    "shelve": ([], "BSD-3-Clause", "BSD-3-Clause"),
    "cmd": ([], None, ""),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    library = Path(sysconfig.get_path("stdlib"))
    rows = [
        {
            "repo_name": f"owner/{name}",
            "path": f"/{name}.py",
            "content": (library / f"{name}.py").read_text(),
            "detected_licenses": detected,
            "gha_license_id": by_github,
        }
        for name, (detected, by_github, _) in ROWS.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / "stack.parquet")
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/sources/stack_v2.gin"],
        bindings=[f"SOURCE_FILES = '{root}/stack.parquet'", f"OUTPUT_DIR = '{root}/corpus'"],
    )
    configured(allowed_licences=ALLOWED, num_shards=1)
    return root / "corpus"


def test_documents_stay_by_what_all_their_licences_allow(corpus: Path) -> None:
    drops = [decode_drop(record) for record in read_records(corpus / "dropped", "dropped")]
    refused = {drop.path.removesuffix(".py") for drop in drops}
    assert {drop.reason for drop in drops} == {"licence_not_allowed"}
    assert refused == {name for name, (*_, expression) in ROWS.items() if not expression}
    details = {drop.path: drop.detail for drop in drops}
    assert details["shlex.py"] == "MIT AND GPL-3.0-only (declared)"
    assert details["cmd.py"] == "unknown"


def test_a_document_keeps_the_whole_expression(corpus: Path) -> None:
    documents = [decode_document(record) for record in read_records(corpus, "documents")]
    assert {document.path: document.licence for document in documents} == {
        f"{name}.py": expression for name, (*_, expression) in ROWS.items() if expression
    }


@pytest.mark.parametrize(
    ("facts", "licence"),
    [
        ({"license": ["MIT", None, "MIT"]}, "MIT"),
        ({"license": ["MIT or Zlib", "ISC"]}, "(MIT or Zlib) AND ISC"),
        ({"license": "MIT OR Zlib"}, "MIT OR Zlib"),
        ({"license": "", "detected_licenses": [""], "gha_license_id": "ISC"}, "ISC"),
        ({"license": None, "detected_licenses": []}, ""),
    ],
)
def test_a_record_gives_the_first_licence_that_says_anything(
    facts: dict[str, Any], licence: str
) -> None:
    record = {"path": "a.py", "content": "x", **facts}
    file: RawFile = raw_file(record, Fields(), "test", "repo", 100)
    assert file.licence == licence
