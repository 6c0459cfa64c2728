"""A model in this process: gaps have their form, seeds their draws, whatever else is asked."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import AnswerSettings
from opencoder_jax.evaluation.answerers.local import LocalModel
from opencoder_jax.evaluation.benchmark import Question
from opencoder_jax.formats.infilling import infill_ids
from tests.opencoder_jax.evaluation.tiny_model import tiny_model


def test_a_gap_stands_between_the_tokenizers_own_tokens() -> None:
    tokenizer = tiny_model().tokenizer
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    first, second, third = (tokenizer.control_ids[name] for name in names)
    assert infill_ids("a = ", "\nb", tokenizer) == [
        *tokenizer.bos_ids,
        *(first, *tokenizer.encode("a = ")),
        *(second, *tokenizer.encode("\nb"), third),
    ]

    class Other:
        path = "somewhere"

    with pytest.raises(InputError, match="no fill-in-the-middle tokens"):
        infill_ids("a", "b", Other())  # type: ignore[arg-type]


def test_an_answer_depends_on_its_question_alone() -> None:
    local = LocalModel(tiny_model(), "tiny", batch_size=2)
    settings = AnswerSettings(max_new_tokens=6, samples=2, temperature=1.0)
    questions = [
        Question(text="for i in", seed=3),
        Question(text="def add(", suffix="\n", seed=4),
        Question(messages=(("user", "Why?"),), seed=5, stop=("e",)),
    ]
    together = dict(local.complete(questions, settings))
    assert sorted(together) == [0, 1, 2]
    for number, question in enumerate(questions):
        assert dict(local.complete([question], settings))[0] == together[number]
    one, other = together[0]
    assert one.text != other.text
