"""Instruction sets: broad and executed ones, each function asked for or accounted for."""

from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.sft_data import InstructionSettings, sft_data
from beam_pipelines.synthesis.balance import BalanceSettings
from beam_pipelines.synthesis.snippets import SnippetSettings
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.shards import read_records
from opencoder_jax.sandbox import Sandbox
from tests.beam_pipelines.corpora import write_corpus
from tests.isolation import require_isolation

PROVED = '''import math
import sys


def area(radius):
    """Area of a circle with this radius.

    >>> round(area(1), 2)
    3.14
    """
    return math.pi * radius**2
'''
PLAIN = '''def listed(stream, separator):
    """Splits everything that the stream gives."""
    text = stream.read()
    return text.split(separator)
'''
TEXTS = [
    ("a", "area.py", PROVED),
    ("b", "plain.py", PLAIN),
    ("b", "vendored.py", PLAIN),
    ("b", "terse.py", PLAIN.replace("Splits everything that the stream gives.", "Splits.")),
    ("b", "entry.py", PLAIN.replace("listed", "has_close_elements")),
    ("b", "long.py", PLAIN.replace("text = ", "x = 1\n    " * 400 + "text = ")),
    ("b", "stub.py", 'def stub():\n    """Does nothing at all, for now."""\n'),
]
SETTINGS = InstructionSettings(
    min_description_characters=20, min_code_lines=2, max_characters=1500, stage1_share=1.0
)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_isolation()
    folder = tmp_path_factory.mktemp("sft")
    write_corpus(folder / "corpus", TEXTS)
    make(folder / "corpus", folder / "out")
    return folder / "out"


def make(
    corpus: Path, output: Path, settings: InstructionSettings = SETTINGS, **options: Any
) -> None:
    sft_data(
        input_dir=str(corpus),
        output_dir=str(output),
        instruction_settings=settings,
        snippets=SnippetSettings(allowed_imports=["math"], max_lines=50),
        benchmarks=["humaneval"],
        num_shards=2,
        **options,
    )


def conversations(folder: Path) -> list[Conversation]:
    return [decode_conversation(r) for r in read_records(folder, "conversations")]


def drops(folder: Path) -> list[Drop]:
    return [decode_drop(r) for r in read_records(folder / "dropped", "dropped")]


def test_stage_1_asks_once_for_each_documented_function(output: Path) -> None:
    kept = conversations(output / "stage1")
    assert {c.repo for c in kept} == {"a", "b"}
    reasons = sorted(drop.reason for drop in drops(output / "stage1"))
    assert reasons.count("description_too_short") == 1
    assert reasons.count("benchmark_entry_point") == 1
    assert reasons.count("too_long") == 1
    assert reasons.count("no_body") == 1
    assert len(kept) + len(reasons) == 7


def test_stage_2_answers_run_by_themselves(output: Path) -> None:
    by_task = {c.provenance.partition("-")[0]: c for c in conversations(output / "stage2")}
    assert set(by_task) == {"solve", "test"}
    question, answer = (content for _, content in by_task["solve"].messages)
    assert ">>> round(area(1), 2)\n3.14" in question
    program = answer.removeprefix("```python\n").removesuffix("\n```")
    with Sandbox() as sandbox:
        assert sandbox.run(f"{program}\nassert round(area(1), 2) == 3.14").verdict == "passed"
    assert by_task["test"].messages[-1][1] == "```pycon\n>>> round(area(1), 2)\n3.14\n```"


def test_every_question_is_accounted_for(output: Path) -> None:
    for stage in ("stage1", "stage2"):
        account = read_manifest(output / stage)["counts"]["accounting"]
        assert account["output"] == len(conversations(output / stage))
        assert account["input"] == account["output"] + len(drops(output / stage))


def test_ids_are_unique_and_provenance_names_the_template(output: Path) -> None:
    made = conversations(output / "stage1") + conversations(output / "stage2")
    assert len({c.id for c in made}) == len(made)
    assert all(c.provenance.rpartition("-")[2].isdigit() for c in made)


def test_the_same_command_changes_nothing(output: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    make(output.parent / "corpus", output)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


@pytest.mark.slow
def test_options_drop_near_questions_and_balance_only_where_they_are_on(tmp_path: Path) -> None:
    require_isolation()
    described = PLAIN.replace("gives.", "gives at the separator, ends of lines included{}.")
    words = ("", " always", " too", " at once", " here", " as a list")
    texts = [("a", f"{n}.py", f"# {n}\n{described.format(w)}") for n, w in enumerate(words)]
    texts = [(repo, path, text.replace("listed", f"listed{path[0]}")) for repo, path, text in texts]
    write_corpus(tmp_path / "corpus", texts)
    near = NearSettings(ngram=1, permutations=64, bands=32, rows=2, min_jaccard=0.5)
    balance = BalanceSettings(by=("language", "provenance"), max_share=0.5)
    counts = {}
    for name, options in {
        "plain": {},
        "near": {"near_instructions": near},
        "balanced": {"balance": balance},
    }.items():
        make(tmp_path / "corpus", tmp_path / name, **options)
        manifest = read_manifest(tmp_path / name / "stage1")
        counts[name] = manifest["counts"]
        assert {"near_instructions", "balance"}.intersection(manifest["config"]) == set(options)
    stages = {name: [stage for stage, _ in c["funnel"]] for name, c in counts.items()}
    assert stages["near"] == [*stages["plain"], "apart"]
    assert stages["balanced"] == [*stages["plain"], "balanced"]
    assert counts["near"]["accounting"]["dropped"]["near_duplicate_instruction"] > 0
    kept = counts["balanced"]["kept"].values()
    assert max(kept) <= 0.5 * sum(kept)
    assert sum(kept) == 6 - counts["balanced"]["accounting"]["dropped"].get("over_share", 0)


def test_a_share_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="stage1_share"):
        InstructionSettings(1, 1, 1, stage1_share=0)


@pytest.mark.parametrize("gin_file", ["sft_data/demo.gin", "sft_data/full.gin"])
def test_every_gin_file_is_complete(gin_file: str) -> None:
    bindings = ["INPUT_DIR='c'", "OUTPUT_DIR='o'"]
    configuration.configure(sft_data, gin_files=[gin_file], bindings=bindings)
