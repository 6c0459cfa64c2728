"""Training data are searched for problems, whatever form they have, or nothing is claimed."""

import shutil
from pathlib import Path

import pytest

from beam_pipelines.pack import pack_set
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark_texts import load_texts
from opencoder_jax.evaluation.contamination import ProblemTexts, kept_out_inputs
from opencoder_jax.evaluation.data_files import DataFolder
from opencoder_jax.evaluation.training_data import check_training_data
from opencoder_jax.formats.conversation import Conversation, encode_conversation
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.formats.split import is_heldout
from opencoder_jax.train import train
from tests import packed_example
from tests.opencoder_jax import small_run

TEXT = "def weigh(apples, pears):\n    return 3 * apples + 4 * pears - min(apples, pears) / 7\n"
TASK = ProblemTexts("fruit", (("fruit/1", TEXT), ("fruit/2", "def other(a): return a")))
KEPT_OUT: dict[str, dict[str, str]] = {}


def folder_of(path: Path, name: str, records: list[bytes], **inputs: str) -> Path:
    path.mkdir()
    if records:
        write_shard(path / shard_name(name, 0, 1), records)
    write_manifest(path, job="test", config={}, inputs=inputs, counts={})
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
    found = check_training_data([corpus], [TASK], KEPT_OUT)["fruit"]
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
    both = check_training_data([clean, answers], [TASK], KEPT_OUT)["fruit"]
    assert both["state"] == "overlaps: 1 of 2 problems"
    assert check_training_data([clean], [TASK], KEPT_OUT)["fruit"]["state"] == "clean"


def test_a_manifest_is_believed_for_the_very_problems_that_it_names(tmp_path: Path) -> None:
    texts = load_texts(["humaneval"], DataFolder())
    kept_out = kept_out_inputs(texts)
    packed = folder_of(tmp_path / "packed", "train", [b"x"], **kept_out)
    other = folder_of(tmp_path / "other", "train", [b"x"], **dict.fromkeys(kept_out, "another"))
    silent = folder_of(tmp_path / "silent", "train", [b"x"])

    def state(folders: list[Path], task: ProblemTexts = texts[0]) -> str:
        found = check_training_data(folders, [task], {"humaneval": kept_out})
        return found[task.name]["state"]

    assert state([packed]) == "clean"
    assert state([other]) == state([silent]) == state([packed, silent]) == "not checked"
    # It says nothing of another benchmark.
    assert state([packed], TASK) == "not checked"


def test_a_folder_that_is_no_finished_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of training data"):
        check_training_data([tmp_path / "nowhere"], [TASK], KEPT_OUT)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(InputError, match=r"manifest\.json"):
        check_training_data([tmp_path / "unfinished"], [TASK], KEPT_OUT)


def seen(number: int, text: str, repo: str = "stdlib/json") -> Document:
    return packed_example.document(repo, f"{number}.py", text)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A packed set with the problem in a document of many sequences, cut inside the problem."""
    root = tmp_path_factory.mktemp("packed")
    tokenizer = packed_example.tokenizer()
    # So much before it that the first cut is in the middle of the problem's tokens.
    before = "x = [0]\n"
    while len(tokenizer.encode(before + TEXT)) < packed_example.SEQUENCE_LENGTH + 20:
        before += "x = [0]\n"
    first = tokenizer.encode(before + TEXT)[: packed_example.SEQUENCE_LENGTH]
    assert before < tokenizer.decode(first) < before + TEXT
    corpus = [seen(1, before + TEXT + "y = 1\n" * 200), seen(2, "z = 3\n"), seen(3, "a = b\n" * 9)]
    packed_example.write_corpus(root / "corpus", corpus)
    packed_example.pack_example(root / "corpus", root / "sets" / "refinecode", heldout_fraction=0)
    return root / "sets" / "refinecode"


def test_a_packed_set_is_searched_by_its_tokens_across_the_cuts_too(packed: Path) -> None:
    tokenizers = [packed_example.tokenizer()]
    # Without the seam no ten words in a row would be left on either side.
    short = ProblemTexts("fruit", (("fruit/1", TEXT), ("fruit/2", "lambda " * 12)))

    found = check_training_data([packed], [short], KEPT_OUT, tokenizers)["fruit"]

    assert found["state"] == "overlaps: 1 of 2 problems"
    problem = found["problems"]["fruit/1"]
    assert problem["documents"] == 1
    assert problem["example"].startswith("refinecode: document ")
    assert found["why"][0].endswith("packed sequences searched")


def test_documents_that_were_rearranged_for_infilling_are_searched_as_they_were(tmp_path) -> None:
    corpus = packed_example.write_corpus(
        tmp_path / "corpus", [seen(n, f"# {n}\n{TEXT}") for n in range(20)]
    )
    packed_example.pack_example(corpus, tmp_path / "fim", heldout_fraction=0, fim_rate=1.0)
    tokenizers = [packed_example.tokenizer()]
    found = check_training_data([tmp_path / "fim"], [TASK], KEPT_OUT, tokenizers)["fruit"]
    assert found["problems"]["fruit/1"]["documents"] == 20


def test_conversations_that_were_packed_are_searched(tmp_path: Path) -> None:
    told = Conversation("a" * 32, (("user", "Weigh."), ("assistant", TEXT)), "python", "r", "t")
    packed_example.write_conversations(tmp_path / "chats", [told])
    packed_example.pack_example(tmp_path / "chats", tmp_path / "sft_stage1", heldout_fraction=0)
    tokenizers = [packed_example.tokenizer()]
    found = check_training_data([tmp_path / "sft_stage1"], [TASK], KEPT_OUT, tokenizers)["fruit"]
    assert found["state"] == "overlaps: 1 of 2 problems"


def test_the_tokenizer_is_found_where_the_pack_job_had_it_or_asked_for(packed, tmp_path) -> None:
    with pytest.raises(InputError, match=r"packed with tokenizer \w{16}.*search the folder of doc"):
        check_training_data([packed], [TASK], KEPT_OUT)
    configuration.configure(
        pack_set,
        gin_files=["pack/demo.gin"],
        bindings=[
            f"INPUT_DIR = {str(packed.parents[1] / 'corpus')!r}",
            f"TOKENIZER_DIR = {str(packed_example.tokenizer_dir())!r}",
            f"OUTPUT_DIR = {str(tmp_path / 'refinecode')!r}",
        ],
    )()
    found = check_training_data([tmp_path / "refinecode"], [TASK], KEPT_OUT)["fruit"]
    assert found["state"] == "overlaps: 1 of 2 problems"


@pytest.mark.slow
def test_a_training_run_stands_for_the_packed_sets_that_it_saw(tmp_path, capsys) -> None:
    sets = shutil.copytree(packed_example.packed_dir(), tmp_path / "sets")
    run = tmp_path / "run"
    flags = small_run.flags(f"--gin.MODEL_DIR={run}", steps=2, save_period=2)
    flags += [f"--gin.PACKED_DIR={sets}", "--gin.MIXTURE_OR_TASK_NAME=refinecode"]
    # JAX has as many devices in this process as the first test that made a mesh asked for: eight.
    flags += [f"--gin.sharding.MeshConfig.{name}" for name in ("virtual_cpu_devices=8", "data=2")]
    flags += ["--gin.sharding.MeshConfig.fsdp=4", "--gin.BATCH_SIZE=8"]
    assert configuration.main(train, flags) == 0, capsys.readouterr().err
    tokenizers = [packed_example.tokenizer()]
    train_side = [d for d in packed_example.documents() if not is_heldout(d.repo, 0.3)]
    known = max(train_side, key=lambda d: len(d.text)).text
    task = ProblemTexts("fruit", (("fruit/1", known), ("fruit/2", TEXT)))

    found = check_training_data([run], [task], KEPT_OUT, tokenizers)["fruit"]

    assert found["state"] == "overlaps: 1 of 2 problems"
    direct = check_training_data([sets / "refinecode"], [task], KEPT_OUT, tokenizers)["fruit"]
    assert found["why"] == direct["why"]
    # Where they are no more, they have to be named beside the run.
    moved = sets.rename(tmp_path / "moved") / "refinecode"
    with pytest.raises(InputError, match=r"was trained on refinecode \(.*not found in"):
        check_training_data([run], [task], KEPT_OUT, tokenizers)
    assert check_training_data([run, moved], [task], KEPT_OUT, tokenizers)["fruit"] == found
