import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from beam_pipelines import accounting
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.manifest import MANIFEST_NAME, read_manifest
from opencoder_jax.formats.packed import decode_packed
from opencoder_jax.formats.split import is_heldout
from opencoder_jax.formats.tokenizer import open_tokenizer
from tests import packed_example
from tests.opencoder_jax import byte_level
from tests.packed_example import document, pack_example, write_conversations, write_corpus


def packed(folder, split):
    return [decode_packed(record) for record in shards.read_records(folder, split)]


def ids(folder, split):
    return {name for sequence in packed(folder, split) for name in sequence.document_ids}


def drops(folder):
    records = shards.read_records(folder / "dropped", "dropped")
    return [accounting.decode_drop(record) for record in records]


def conversation(number, answer, repo="stdlib/json"):
    turns = (("user", f"Question {number}"), ("assistant", answer))
    return Conversation(f"{number:032x}", turns, "python", repo, "test")


def test_every_document_is_packed_on_the_side_of_its_repository():
    folder = packed_example.packed_dir() / "refinecode"
    held = {d.id for d in packed_example.documents() if is_heldout(d.repo, 0.3)}

    assert 0 < len(held) < len(packed_example.documents())
    assert ids(folder, "heldout") == held
    assert ids(folder, "train") == {d.id for d in packed_example.documents()} - held


def test_a_derived_set_holds_out_the_same_repositories():
    derived = packed_example.packed_dir() / "algorithmic_corpus"
    corpus = packed_example.packed_dir() / "refinecode"

    assert ids(derived, "heldout") <= ids(corpus, "heldout")
    assert ids(derived, "train") <= ids(corpus, "train")


def test_the_manifest_counts_what_the_shards_hold():
    folder = packed_example.packed_dir() / "refinecode"
    counts = read_manifest(folder)["counts"]

    for side in ("train", "heldout"):
        sequences = packed(folder, side)
        assert counts[side]["sequences"] == len(sequences)
        assert counts[side]["predicted_tokens"] == sum(s.loss_weights.sum() for s in sequences)
        assert counts[side]["padding_tokens"] == sum((s.segment_ids == 0).sum() for s in sequences)
        for language, count in counts[side]["languages"].items():
            assert count["text_bytes"] == sum(
                size
                for s in sequences
                for size, name in zip(s.document_bytes, s.document_languages, strict=True)
                if name == language
            )
    text_bytes = sum(len(d.text.encode()) for d in packed_example.documents())
    assert counts["train"]["text_bytes"] + counts["heldout"]["text_bytes"] == text_bytes
    assert counts["accounting"]["input"] == len(packed_example.documents())


def test_the_same_files_come_out_of_another_order_and_other_shards(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", packed_example.documents()[::-1], num_shards=5)

    pack_example(corpus, tmp_path / "packed")

    ours = packed_example.packed_dir() / "refinecode"
    assert read_manifest(tmp_path / "packed") == read_manifest(ours)


def test_the_same_files_come_out_of_several_processes(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", packed_example.documents())

    pack_example(
        corpus,
        tmp_path / "packed",
        pipeline_args=("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    )

    ours = packed_example.packed_dir() / "refinecode"
    assert read_manifest(tmp_path / "packed") == read_manifest(ours)


def test_the_last_answer_alone_may_be_learned(tmp_path):
    turns = (("user", "a"), ("assistant", "first"), ("user", "b"), ("assistant", "second"))
    talk = Conversation("a" * 32, turns, "python", "stdlib/json", "test")
    folder = packed_example.write_conversations(tmp_path / "set", [talk])

    every = pack_example(folder, tmp_path / "every", heldout_fraction=0.0)
    last = pack_example(folder, tmp_path / "last", heldout_fraction=0.0, last_answer_only=True)

    assert every["counts"]["train"]["text_bytes"] == len("firstsecond")
    assert last["counts"]["train"]["text_bytes"] == len("second")
    assert last["counts"]["train"]["tokens"] == every["counts"]["train"]["tokens"]
    assert "last_answer_only" not in every["config"]
    with pytest.raises(InputError, match="holds documents"):
        pack_example(packed_example.corpus_dir(), tmp_path / "no", last_answer_only=True)


def test_a_heldout_document_with_a_near_duplicate_in_training_is_dropped(tmp_path):
    repos = [f"repo{i}" for i in range(40)]
    held = next(r for r in repos if is_heldout(r, 0.3))
    train = next(r for r in repos if not is_heldout(r, 0.3))
    corpus = [
        document(train, "a.py", "x = 1\n", cluster="f" * 32),
        document(held, "a.py", "x = 1\n\n", cluster="f" * 32),
        document(held, "b.py", "y = 2\n"),
        document(train, "c.py", "z = 3\n"),
    ]

    manifest = pack_example(write_corpus(tmp_path / "corpus", corpus), tmp_path / "packed")

    dropped = drops(tmp_path / "packed")
    assert [(d.id, d.reason) for d in dropped] == [(corpus[1].id, "near_duplicate_of_training")]
    assert ids(tmp_path / "packed", "heldout") == {corpus[2].id}
    assert manifest["counts"]["accounting"] == {
        "input": 4,
        "output": 3,
        "dropped": {"near_duplicate_of_training": 1},
    }


def test_a_conversation_that_does_not_fit_is_dropped_and_counted(tmp_path):
    conversations = [conversation(i, "yes " * (i * 10)) for i in range(8)]

    pack_example(write_conversations(tmp_path / "set", conversations), tmp_path / "packed")

    dropped = drops(tmp_path / "packed")
    assert dropped
    assert all(d.reason == "too_long" and d.value > 129 for d in dropped)
    kept = ids(tmp_path / "packed", "train") | ids(tmp_path / "packed", "heldout")
    assert kept == {c.id for c in conversations} - {d.id for d in dropped}


def test_only_answers_are_learned_and_their_bytes_are_counted(tmp_path):
    conversations = [conversation(i, f"x = {i}\n") for i in range(20)]

    pack_example(
        write_conversations(tmp_path / "set", conversations),
        tmp_path / "packed",
        heldout_fraction=0.0,
    )

    tokenizer = packed_example.tokenizer()
    answers = []
    for sequence in packed(tmp_path / "packed", "train"):
        for index in range(len(sequence.document_ids)):
            here = (sequence.segment_ids == index + 1) & (sequence.loss_weights == 1)
            learned = sequence.tokens[here]
            assert learned[-1] == tokenizer.im_end
            answers.append(tokenizer.decode(learned))
            assert sequence.document_bytes[index] == len(answers[-1])
    assert sorted(answers) == sorted(c.messages[1][1] for c in conversations)
    assert shards.count_records(tmp_path / "packed", "heldout") == 0


def test_an_empty_set_gives_empty_shards(tmp_path):
    manifest = pack_example(write_corpus(tmp_path / "corpus", []), tmp_path / "packed")

    assert manifest["counts"]["train"]["sequences"] == 0
    assert shards.count_records(tmp_path / "packed", "train") == 0


def test_a_finished_set_is_left_alone(tmp_path):
    ours = packed_example.packed_dir() / "refinecode"
    before = {path: path.stat().st_mtime_ns for path in ours.rglob("*")}

    pack_example(packed_example.corpus_dir(), ours)

    assert {path: path.stat().st_mtime_ns for path in ours.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence_length": 64}, "sequence_length: there 128, here 64"),
        ({"heldout_fraction": 0.2}, "heldout_fraction: there 0.3, here 0.2"),
    ],
)
def test_a_set_packed_with_other_settings_is_refused(change, message):
    ours = packed_example.packed_dir() / "refinecode"

    with pytest.raises(InputError, match=message):
        pack_example(packed_example.corpus_dir(), ours, **change)


def test_a_set_packed_with_another_tokenizer_is_refused(tmp_path):
    shutil.copytree(packed_example.tokenizer_dir(), tmp_path / "tokenizer")
    with (tmp_path / "tokenizer" / "tokenizer.model").open("ab") as file:
        file.write(b"\x1a\x00")  # An empty trainer field: another file, the same pieces.
    (tmp_path / "tokenizer" / "manifest.json").unlink()  # It would tell that the file changed.

    with pytest.raises(InputError, match="input tokenizer: there"):
        pack_example(
            packed_example.corpus_dir(),
            packed_example.packed_dir() / "refinecode",
            tokenizer_dir=str(tmp_path / "tokenizer"),
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence_length": 0}, "sequence_length is 0"),
        ({"num_shards": 0}, "num_shards is 0"),
        ({"heldout_fraction": 1.5}, "expected 0 <= fraction < 1"),
        ({"tokenizer_dir": "/nonexistent"}, "has no tokenizer.model"),
        ({"pipeline_args": ("--no_such_flag=1",)}, "no_such_flag"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        pack_example(packed_example.corpus_dir(), tmp_path / "packed", **change)


def test_folders_that_are_no_set_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        pack_example(tmp_path / "missing", tmp_path / "packed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no shards"):
        pack_example(tmp_path / "empty", tmp_path / "packed")


def test_a_damaged_shard_is_refused_and_nothing_looks_finished(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", packed_example.documents())
    shard = shards.list_shards(corpus, "documents")[0]
    damaged = bytearray(shard.read_bytes())
    damaged[40_000:40_200] = b"x" * 200
    shard.write_bytes(damaged)

    with pytest.raises(InputError, match=shard.name):
        pack_example(corpus, tmp_path / "packed")

    assert not (tmp_path / "packed" / MANIFEST_NAME).exists()


def test_a_killed_job_run_again_gives_the_same_manifest(tmp_path):
    command = [
        *(sys.executable, "-m", "beam_pipelines.pack", "--gin_file=pack/demo.gin"),
        f"--gin.INPUT_DIR={packed_example.corpus_dir()}",
        f"--gin.TOKENIZER_DIR={packed_example.tokenizer_dir()}",
        f"--gin.OUTPUT_DIR={tmp_path / 'packed'}",
        *("--gin.SEQUENCE_LENGTH=128", "--gin.NUM_SHARDS=3", "--gin.HELDOUT_FRACTION=0.3"),
    ]
    first = subprocess.Popen(command, start_new_session=True)
    while not list((tmp_path / "packed").glob(".incomplete/*")):
        assert first.poll() is None, "it was too fast to be killed"
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "packed" / MANIFEST_NAME).exists()

    subprocess.run(command, check=True)

    ours = packed_example.packed_dir() / "refinecode"
    assert read_manifest(tmp_path / "packed") == read_manifest(ours)
    assert not (tmp_path / "packed" / ".incomplete").exists()


def test_a_checkpoints_own_tokenizer_packs_documents_without_losing_a_byte(tmp_path):
    folder = byte_level.make_folder(tmp_path / "tokenizer")
    tokenizer = open_tokenizer(folder)
    out = tmp_path / "out"

    manifest = pack_example(packed_example.corpus_dir(), out, tokenizer_dir=str(folder))

    assert manifest["inputs"]["tokenizer"] == tokenizer.fingerprint
    assert not drops(out)
    corpus = {d.id: d.text for d in packed_example.documents()}
    total = sum(manifest["counts"][side]["text_bytes"] for side in ("train", "heldout"))
    assert total == sum(len(text.encode()) for text in corpus.values())
    whole = 0  # documents in one piece
    for sequence in packed(out, "train"):
        assert set(sequence.tokens[sequence.segment_ids == 0].tolist()) <= {tokenizer.pad}
        for segment, name in enumerate(sequence.document_ids, start=1):
            tokens = sequence.tokens[sequence.segment_ids == segment].tolist()
            if (tokens[0], tokens[-1]) == (tokenizer.document_start, tokenizer.document_end):
                assert tokenizer.decode(tokens) == corpus[name]
                whole += 1
    assert whole


def test_a_text_that_a_tokenizer_normalizes_is_dropped_and_said(tmp_path):
    folder = byte_level.make_folder(tmp_path / "tokenizer", normalizer=byte_level.nfc())
    texts = {"composed.py": "é = 1\n", "decomposed.py": "e\u0301 = 1\n"}
    corpus = write_corpus(tmp_path / "corpus", [document("r", p, t) for p, t in texts.items()])
    out = tmp_path / "out"

    pack_example(corpus, out, tokenizer_dir=str(folder), heldout_fraction=0.0)

    (drop,) = drops(out)
    assert (drop.path, drop.reason) == ("decomposed.py", "changed_by_tokenizer")
    assert (drop.value, drop.threshold) == (7.0, "!= 8")


def test_conversations_take_the_checkpoints_template_and_another_one_is_other_work(tmp_path):
    folder = byte_level.make_folder(tmp_path / "tokenizer")
    tokenizer = open_tokenizer(folder)
    answers = ["x = 1", "y<|im_end|> = 2\n"]
    given = [conversation(i, answer) for i, answer in enumerate(answers)]
    conversations = write_conversations(tmp_path / "set", given)
    settings = {"tokenizer_dir": str(folder), "heldout_fraction": 0.0}

    manifest = pack_example(conversations, tmp_path / "out", **settings)

    learned = [
        tokenizer.decode(sequence.tokens[sequence.loss_weights == 1].tolist())
        for sequence in packed(tmp_path / "out", "train")
    ]
    assert sorted("".join(learned)) == sorted("".join(answers))
    assert manifest["counts"]["train"]["text_bytes"] == sum(map(len, answers))
    (folder / "chat_template.jinja").write_text(byte_level.CHATML.replace("Be kind", "Be brief"))
    with pytest.raises(InputError, match="chat_template"):
        pack_example(conversations, tmp_path / "out", **settings)
