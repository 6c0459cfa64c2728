"""`tokenizer.json` gives the ids of our SentencePiece model, on real files and hard texts."""

import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.formats.tokenizer import TokenizerError
from opencoder_jax.huggingface.tokenizer import write_tokenizer
from tests.opencoder_jax.model.small_models import make_tokenizer

HARD_TEXTS = {
    "runs of spaces": "".join(" " * n + "x" for n in range(40)),
    "newlines": "a\n\n\n  \r\n\t\tb\n" * 3,
    "digits": "3.14159 0xFFFF 1234567890 ١٢٣",
    "unicode": "é漢字😀\u00a0\u3000\ufeff\U000e0001",
    "bytes": "\x00\x01\x7f",
    "the space mark of SentencePiece": "a\u2581b \u2581\u2581 c",
    "control tokens spelled out": "<|im_end|> <s></s> <0x0A> <unk>",
    "periodic": "=-=-=-=-=" + "ab" * 30 + "    " * 9,
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("ours") / "tokenizer", vocab_size=1000)


@pytest.fixture(scope="module")
def folder(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("huggingface")
    write_tokenizer(folder, ours, max_length=128)
    return folder


@pytest.fixture(scope="module")
def theirs(folder):
    return HuggingFaceTokenizer(folder)


@pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS.keys())
def test_hard_texts_get_the_same_ids_and_come_back(ours, theirs, text):
    assert theirs.encode(text) == ours.encode(text)
    assert theirs.decode(theirs.encode(text)) == text


def test_real_files_get_the_same_ids(ours, theirs):
    packages = Path(sysconfig.get_path("purelib"))
    stdlib = Path(sysconfig.get_path("stdlib"))
    files = [
        *sorted(stdlib.glob("*.py"))[40:100],
        *sorted(packages.glob("jinja2/*.py")),
        *sorted(packages.glob("*/**/*.h"))[:20],
        *sorted(packages.glob("*/**/*.json"))[:10],
    ]
    checked = 0
    for path in files:
        if path.stat().st_size < 100_000:
            text = path.read_text(encoding="utf-8", errors="replace")
            assert theirs.encode(text) == ours.encode(text), path
            checked += 1
    assert checked > 80


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n▁=-_ab0")))
def test_any_text_gets_the_same_ids(ours, theirs, text):
    assert theirs.encode(text) == ours.encode(text)


def test_a_text_starts_with_bos_as_training_documents_do(theirs, ours):
    assert theirs.bos_ids == (1,)
    assert theirs.vocab_size == ours.vocab_size


def test_a_damaged_file_is_named(folder, tmp_path):
    text = (folder / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text[: len(text) // 2])

    with pytest.raises(TokenizerError, match=r"tokenizer.json is damaged"):
        HuggingFaceTokenizer(tmp_path)


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "Write f.\n  Thanks")],
        [("system", "Be brief."), ("user", "x = 1\n")],
        [("user", "a"), ("assistant", "b"), ("user", "c")],
    ],
)
def test_transformers_chat_template_gives_our_prompt(ours, folder, messages):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    conversation = [{"role": role, "content": content} for role, content in messages]

    text = loaded.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)

    ids = loaded(text, add_special_tokens=False)["input_ids"]
    assert ids == encode_prompt(messages, ours)


def test_transformers_reads_the_same_tokenizer(ours, folder):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    text = HARD_TEXTS["runs of spaces"] + HARD_TEXTS["unicode"]

    assert loaded(text)["input_ids"] == [1, *ours.encode(text)]
    assert loaded.decode(ours.encode(text)) == text
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 3)
    special = json.loads((folder / "tokenizer_config.json").read_text())
    assert special["additional_special_tokens"][:2] == ["<|im_start|>", "<|im_end|>"]
