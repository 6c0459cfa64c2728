"""Other people's files become sets: every row a record or a drop, and the sets can be packed."""

import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.import_instructions import import_instructions
from beam_pipelines.synthesis.balance import BalanceSettings
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import ManifestError, read_manifest
from opencoder_jax.formats.shards import read_records
from opencoder_jax.report.made_sets import read_made_set
from tests import packed_example
from tests.beam_pipelines.dialogues.published_rows import (
    ALPACA,
    ANNEALING,
    EDUCATIONAL,
    INFINITY,
    OPENAI,
    SHAREGPT,
    WILDCHAT,
)
from tests.beam_pipelines.object_store import Store
from tests.isolation import require_isolation


def write(folder: Path, name: str, rows: list) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
        (folder / name).write_text(text)


def made(files: Path, output: Path, **settings) -> Path:
    arguments = {"records": "conversations", "benchmarks": ["humaneval"], "num_shards": 1}
    import_instructions(str(files), "mine", str(output), **{**arguments, **settings})
    return output / "mine"


def conversations(folder: Path) -> list[Conversation]:
    return [decode_conversation(record) for record in read_records(folder, "conversations")]


def drops(folder: Path) -> list[Drop]:
    return [decode_drop(record) for record in read_records(folder / "dropped", "dropped")]


def turned(answer: str, **fields) -> dict:
    return {**fields, "instruction": f"Say {answer}", "output": answer}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write(folder, "wildchat.parquet", [WILDCHAT])
    write(folder, "sharegpt.json", [SHAREGPT])
    write(folder, "infinity.jsonl", [INFINITY])
    write(folder, "openai.jsonl", [OPENAI])
    write(folder, "alpaca.jsonl", [ALPACA])
    write(folder, "educational.parquet", [EDUCATIONAL])
    prompt = load_problems()[7].prompt
    bad = [
        {**WILDCHAT, "toxic": True},
        {"conversations": [{"from": "human", "value": "only asked"}]},
        {"conversations": [{"value": "no role"}, {"from": "gpt", "value": "x"}]},
        {"conversations": "no list"},
        {"other": "layout"},
        turned("Here:\n```python\nx = 1"),
        turned(f"```python\n{prompt}    pass\n```"),
        # A copy but for case and blanks; the smaller id stays.
        {**ALPACA, "instruction": "rewrite  in rust.\n"},
    ]
    write(folder, "zz_bad.jsonl", bad)
    with open(folder / "zz_bad.jsonl", "a") as file:
        file.write("\n{half a row")
    return folder


@pytest.fixture(scope="module")
def output(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(files, tmp_path_factory.mktemp("sets"))


def test_published_layouts_become_conversations(output: Path) -> None:
    found = {json.loads(c.details)["file"]: c for c in conversations(output)}
    alpaca = next(name for name in ("alpaca.jsonl", "zz_bad.jsonl") if name in found)
    found["alpaca.jsonl"] = found.pop(alpaca)
    assert set(found) == {
        *("wildchat.parquet", "sharegpt.json", "infinity.jsonl", "openai.jsonl"),
        *("alpaca.jsonl", "educational.parquet"),
    }
    wildchat = found["wildchat.parquet"]
    assert [role for role, _ in wildchat.messages] == ["user", "assistant"] * 2
    known = wildchat.known()
    assert known["source_id"] == WILDCHAT["conversation_hash"]
    assert known["human_language"] == "English"
    assert known["model"] == "gpt-4-0314"
    assert found["openai.jsonl"].messages[:2] == (
        ("system", "Be short."),
        ("user", "One loop in C"),
    )
    (_, question), _ = found["alpaca.jsonl"].messages
    assert question.lower().split() == ["rewrite", "in", "rust.", "int", "x", "=", "1;"]
    assert found["infinity.jsonl"].known()["label"]["cate_ability_en"] == ["code"]
    assert found["infinity.jsonl"].known()["human_language"] == "zh-cn"
    languages = {name.partition(".")[0]: c.language for name, c in found.items()}
    assert languages == {
        "wildchat": "python",
        "sharegpt": "go",
        "infinity": "cpp",
        "openai": "c",
        "alpaca": "rust",
        "educational": "python",
    }
    assert found["educational.parquet"].known()["tests"].count("assert") == 2
    assert {c.provenance for c in found.values()} == {"mine"}


def test_every_other_row_is_a_drop_with_its_reason(output: Path) -> None:
    counts = read_manifest(output)["counts"]
    assert counts["accounting"] == {
        "input": 15,
        "output": 6,
        "dropped": {
            "bad_dialogue": 5,
            "bad_record": 1,
            "benchmark_ngram": 1,
            "duplicate": 1,
            "toxic": 1,
        },
    }
    assert counts["dropped_for_benchmark"] == {"humaneval": 1}
    details = {drop.detail for drop in drops(output) if drop.reason == "bad_dialogue"}
    assert details == {
        "no answer",
        "turn 0: no role",
        "conversations is str, expected a list of turns",
        "no turns in the fields other",
        "the answer is cut off: a code block is not closed",
    }
    assert all(drop.sample for drop in drops(output) if drop.reason != "bad_record")


def test_equal_questions_are_on_one_side_of_the_held_out_split(tmp_path: Path) -> None:
    rows = [{"instruction": "Why?", "output": text} for text in ("a", "b")]
    write(tmp_path / "in", "a.jsonl", [*rows, {"instruction": "How?", "output": "a"}])
    repos = [c.repo for c in conversations(made(tmp_path / "in", tmp_path / "out"))]
    assert len(repos) == 3
    assert len(set(repos)) == 2


def test_tests_that_came_along_are_run_where_that_is_asked_for(tmp_path: Path) -> None:
    require_isolation()
    wrong = {
        **EDUCATIONAL,
        "instruction": "Write a function to halve a number.",
        "testcase": ["assert twice_it(2) == 1"],
    }
    proves_nothing = {
        **EDUCATIONAL,
        "instruction": "Write a function to do it.",
        "testcase": ["assert True"],
    }
    write(tmp_path / "in", "a.jsonl", [EDUCATIONAL, wrong, proves_nothing, ALPACA])
    folder = made(tmp_path / "in", tmp_path / "out", run_tests=True)
    kept = {c.messages[0][1]: c.known().get("executed") for c in conversations(folder)}
    assert kept == {EDUCATIONAL["instruction"]: True, "Rewrite in Rust.\n\nint x = 1;": None}
    reasons = sorted(drop.reason for drop in drops(folder))
    assert reasons == ["tests_do_not_use_solution", "tests_failed"]


def test_annealing_corpora_become_documents(tmp_path: Path) -> None:
    rows = [ANNEALING, ANNEALING, {"text": " ", "lang": "c"}, {"text": "Q: why?\n\nA: so."}]
    write(tmp_path / "in", "a.parquet", rows)
    folder = made(tmp_path / "in", tmp_path / "out", records="documents")
    found = [decode_document(record) for record in read_records(folder, "documents")]
    assert sorted((d.text, d.language) for d in found) == [
        ("Q: why?\n\nA: so.", "unknown"),
        (ANNEALING["text"], "c"),
    ]
    assert sorted(drop.reason for drop in drops(folder)) == ["duplicate", "empty"]


def test_imported_sets_are_packed_as_any_other(output: Path, tmp_path: Path) -> None:
    counts = packed_example.pack_example(output, tmp_path / "packed", sequence_length=256)["counts"]
    assert counts["accounting"] == {"input": 6, "output": 6, "dropped": {}}
    predicted = sum(counts[side]["predicted_tokens"] for side in ("train", "heldout"))
    answers = sum(
        text_role[0] == "assistant" for c in conversations(output) for text_role in c.messages
    )
    assert answers == 7
    assert predicted > answers


def test_files_and_sets_may_be_in_a_store(store: Store, tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", [ALPACA, SHAREGPT])
    source = store.upload(tmp_path, "rows")
    arguments = [
        f"--gin.FILES={source}/",
        "--gin.SET_NAME=mine",
        f"--gin.OUTPUT_DIR={store.root}/sets",
        "--gin.NUM_SHARDS=1",
        *store.flags,
    ]
    status = configuration.main(
        import_instructions,
        arguments,
        default_gin_files=["import_instructions/conversations.gin"],
        pass_through="pipeline_args",
    )
    assert status == 0
    copied = store.download(f"{store.root}/sets/mine", tmp_path / "copied")
    assert len(conversations(copied)) == 2


def test_another_run_finds_the_set_finished_and_another_setting_is_refused(
    files: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(files, output.parent)
    assert "nothing to do" in capsys.readouterr().err
    with pytest.raises(ManifestError, match="keep_toxic"):
        made(files, output.parent, keep_toxic=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"records": "texts"}, "expected conversations or documents"),
        ({"files": "/no/such/file*"}, "nothing matches"),
        ({"set_name": "a/b"}, "expected a name for a folder"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message, tmp_path: Path) -> None:
    write(tmp_path / "in", "a.jsonl", [ALPACA])
    arguments = {
        "files": os.fspath(tmp_path / "in"),
        "set_name": "mine",
        "records": "conversations",
        "output_dir": str(tmp_path / "out"),
        "benchmarks": ["humaneval"],
        "num_shards": 1,
    }
    with pytest.raises(InputError, match=message):
        import_instructions(**{**arguments, **settings})


def test_near_questions_and_heavy_groups_go_only_where_that_is_asked_for(tmp_path: Path) -> None:
    asked = "Write a function that merges overlapping intervals and returns them in {} order."
    rows = [{"instruction": asked.format(word), "output": word} for word in ("rising", "falling")]
    rows += [
        {"instruction": f"What is {n} plus {n}, in words of {n} letters?", "output": str(2 * n)}
        for n in range(6)
    ]
    rows += [{"instruction": "Print x in C.", "output": "```c\nprintf(x);\n```", "lang": "c"}]
    write(tmp_path / "files", "rows.jsonl", rows)
    plain = made(tmp_path / "files", tmp_path / "plain")
    near = NearSettings(ngram=3, permutations=128, bands=32, rows=4, min_jaccard=0.6)
    apart = made(tmp_path / "files", tmp_path / "near", near_instructions=near)
    balance = BalanceSettings(by=["language"], max_share=0.5)
    even = made(tmp_path / "files", tmp_path / "balanced", balance=balance)
    assert len(conversations(plain)) == 9
    (drop,) = drops(apart)
    assert drop.reason == "near_duplicate_instruction"
    assert {"rising", "falling"} & set(drop.sample.split())
    assert len(conversations(apart)) == 8
    assert sorted(c.language for c in conversations(even)) == ["c", "text"]
    assert {d.reason for d in drops(even)} == {"over_share"}
    funnels = [dict(read_manifest(s)["counts"]["funnel"]) for s in (plain, apart, even)]
    assert [(f.get("apart"), f.get("balanced")) for f in funnels] == [
        (None, None),
        (8, None),
        (None, 2),
    ]
    with pytest.raises(InputError, match="are for conversations"):
        made(tmp_path / "files", tmp_path / "no", records="documents", balance=balance)


def test_the_page_of_made_sets_reads_an_imported_set(output: Path) -> None:
    found = read_made_set(output, "imported", sample=50, rejected=2)
    assert [check for check in found.checks if not check.agrees] == []
    assert found.records == len(conversations(output))
    assert {r.reason: r.count for r in found.rejected} == dict(
        Counter(d.reason for d in drops(output))
    )
