"""What is explained of a file is what the job does with it, whatever the file is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipelines import refinecode
from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.explain import explain
from beam_pipelines.explanation import SPARED, UNDEFINED, VIOLATED, explain_file
from beam_pipelines.signals.rules import RuleTable
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.bad_files import make_repositories

MANY = {name: RuleTable(name, {}) for name in ("code", "data", "text_en", "text_zh")}
MAX_BYTES = 8_000_000


def run(*arguments: str | os.PathLike) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "beam_pipelines.explain", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Document | Drop]]:
    """A folder of repositories of all kinds of files, and what the job made of each."""
    root = tmp_path_factory.mktemp("explained")
    (root / "source").mkdir()
    make_repositories(root / "source")
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin"],
        bindings=[
            f"SOURCE_DIR = '{root / 'source'}'",
            f"OUTPUT_DIR = '{root / 'corpus'}'",
            "NUM_SHARDS = 1",
        ],
    )
    configured()
    dropped = read_records(root / "corpus" / "dropped", "dropped")
    return root / "source", [
        *map(decode_document, read_records(root / "corpus", "documents")),
        *map(decode_drop, dropped),
    ]


def test_an_explanation_agrees_with_the_job_on_every_file_and_signal(cleaned) -> None:
    source, outcomes = cleaned
    named = {(o.repo, o.path): o for o in outcomes}
    paths, ids = [], []
    for (repo, path), outcome in named.items():
        location = source / repo / path
        duplicate = isinstance(outcome, Drop) and outcome.reason.endswith("_duplicate")
        # Names that are no UTF-8 and things that are no files are for other tests.
        if location.is_file() and not location.is_symlink() and not duplicate:
            paths.append(location)
            ids.append(outcome)
    assert len(paths) > 20
    done = run("--json", *paths)
    assert done.returncode == 0, done.stderr
    explained = [json.loads(line) for line in done.stdout.splitlines()]
    for explanation, outcome in zip(explained, ids, strict=True):
        if isinstance(outcome, Drop):
            assert (explanation["kept"], explanation["reason"]) == (False, outcome.reason)
            if outcome.signal:
                assert outcome.signal in explanation["detail"]
        else:
            assert explanation["kept"], explanation
            values = {row["signal"]: row["value"] for row in explanation["signals"]}
            assert values == json.loads(outcome.signals)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff\xfe\0",
        b"(" * 100_000,
        b"a" * 3_000_000,
        "\u202e日本\x1b[31m\n".encode() * 40,
    ],
    ids=["empty", "nul", "utf-16", "nested", "one line", "controls"],
)
@pytest.mark.parametrize("name", ["x.py", "x.md", "x.unheard", "x.json", "Dockerfile"])
def test_any_bytes_under_any_name_are_explained(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    explanation = explain_file(str(tmp_path / name), MANY, MAX_BYTES)
    assert explanation.kept == (explanation.reason == "")
    assert explanation.kept == bool(explanation.table)


def test_the_stages_and_the_rules_that_decide_are_printed(tmp_path: Path) -> None:
    file = tmp_path / "tool"
    file.write_text(
        "#!/usr/bin/env python3\n# Copyright 2020 Somebody\n# All rights reserved.\n\n"
        "CONTACT = 'somebody@somewhere.org'\n" + "print(1)\n" * 20
    )
    done = run(file)
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "type python, code (interpreter python3)" in lines
    assert any(line.startswith("repair licence header: ") and "removed" in line for line in lines)
    assert "personal data replaced: 1 <email>" in lines
    assert "qsc_codepython_frac_lines_print 0.952381 > 0.4 violated" in lines
    assert lines[-1].startswith("verdict dropped as rule: ")
    assert "\x1b" not in done.stdout


def test_a_rule_that_drops_a_share_says_what_the_hash_decided(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    table = {"code": RuleTable("code", {"qsc_code_num_words": "< 30 for 50%"})}
    seen = set()
    for number in range(20):
        explanation = explain_file(str(tmp_path / "x.c"), table, MAX_BYTES, f"{number:032x}")
        (row,) = (r for r in explanation.signals if r.rule)
        seen.add(row.verdict)
        assert "the id's hash 0." in row.note
        assert explanation.kept == (row.verdict == SPARED)
    assert seen == {SPARED, VIOLATED}


def test_an_undefined_value_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("文字\n" * 20)
    rows = explain_file(str(tmp_path / "x.md"), MANY, MAX_BYTES).signals
    assert UNDEFINED in {row.verdict for row in rows}


def test_other_rules_need_only_say_what_they_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.sql").write_text("SELECT a, b FROM t WHERE c = 1;\n" * 3)
    rules = tmp_path / "rules.gin"
    rules.write_text(
        "from __gin__ import dynamic_registration\nfrom beam_pipelines.signals import rules\n"
        "sql/rules.RuleTable.general = {}\n"
        "sql/rules.RuleTable.drop_if = {'qsc_code_num_chars': '> 5'}\n"
    )
    configured = configuration.configure(
        explain, gin_files=["refinecode/explain.gin", rules], bindings=["explain.json = True"]
    )
    configured(files=[str(tmp_path / "x.sql")])
    explanation = json.loads(capsys.readouterr().out)
    assert explanation["detail"] == "qsc_code_num_chars is 96, dropped at > 5"
    assert {row["signal"]: row["rule"] for row in explanation["signals"] if row["rule"]} == {
        "qsc_code_num_chars": "> 5"
    }


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "no file given"),
        (["."], "is a folder"),
        (["README.md", "absent.py"], "absent.py: no such file"),
        (["/dev/null"], "no regular file"),
    ],
)
def test_what_cannot_be_explained_ends_before_anything_is_printed(
    files: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=complaint):
        explain(MANY, MAX_BYTES, files)
    assert capsys.readouterr().out == ""


def test_a_wrong_name_is_one_line_and_status_2() -> None:
    done = run("README.md", "--json", "absent.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: absent.py: no such file\n"


def test_one_id_for_two_files_is_refused() -> None:
    with pytest.raises(InputError, match="one document_id and 2 files"):
        explain({}, MAX_BYTES, ["a", "b"], document_id="0")
