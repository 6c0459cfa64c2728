import io

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencoder_jax.formats.sentencepiece_tokenizer import CONTROL_TOKENS, SentencePieceTokenizer
from opencoder_jax.formats.tokenizer import MODEL_NAME, TokenizerError
from tests import packed_example

SLOW_MACHINE = [HealthCheck.too_slow]
text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\n▁▅<0x>|éa1"))


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(text)
def test_any_unicode_text_comes_back(text):
    tokenizer = packed_example.tokenizer()

    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(text)
def test_byte_lengths_of_a_text_sum_to_its_bytes(text):
    tokenizer = packed_example.tokenizer()

    assert tokenizer.byte_lengths[tokenizer.encode(text)].sum() == len(text.encode())


def test_text_never_gives_a_control_token():
    tokenizer = packed_example.tokenizer()
    control = {0, 1, 2, 3, *tokenizer.control_ids.values()}
    spelled = "".join(CONTROL_TOKENS) + "<unk><s></s><pad>"

    assert control.isdisjoint(tokenizer.encode(spelled))
    assert tokenizer.decode(tokenizer.encode(spelled)) == spelled
    assert tokenizer.decode(sorted(control)) == ""


def test_digits_are_single_tokens():
    tokenizer = packed_example.tokenizer()

    assert [tokenizer.piece(i) for i in tokenizer.encode("2024")] == ["2", "0", "2", "4"]


def test_sampled_ids_that_are_no_text_do_no_harm():
    tokenizer = packed_example.tokenizer()
    half_a_character = tokenizer.encode("\U0001f600")[:2]

    assert tokenizer.decode([-1, 10**6, *tokenizer.encode("ok")]) == "ok"
    assert set(tokenizer.decode(half_a_character)) == {"\ufffd"}


def test_a_lone_surrogate_is_refused_with_its_place():
    tokenizer = packed_example.tokenizer()

    with pytest.raises(TokenizerError, match="surrogate at character 2"):
        tokenizer.encode("ab\ud800")
    with pytest.raises(TokenizerError, match="surrogate"):
        tokenizer.encode("▁\udfff")


def test_a_folder_without_a_model_says_how_to_train_one(tmp_path):
    with pytest.raises(TokenizerError, match="train_tokenizer"):
        SentencePieceTokenizer(tmp_path)


def test_a_damaged_model_is_refused(tmp_path):
    (tmp_path / MODEL_NAME).write_bytes(b"\x0a\xffnot a model")

    with pytest.raises(TokenizerError, match="not a SentencePiece model"):
        SentencePieceTokenizer(tmp_path)


@pytest.mark.parametrize("lossy", [{"byte_fallback": False}, {"remove_extra_whitespaces": True}])
def test_a_model_that_changes_text_is_refused(tmp_path, lossy):
    options = {
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        **lossy,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([d.text[:4000] for d in packed_example.documents()[:20]]),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        control_symbols=list(CONTROL_TOKENS),
        minloglevel=2,
        **options,
    )
    (tmp_path / MODEL_NAME).write_bytes(model.getvalue())

    with pytest.raises(TokenizerError, match="changes text"):
        SentencePieceTokenizer(tmp_path)
