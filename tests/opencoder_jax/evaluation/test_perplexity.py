"""Perplexity of single documents: the same alone, in company, and by hand; long ones by windows."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.evaluation.perplexity import score_documents
from opencoder_jax.formats.document import Document
from opencoder_jax.model.transformer import logits
from tests.opencoder_jax.evaluation.tiny_model import TEXTS, tiny_model

DOCUMENTS = [
    Document(id=f"{number:032x}", text=text, repo="r", path=f"{number}")
    for number, text in enumerate(text for group in TEXTS.values() for text in group)
]
LONG = Document(id="f" * 32, text="x = y + 1\n" * 400, repo="r", path="long")


def nats_by_hand(tokens: list[int], length: int) -> tuple[float, int]:
    """Of every token but the first, in windows of `length` that overlap by one token."""
    model = tiny_model()
    total = 0.0
    for start in range(0, len(tokens) - 1, length):
        window = jnp.asarray([tokens[start : start + length + 1]])
        inputs = window[:, :-1]
        ones = jnp.ones_like(inputs)
        out = logits(model.config, model.params, inputs, ones, jnp.arange(inputs.shape[1])[None])
        chosen = jax.nn.log_softmax(out.astype(jnp.float32))[0]
        total -= float(sum(chosen[i, t] for i, t in enumerate(np.asarray(window[0, 1:]))))
    return total, len(tokens) - 1


def test_a_perplexity_is_that_of_the_document_alone() -> None:
    model = tiny_model()
    scores = list(score_documents(model, DOCUMENTS, batch_size=2))
    assert [score.document for score in scores] == DOCUMENTS
    for score in scores:
        text = score.document.text
        nats, count = nats_by_hand([*model.prompt_ids(text), model.eos_ids[0]], 512)
        assert score.tokens == count
        assert score.perplexity == pytest.approx(math.exp(nats / count), rel=1e-4)
        bits = nats / math.log(2) / len(text.encode())
        assert score.bits_per_byte == pytest.approx(bits, rel=1e-4)


@pytest.mark.slow
def test_a_document_longer_than_the_context_is_scored_by_windows() -> None:
    model = tiny_model()
    short = dataclasses.replace(model, config=dataclasses.replace(model.config, max_length=96))
    first, *_, last = score_documents(short, [*DOCUMENTS, LONG], batch_size=4)
    assert first.windows == 1
    tokens = [*model.prompt_ids(LONG.text), model.eos_ids[0]]
    assert last.windows == math.ceil((len(tokens) - 1) / 96) > 1
    nats, count = nats_by_hand(tokens, 96)
    assert last.tokens == count
    assert last.perplexity == pytest.approx(math.exp(nats / count), rel=1e-4)


def test_company_and_batch_change_no_score() -> None:
    alone = [next(score_documents(tiny_model(), [d], batch_size=1)) for d in DOCUMENTS]
    together = list(score_documents(tiny_model(), DOCUMENTS[::-1], batch_size=3))[::-1]
    for one, other in zip(alone, together, strict=True):
        assert one.perplexity == pytest.approx(other.perplexity, rel=1e-5)
