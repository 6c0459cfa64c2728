"""An endpoint is asked over HTTP, again where that helps, and never where it does not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import AnswerSettings, Completion
from opencoder_jax.evaluation.answerers.endpoint import Endpoint, open_endpoint
from opencoder_jax.evaluation.answerers.local import LocalModel
from opencoder_jax.evaluation.benchmark import Question
from tests.opencoder_jax.evaluation.answerers import scripted_server
from tests.opencoder_jax.evaluation.tiny_model import tiny_model

ROOT = Path(__file__).parents[4]
GREEDY = AnswerSettings(max_new_tokens=8)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", scripted_server.__name__]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.kill()


@pytest.fixture
def endpoint(url: str) -> Endpoint:
    return Endpoint(url, "adder", first_wait=0.01)


def answers(
    endpoint: Endpoint, *questions: Question, settings: AnswerSettings = GREEDY
) -> list[list[Completion]]:
    return [found for _, found in sorted(endpoint.complete(questions, settings))]


def test_text_chats_and_gaps_are_answered(endpoint: Endpoint) -> None:
    stop = ("\n",)
    found = answers(
        endpoint,
        Question(text="1+1=", stop=stop),
        Question(messages=(("system", "Add."), ("user", "2+2=")), stop=stop),
        Question(text="3+3=", suffix=" apples", stop=stop),
    )
    assert [row[0].text for row in found] == ["2", "4", "6 apples"]
    # The server went on beyond the stop text; what counts is that it was there.
    assert {row[0].finish_reason for row in found} == {"stop"}
    # Cut with fewer tokens than asked for: the server had no more room.
    assert answers(endpoint, Question(text="1+1="))[0] == [Completion("2\nmore", "context_full", 3)]
    settings = AnswerSettings(max_new_tokens=3)
    (found,) = answers(endpoint, Question(text="1+1="), settings=settings)
    assert found == [Completion("2\nmore", "length", 3)]


def test_a_busy_failing_or_vanishing_server_is_asked_again(endpoint: Endpoint) -> None:
    for trouble in ("busy", "failing", "gone"):
        question = Question(text=f"{trouble} 5+5=", stop=("\n",))
        assert answers(endpoint, question)[0][0].text == "10"


def test_a_refusal_ends_it_with_what_the_server_says(endpoint: Endpoint) -> None:
    with pytest.raises(InputError, match=r"refuses \(400\): no such thing"):
        answers(endpoint, Question(text="forbidden 1+1="))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("<html>", "no JSON"),
        ("[]", r"no JSON \(\[\] is no object\)"),
        ("null", "no JSON"),
        ('{"choices": [{"text": "caf\xe9"}]}', "no JSON .*utf-8"),
        ('{"choices": []}', "without choices"),
        ('{"choices": [7, 8]}', "odd choices"),
        ('{"choices": [{"index": 0}]}', "without text"),
        ('{"choices": [{"index": 0, "text": 5}]}', "without text"),
    ],
)
def test_an_odd_answer_is_told_and_no_wrong_answer(endpoint: Endpoint, answer, told) -> None:
    with pytest.raises(InputError, match=told):
        answers(endpoint, Question(text=f"odd {answer}"))


def test_an_odd_count_of_tokens_is_none(endpoint: Endpoint) -> None:
    answer = '{"choices": [{"text": "1"}], "usage": {"completion_tokens": "many"}}'
    assert answers(endpoint, Question(text=f"odd {answer}")) == [[Completion("1", "unknown", None)]]


def test_a_prompt_beyond_the_context_is_an_empty_answer(endpoint: Endpoint) -> None:
    (found,) = answers(endpoint, Question(text="huge 1+1="))
    assert found == [Completion("", "prompt_too_long", 0)]


def test_a_server_that_refuses_what_may_not_fit_is_asked_for_what_does(endpoint: Endpoint) -> None:
    (found,) = answers(endpoint, Question(text="tight 3+3="))
    assert found == [Completion("6\nmore", "context_full", 3)]
    asked = [b["max_tokens"] for b in endpoint.ask("/seen")["bodies"] if "tight" in str(b)]
    assert asked == [8, 1, 4]


def test_more_stop_texts_than_a_server_takes_are_looked_for_here(endpoint: Endpoint) -> None:
    stop = ("a", "b", "c", "d", "\n")
    (found,) = answers(endpoint, Question(text="4+4=", stop=stop))
    assert (found[0].text, found[0].finish_reason) == ("8", "stop")


def test_several_answers_come_whatever_the_server_gives_at_one_time(endpoint: Endpoint) -> None:
    settings = AnswerSettings(max_new_tokens=8, samples=5, temperature=0.5, top_p=0.9)
    (found,) = answers(endpoint, Question(text="6+6=", stop=("\n",), seed=7), settings=settings)
    assert [completion.text for completion in found] == ["12"] * 5
    bodies = [b for b in endpoint.ask("/seen")["bodies"] if b.get("prompt") == "6+6="]
    assert [(b.get("n", 1), b["seed"]) for b in bodies] == [(5, 7), (3, 9), (1, 11)]
    assert bodies[0]["top_p"] == 0.9


def test_a_model_is_looked_up_before_anything_is_asked(url: str, monkeypatch) -> None:
    assert open_endpoint(url, "adder", 2, "KEY").title == f"adder at {url}"
    with pytest.raises(InputError, match="has no model 'subtractor'; it has adder, other"):
        open_endpoint(url, "subtractor", 2, "KEY")
    with pytest.raises(InputError, match="say --model_name=NAME, one of adder, other"):
        open_endpoint(url, None, 2, "KEY")
    monkeypatch.setenv("KEY", "wrong")
    with pytest.raises(InputError, match="environment variable KEY"):
        open_endpoint(url, "adder", 2, "KEY")


def test_nobody_there_is_said_at_once_with_the_reason() -> None:
    with pytest.raises(InputError, match="gave no answer after 8 attempts"):
        Endpoint("http://127.0.0.1:9/v1", "x", first_wait=0.001).ask("/models")


def test_a_model_answers_the_same_in_this_process_and_behind_http() -> None:
    local = LocalModel(tiny_model(), "tiny", batch_size=2)
    texts = ("for i in", "def add(a, b):", "int main")

    def answer(body: dict[str, Any]) -> list[tuple[str, str]]:
        settings = AnswerSettings(max_new_tokens=body["max_tokens"])
        ((_, found),) = local.complete([Question(text=body["prompt"])], settings)
        return [(found[0].text, found[0].finish_reason)]

    server = scripted_server.serve(answer)
    try:
        remote = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", "tiny", parallel=1)
        questions = [Question(text=text) for text in texts]
        assert dict(remote.complete(questions, GREEDY)).keys() == {0, 1, 2}
        assert [row[0].text for row in answers(remote, *questions)] == [
            row[0].text for _, row in sorted(local.complete(questions, GREEDY))
        ]
    finally:
        server.shutdown()
