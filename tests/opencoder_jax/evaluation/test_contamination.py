"""Training data are searched for problems, or their manifest is believed, or nothing is claimed."""

from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.contamination import (
    ProblemTexts,
    check_training_data,
    humaneval,
    texts_fingerprint,
)
from opencoder_jax.formats.conversation import Conversation, encode_conversation
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard

TEXT = "def weigh(apples, pears):\n    return 3 * apples + 4 * pears - min(apples, pears) / 7\n"
TASK = ProblemTexts("fruit", (("fruit/1", TEXT), ("fruit/2", "def other(a): return a")))
SOURCES = {"humaneval": "humaneval", "fruit": ""}


def folder_of(path: Path, name: str, records: list[bytes], **inputs: str) -> Path:
    path.mkdir()
    if records:
        write_shard(path / shard_name(name, 0, 1), records)
    config = {"benchmarks": ["humaneval"]} if inputs else {}
    write_manifest(path, job="test", config=config, inputs=inputs, counts={})
    return path


def document(number: int, text: str) -> bytes:
    return encode_document(Document(id=f"{number:032x}", text=text, repo="r", path=f"{number}.py"))


def test_a_copied_problem_is_found_with_where_it_stands(tmp_path: Path) -> None:
    copied = "# seen\n" + TEXT.upper().replace("    ", "\t")
    corpus = folder_of(
        tmp_path / "corpus",
        "documents",
        [document(1, "x = 1\n" * 50), document(2, copied), document(3, f"{copied}\ny = 2\n")],
    )
    found = check_training_data([corpus], [TASK], SOURCES)["fruit"]
    assert found["state"] == "overlaps: 1 of 2 problems"
    problem = found["problems"]["fruit/1"]
    assert (problem["documents"], problem["example"]) == (2, "r/2.py")
    assert problem["words"] == "def weigh apples pears return 3 apples 4 pears min"
    assert found["why"] == ["corpus: 3 documents searched"]


def test_conversations_are_searched_too_and_a_clean_corpus_is_clean(tmp_path: Path) -> None:
    messages = (("user", "Weigh."), ("assistant", TEXT))
    told = Conversation("a" * 32, messages, "python", "r", "by hand")
    answers = folder_of(tmp_path / "sft", "conversations", [encode_conversation(told)])
    clean = folder_of(tmp_path / "clean", "documents", [document(1, "import os\n")])
    both = check_training_data([clean, answers], [TASK], SOURCES)["fruit"]
    assert both["state"] == "overlaps: 1 of 2 problems"
    assert check_training_data([clean], [TASK], SOURCES)["fruit"]["state"] == "clean"


def test_a_manifest_is_believed_for_the_very_problems_that_it_names(tmp_path: Path) -> None:
    mine = ProblemTexts("humaneval", humaneval().texts)
    good = texts_fingerprint([humaneval()])
    packed = folder_of(tmp_path / "packed", "train", [b"x"], benchmarks=good)
    other = folder_of(tmp_path / "other", "train", [b"x"], benchmarks="another")
    silent = folder_of(tmp_path / "silent", "train", [b"x"])

    def state(folders: list[Path], task: ProblemTexts = mine) -> str:
        return check_training_data(folders, [task], SOURCES)[task.name]["state"]

    assert state([packed]) == "clean"
    assert state([other]) == state([silent]) == state([packed, silent]) == "not checked"
    # It says nothing of another benchmark.
    assert state([packed], TASK) == "not checked"


def test_a_folder_that_is_no_finished_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of training data"):
        check_training_data([tmp_path / "nowhere"], [TASK], SOURCES)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(InputError, match=r"manifest\.json"):
        check_training_data([tmp_path / "unfinished"], [TASK], SOURCES)
