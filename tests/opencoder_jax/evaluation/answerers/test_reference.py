"""Hugging Face's own implementation and ours write the same, asked in the same way."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import AnswerSettings
from opencoder_jax.evaluation.answerers.choice import ModelSettings, as_chat, open_answerer
from opencoder_jax.evaluation.benchmark import Question
from tests.opencoder_jax.huggingface import smollm2

QUESTIONS = [
    Question(messages=(("user", "Write a Python function that adds two numbers."),)),
    Question(text="def fibonacci(n):\n", stop=("\ndef", "\n\n")),
]


@pytest.mark.slow
def test_smollm2_answers_as_transformers_has_it() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder = str(smollm2.folder())
    assert as_chat(folder, "auto")
    settings = AnswerSettings(max_new_tokens=24)
    found = []
    for address, dtype in ((f"transformers:{folder}", None), (folder, "float32")):
        answerer = open_answerer(address, ModelSettings(batch_size=2, dtype=dtype))
        found.append([row[0] for _, row in sorted(answerer.complete(QUESTIONS, settings))])
    reference, ours = found
    assert [c.text for c in ours] == [c.text for c in reference]
    assert [c.finish_reason for c in ours] == [c.finish_reason for c in reference]


def test_what_is_no_model_or_of_another_kind_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match="step and dtype are for models in this process"):
        open_answerer("http://localhost:1/v1", ModelSettings(step=3))
    with pytest.raises(InputError, match="expected auto, base, chat"):
        as_chat("x", "loud")
    with pytest.raises(InputError, match="--prompting=chat or --prompting=base"):
        as_chat("http://localhost:1/v1", "auto")
    assert not as_chat(str(tmp_path), "auto")
