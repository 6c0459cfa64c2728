import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.bits_per_byte import BitsPerByte, score_sequences
from opencoder_jax.formats.sentencepiece_tokenizer import BOS, EOS
from opencoder_jax.model.transformer import logits
from tests.opencoder_jax.evaluation.tiny_model import (
    SEQUENCE_LENGTH,
    TEXTS,
    heldout_sequences,
    tiny_model,
    write_packed_set,
)


def test_scores_equal_the_log_probability_of_each_document_alone():
    model = tiny_model()
    scores = score_sequences(model.config, model.params, heldout_sequences(), batch_size=2)
    for language, texts in TEXTS.items():
        nats = sum(_nats_of_text(model, text) for text in texts)
        assert scores[language].nats == pytest.approx(nats, rel=1e-5)
        size = sum(len(text.encode()) for text in texts)
        assert scores[language].bytes == size
        assert scores[language].bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_a_model_that_knows_nothing_needs_log2_of_the_vocabulary_for_each_token():
    model = tiny_model()
    params = jax.tree.map(jnp.zeros_like, model.params)
    for score in score_sequences(model.config, params, heldout_sequences(), 2).values():
        assert score.nats == pytest.approx(score.tokens * math.log(model.config.vocab_size))


def test_batch_size_and_the_padding_of_the_last_batch_change_nothing():
    model = tiny_model()
    sequences = heldout_sequences()
    one, three = (score_sequences(model.config, model.params, sequences, size) for size in (1, 3))
    assert one.keys() == three.keys()
    for language in one:
        assert one[language].nats == pytest.approx(three[language].nats, rel=1e-6)
        assert one[language].tokens == three[language].tokens


def test_tokens_without_loss_weight_count_nothing():
    model = tiny_model()
    sequence = heldout_sequences()[1]
    half = sequence.loss_weights.copy()
    half[: half.size // 8] = 0
    weighted = dataclasses.replace(sequence, loss_weights=half)
    score = score_sequences(model.config, model.params, [weighted], 1)["markdown"]
    assert score.tokens == int(half[1:].sum())


def test_the_same_model_and_records_give_the_same_digits(tmp_path):
    write_packed_set(tmp_path / "refinecode", heldout_sequences())
    task = BitsPerByte(packed_dir=str(tmp_path), sets=["refinecode"])
    first, second = (task.run(tiny_model(), tmp_path) for _ in range(2))
    assert first == second
    assert set(first["sets"]["refinecode"]["languages"]) == set(TEXTS)


def test_a_set_of_another_tokenizer_is_refused(tmp_path):
    write_packed_set(tmp_path / "refinecode", heldout_sequences())
    model = tiny_model()
    other = dataclasses.replace(model, tokenizer=_RenamedTokenizer(model.tokenizer))
    task = BitsPerByte(packed_dir=str(tmp_path), sets=["refinecode"])
    with pytest.raises(InputError, match="packed with tokenizer"):
        task.run(other, tmp_path)


def test_sequences_beyond_the_models_context_are_refused(tmp_path):
    write_packed_set(tmp_path / "refinecode", heldout_sequences())
    model = tiny_model()
    short = dataclasses.replace(model, config=model.config.replace(max_length=8))
    task = BitsPerByte(packed_dir=str(tmp_path), sets=["refinecode"])
    with pytest.raises(InputError, match="the model takes 8"):
        task.run(short, tmp_path)


def test_a_set_that_holds_nothing_back_is_refused(tmp_path):
    write_packed_set(tmp_path / "refinecode", [])
    task = BitsPerByte(packed_dir=str(tmp_path), sets=["refinecode"])
    with pytest.raises(InputError, match="HELDOUT_FRACTION"):
        task.run(tiny_model(), tmp_path)


class _RenamedTokenizer:
    def __init__(self, tokenizer):
        self.fingerprint = "another"
        self.vocab_size = tokenizer.vocab_size


def _nats_of_text(model, text: str) -> float:
    """By the full logits of the text alone, in float64."""
    ids = [BOS, *model.tokenizer.encode(text), EOS]
    # Padded to one length, or each text would be a program of its own.
    tokens, segments = (np.zeros((1, SEQUENCE_LENGTH), np.int32) for _ in range(2))
    tokens[0, : len(ids)] = ids
    segments[0, : len(ids)] = 1
    places = np.arange(SEQUENCE_LENGTH)[None]
    scores = logits(model.config, model.params, tokens, segments, places)
    scores = np.asarray(scores, np.float64)[0]
    probabilities = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -sum(probabilities[i, token] for i, token in enumerate(ids[1:]))
