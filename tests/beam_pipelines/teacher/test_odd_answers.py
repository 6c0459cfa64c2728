"""A teacher that misbehaves, over real HTTP: one call's trouble is a drop, and told."""

from collections.abc import Iterator

import pytest

from tests.beam_pipelines.teacher.asking import Asked, ask, teacher_at
from tests.beam_pipelines.teacher.odd_server import ODD, OddServer

# Kind of trouble to the drop's reason, and a part of its detail.
DROPPED = {
    "drip": ("teacher_timeout", "no whole answer within 1 s"),
    "drip-header": ("teacher_timeout", "no whole answer within 1 s"),
    "silent": ("teacher_timeout", "no whole answer within 1 s"),
    "reset": ("teacher_timeout", "ReadError"),
    "failing": ("teacher_timeout", "500: failing"),
    "conflict": ("teacher_timeout", "409: conflict"),
    "too-long": ("teacher_refused_request", "400: maximum context length is 8 tokens"),
    "endless": ("teacher_bad_response", "above 1,048,576 bytes"),
    "half": ("teacher_bad_response", "no JSON"),
    "html": ("teacher_bad_response", "502 Bad Gateway"),
    "redirect": ("teacher_bad_response", "302: moved (http://127.0.0.1:9/login)"),
    "no-choices": ("teacher_bad_response", "no choices"),
    "error-200": ("teacher_bad_response", "upstream is gone"),
    "number": ("teacher_bad_response", "a text is an integer"),
    "list": ("teacher_bad_response", "got an array"),
    "odd-choices": ("teacher_bad_response", "no choices"),
    "odd-reason": ("teacher_bad_response", "finish_reason is an integer"),
    "nested": ("teacher_bad_response", "nested too deeply"),
    "surrogate": ("teacher_bad_response", "half a surrogate pair at character 2"),
    "nul": ("teacher_bad_response", "NUL at character 2"),
    "empty": ("teacher_empty", "finish_reason stop"),
    "null": ("teacher_empty", "finish_reason stop"),
    "thoughts": ("teacher_empty", "13 characters of thoughts"),
    "refusal": ("teacher_refusal", "I can't help with that."),
    "filtered": ("teacher_refusal", "content_filter"),
    "long": ("teacher_truncated", "cut after 5 tokens"),
}
KEPT = {
    "two": "first",
    "pair": "\U0001f600",
    "parts": "in parts",
    "no-usage": "six",
    "odd-usage": "six",
}
# They end a job, or are waited for (test_stops); answers that differ (test_cache).
OTHERS = {"busy", "overloaded", "quota", "forbidden", "unauthorized", "unknown-model", "count"}
# Was paid for, or would be refused again.
NOT_REPEATED = {"too-long", "endless", "surrogate", "nul", "empty", "null", "thoughts"} | {
    *("refusal", "filtered", "long")
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OddServer, Asked]]:
    """One job that meets every kind of trouble, among calls that are answered."""
    folder = tmp_path_factory.mktemp("odd")
    prompts = [f"echo {i}" for i in range(50)]
    prompts += [f"{kind} x" for kind in (*DROPPED, *KEPT)]
    prompts += [f"once {kind} x" for kind in DROPPED if kind not in NOT_REPEATED]
    with OddServer() as server:
        teacher = teacher_at(server.url, folder, timeout_seconds=1.0, max_answer_bytes=1 << 20)
        yield server, ask(teacher, prompts)


def test_every_kind_of_trouble_has_its_case() -> None:
    assert DROPPED.keys() | KEPT.keys() | OTHERS == ODD.keys()


@pytest.mark.parametrize("kind", DROPPED)
def test_an_answer_that_cannot_be_used_is_a_drop(asked: tuple[OddServer, Asked], kind: str) -> None:
    reason, detail = asked[1].dropped[f"{kind} x"]
    assert reason == DROPPED[kind][0]
    assert DROPPED[kind][1] in detail


@pytest.mark.parametrize("kind", KEPT)
def test_what_only_looks_odd_is_an_answer(asked: tuple[OddServer, Asked], kind: str) -> None:
    assert asked[1].texts[f"{kind} x"] == KEPT[kind]


@pytest.mark.parametrize("kind", sorted(DROPPED.keys() - NOT_REPEATED))
def test_trouble_of_the_moment_is_asked_again(asked: tuple[OddServer, Asked], kind: str) -> None:
    server, found = asked
    assert found.texts[f"once {kind} x"] == f"{kind} x"
    assert server.asked.count(f"once {kind} x") == 2
    assert server.asked.count(f"{kind} x") == 3


@pytest.mark.parametrize("kind", sorted(NOT_REPEATED))
def test_what_would_come_again_is_asked_once(asked: tuple[OddServer, Asked], kind: str) -> None:
    assert asked[0].asked.count(f"{kind} x") == 1


def test_the_others_do_not_suffer(asked: tuple[OddServer, Asked]) -> None:
    texts = asked[1].texts
    assert {f"echo {i}": str(i) for i in range(50)}.items() <= texts.items()


def test_counts_that_a_server_does_not_give_are_estimated_and_told(
    asked: tuple[OddServer, Asked],
) -> None:
    found = asked[1]
    assert found.kept["echo 1"].answer.completion_tokens == 5
    assert found.kept["no-usage x"].answer.prompt_tokens == 4 + 8
    assert found.kept["odd-usage x"].answer.completion_tokens == 1
    assert found.usage["total"]["counts_estimated"] == 2


def test_a_cut_answer_is_kept_where_that_is_allowed(tmp_path) -> None:
    with OddServer() as server:
        teacher = teacher_at(server.url, tmp_path)
        found = ask(teacher, ["long x", "empty x"], allow_truncated=True)
    assert found.texts == {"long x": "It goes on"}
    assert found.kept["long x"].answer.finish_reason == "length"
    assert found.dropped["empty x"][0] == "teacher_empty"
