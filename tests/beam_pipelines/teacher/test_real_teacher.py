"""A real pretrained model behind our own server teaches: what it is asked and what is counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beam_pipelines.teacher.asking import ask, teacher_at
from tests.opencoder_jax.huggingface import smollm2
from tests.opencoder_jax.serve.server_process import ServerProcess

PROMPTS = [f"What is {i} plus {i}?" for i in range(24)]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    model = smollm2.folder()
    with ServerProcess.start(
        model, "--slots=4", "--queue=2", "--length=512", "--served_name=teacher"
    ) as running:
        yield running


@pytest.mark.slow
def test_a_real_teacher_answers_and_every_token_is_counted(
    server: ServerProcess, tmp_path: Path
) -> None:
    before = server.metric("opencoder_generated_tokens_total")
    # More in flight than the server lets wait: it says 429, and no call is lost.
    teacher = teacher_at(
        f"{server.url}/v1",
        tmp_path,
        parallel=16,
        timeout_seconds=300.0,
        prompt_price=1.0,
        completion_price=1.0,
    )
    found = ask(teacher, PROMPTS, allow_truncated=True)
    assert found.kept.keys() == set(PROMPTS)
    total = found.usage["total"]
    assert total["asked"] == 24
    assert total["counts_estimated"] == 0
    answers = [answered.answer for answered in found.kept.values()]
    assert total["completion_tokens"] == sum(answer.completion_tokens for answer in answers)
    generated = server.metric("opencoder_generated_tokens_total") - before
    # The metric leaves out the token that ends a text, as it is no part of it.
    ended = sum(answer.finish_reason == "stop" for answer in answers)
    assert total["completion_tokens"] == generated + ended
    assert total["usd"] == pytest.approx(
        (total["prompt_tokens"] + total["completion_tokens"]) / 1e6
    )
    again = ask(teacher, PROMPTS, allow_truncated=True)
    assert again.texts == found.texts
    assert server.metric("opencoder_generated_tokens_total") - before == generated


@pytest.mark.slow
def test_what_a_real_server_refuses_is_told_by_its_words(
    server: ServerProcess, tmp_path: Path
) -> None:
    long = "word " * 2000
    found = ask(teacher_at(f"{server.url}/v1", tmp_path, timeout_seconds=300.0), [long, PROMPTS[0]])
    reason, detail = found.dropped[long]
    assert reason == "teacher_refused_request"
    assert "400" in detail
    assert "length" in detail
