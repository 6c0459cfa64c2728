"""Any `tokenizer.json` can pack: bytes add up, texts begin and end as its folder says."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.tokenizer import TokenizerError, copy_tokenizer, open_tokenizer
from opencoder_jax.huggingface.tokenizer import write_tokenizer
from tests import packed_example
from tests.opencoder_jax.byte_level import SPECIAL, make_folder

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n▁<|>éa1"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("byte_level") / "tokenizer")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return open_tokenizer(folder)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXT)
def test_byte_lengths_of_any_text_sum_to_its_bytes_and_it_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)

    assert tokenizer.byte_lengths[ids].sum() == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_a_text_that_spells_a_special_token_stays_text(tokenizer):
    spelled = "".join(SPECIAL)

    ids = tokenizer.encode(spelled)

    assert not set(ids) & set(tokenizer.special_ids.values())
    assert tokenizer.decode([1, *ids, 2]) == spelled


def test_an_added_token_that_is_not_special_counts_its_bytes(folder, tmp_path):
    values = json.loads((folder / "tokenizer.json").read_text())
    size = len(values["model"]["vocab"])
    added = {**values["added_tokens"][0], "id": size, "content": "<é>", "special": False}
    values["added_tokens"].append(added)
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))

    tokenizer = HuggingFaceTokenizer(tmp_path)

    assert size in tokenizer.encode("a<é>")
    assert tokenizer.byte_lengths[tokenizer.encode("a<é>")].sum() == 5


def test_byte_fallback_counts_bytes_as_our_own_model_does(tmp_path):
    ours = packed_example.tokenizer()
    write_tokenizer(tmp_path, ours, max_length=64)

    theirs = HuggingFaceTokenizer(tmp_path)

    assert theirs.byte_lengths.tolist() == ours.byte_lengths.tolist()
    assert isinstance(open_tokenizer(tmp_path), SentencePieceTokenizer)
    (tmp_path / "tokenizer.model").write_bytes(b"of another family")
    assert isinstance(open_tokenizer(tmp_path), HuggingFaceTokenizer)


def test_what_begins_and_ends_texts_is_what_the_folder_says(tokenizer, tmp_path):
    assert (tokenizer.bos_ids, tokenizer.eos_ids) == ((), (2,))
    assert (tokenizer.document_start, tokenizer.document_end, tokenizer.pad) == (1, 2, 0)

    added = open_tokenizer(make_folder(tmp_path / "bos", bos=True, bos_token=None, pad_token=None))
    assert (added.bos_ids, added.document_start, added.pad) == ((1,), 1, 2)

    gpt2 = open_tokenizer(make_folder(tmp_path / "gpt2", bos_token=None, eos_token=SPECIAL[0]))
    assert (gpt2.bos_ids, gpt2.document_start, gpt2.document_end) == ((), 0, 0)

    none = make_folder(tmp_path / "none", bos_token=None, eos_token=None)
    with pytest.raises(TokenizerError, match="add eos_token"):
        _ = open_tokenizer(none).document_start
    (none / "config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    assert open_tokenizer(none).eos_ids == (2, 0)
    assert open_tokenizer(none).document_end == 2
    # The model's directory has no config.json, and must stop at the same tokens.
    (tmp_path / "copy").mkdir()
    copy_tokenizer(none, tmp_path / "copy")
    assert open_tokenizer(tmp_path / "copy").eos_ids == (2, 0)


def test_a_tokenizer_that_changes_texts_runs_but_cannot_pack(tmp_path):
    for name, change in {
        "space": {"prefix_space": True},
        "case": {"normalizer": normalizers.Replace("x", "y")},
    }.items():
        tokenizer = open_tokenizer(make_folder(tmp_path / name, **change))
        assert tokenizer.encode("abc")
        with pytest.raises(TokenizerError, match="changes text"):
            _ = tokenizer.byte_lengths


def test_a_named_token_that_does_not_exist_is_refused(tmp_path):
    folder = make_folder(tmp_path / "tokenizer", eos_token="<|end|>")

    with pytest.raises(TokenizerError, match=r"eos_token.*is not in tokenizer.json"):
        open_tokenizer(folder)


def test_a_lone_surrogate_is_refused_with_its_place(tokenizer):
    with pytest.raises(TokenizerError, match="surrogate at character 2"):
        tokenizer.encode("ab\ud800")
