"""A dry run tells calls, tokens and cost, asks nothing, and keeps what it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest

from beam_pipelines import runner
from beam_pipelines.teacher import estimate
from beam_pipelines.teacher.ask import Ask
from beam_pipelines.teacher.estimate import Estimate
from beam_pipelines.teacher.prompt import Answered
from beam_pipelines.teacher.settings import Teacher
from tests.beam_pipelines.teacher.asking import ask, drop, teacher_at, word
from tests.beam_pipelines.teacher.odd_server import OddServer

PROMPTS = [f"echo {i:05}" for i in range(30)]
PRICES = {"prompt_price": 1.0, "completion_price": 3.0}


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as running:
        yield running


def foretold(teacher: Teacher, prompts: list[str]) -> tuple[list[Estimate], str]:
    """Of a job with two stages, the second of which asks about the first's answers."""
    dry = estimate.foretelling(teacher)
    with runner.pipeline([]) as pipeline:
        first = pipeline | beam.Create(prompts) | "First" >> Ask(dry, word, drop, "first")
        _ = first.kept | beam.Map(_next) | "Second" >> Ask(dry, word, drop, "second")
    estimates = estimate.collect(pipeline.result, dry)
    return estimates, estimate.report(teacher, estimates)


def _next(answered: Answered) -> str:
    return f"echo again {answered.answer.text}"


def test_nothing_is_asked_and_all_is_told(server: OddServer, tmp_path: Path) -> None:
    teacher = teacher_at(server.url, tmp_path, **PRICES)
    estimates, told = foretold(teacher, PROMPTS)
    assert server.asked == []
    assert not (tmp_path / "cache").exists()
    # 10 bytes: 4 tokens and 8 of a message; at most 10 and 64 of a template; 20 of an answer.
    assert estimates == [
        Estimate("first", 30, 0, 30 * 12, 30 * 74, 30 * 20),
        Estimate("second"),
    ]
    assert "first: 30 calls, 0 more are in the cache; about 360 tokens of prompts and 300" in told
    assert "second: at most 30 calls; its prompts are made of answers to come" in told
    # (360 + 300 x 3) and (2220 + 600 x 3) millionths.
    assert "about 0.0013 USD, at most 0.0040 USD" in told
    assert "50% of max_tokens" in told


def test_what_the_cache_answers_is_told_apart(server: OddServer, tmp_path: Path) -> None:
    teacher = teacher_at(server.url, tmp_path, **PRICES)
    ask(teacher, PROMPTS[:10])
    asked = len(server.asked)
    estimates, told = foretold(teacher, PROMPTS)
    assert [(e.calls, e.cached) for e in estimates] == [(20, 10), (10, 0)]
    assert len(server.asked) == asked
    assert "the 10 calls in" in told
    assert "5 tokens" in told


def test_the_bound_is_kept_by_the_job(server: OddServer, tmp_path: Path) -> None:
    teacher = teacher_at(server.url, tmp_path, **PRICES)
    _, told = foretold(teacher, PROMPTS)
    most = float(re.search(r"at most ([\d.]+) USD", told)[1])
    assert 0 < ask(teacher, PROMPTS).usage["total"]["usd"] <= most


def test_without_prices_no_cost_is_told(server: OddServer, tmp_path: Path) -> None:
    _, told = foretold(teacher_at(server.url, tmp_path), PROMPTS)
    assert "no prices are set" in told
    assert "USD" not in told
