"""Where the model's context ends, all answerers do the same and say so."""

import pytest

from opencoder_jax.evaluation.answerers.answerer import AnswerSettings, Completion
from opencoder_jax.evaluation.answerers.choice import ModelSettings, open_answerer
from opencoder_jax.evaluation.benchmark import Question
from opencoder_jax.formats.tokenizer import open_tokenizer
from tests.opencoder_jax.serve import clients
from tests.opencoder_jax.serve.server_process import ServerProcess

ROOM = 5
SETTINGS = AnswerSettings(max_new_tokens=12)


def questions(tokenizer) -> list[Question]:
    """Plenty of room, room for `ROOM` tokens, no room."""
    length = clients.CONFIG.max_length - len(tokenizer.bos_ids)
    line = tokenizer.encode("x = 1\n")
    texts = [
        tokenizer.decode((line * length)[:count])
        for count in (20, length - ROOM, length, length + 9)
    ]
    assert [len(tokenizer.encode(text)) for text in texts[1:]] == [
        length - ROOM,
        length,
        length + 9,
    ]
    return [Question(text=text) for text in texts]


@pytest.mark.slow
def test_all_answerers_fill_the_context_and_say_so(tmp_path) -> None:
    pytest.importorskip("transformers")
    folder = clients.make_huggingface_model(tmp_path / "model")
    asked = questions(open_tokenizer(folder))

    def answers(address: str, **settings) -> list[Completion]:
        answerer = open_answerer(address, ModelSettings(**settings))
        return [row[0] for _, row in sorted(answerer.complete(asked, SETTINGS))]

    ours = answers(str(folder), dtype="float32")
    reference = answers(f"transformers:{folder}")
    with ServerProcess.start(folder, "--slots=2", "--skip_warm_up", "--dtype=float32") as server:
        served = answers(f"{server.url}/v1")

    reasons = ["length", "context_full", "prompt_too_long", "prompt_too_long"]
    assert [answer.finish_reason for answer in ours] == reasons
    assert [answer.tokens for answer in ours] == [12, ROOM, 0, 0]
    assert reference == ours
    assert served == ours
