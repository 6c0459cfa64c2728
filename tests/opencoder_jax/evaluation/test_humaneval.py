import json

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.humaneval import (
    SAMPLES_NAME,
    HumanEval,
    fenced_code,
    parsable_start,
    wilson_interval,
)
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.sandbox import Limits, Sandbox
from tests.opencoder_jax.evaluation.tiny_model import tiny_model


def base_task(**changes) -> HumanEval:
    settings = {"chat": False, "instruction": "", "stop": ["\ndef"], "max_new_tokens": 4}
    return HumanEval(**settings | changes)


def chat_task(**changes) -> HumanEval:
    return base_task(chat=True, instruction="Complete:\n{prompt}", stop=["\n```\n"], **changes)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits(wall_seconds=10)) as opened:
        yield opened


def test_right_answers_pass_in_both_formats_and_wrong_ones_fail(sandbox):
    for problem in load_problems()[:4]:
        body = problem.canonical_solution
        answer = f"Here it is.\n\n```python\n{problem.prompt}{body}```\nDone."
        for task, right in ((base_task(), body), (chat_task(), answer)):
            assert sandbox.run(task.program(problem, right)).verdict == "passed"
            assert sandbox.run(task.program(problem, "    return None\n")).verdict == "failed"


def test_an_answer_cut_off_in_mid_line_is_judged_by_its_whole_lines(sandbox):
    problem = load_problems()[0]
    cut = problem.canonical_solution + "\n\ndef another(x):\n    return (x +"
    assert sandbox.run(base_task().program(problem, cut)).verdict == "passed"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Sure.\n```python\nx = 1\n```\nThen\n```\ny\n```", "x = 1\n"),
        ("```\nx = 1\n", "x = 1\n"),
        ("x = 1\n", "x = 1\n"),
    ],
)
def test_the_first_code_block_is_the_answer(text, code):
    assert fenced_code(text) == code


def test_parsable_start_is_the_longest_that_parses():
    assert parsable_start("def f():\n", "    x = 1\n    return x\nnot python at all\n") == (
        "    x = 1\n    return x\n"
    )
    assert parsable_start("", "what?") == ""


def test_every_answer_is_kept_with_its_program_and_verdict(tmp_path):
    results = base_task(num_problems=3).run(tiny_model(), tmp_path)
    samples = [json.loads(line) for line in (tmp_path / SAMPLES_NAME).open(encoding="utf-8")]
    assert [sample["task_id"] for sample in samples] == [f"HumanEval/{i}" for i in range(3)]
    assert all(sample["program"].startswith(sample["prompt"]) for sample in samples)
    assert results["problems"] == sum(results["verdicts"].values()) == 3
    assert results["pass_at_1"] == 0


def test_pass_at_k_needs_as_many_samples():
    with pytest.raises(InputError, match="samples_per_problem"):
        base_task(ks=(1, 10))
    with pytest.raises(InputError, match="equal answers"):
        base_task(samples_per_problem=2)


def test_wilson_interval_has_its_textbook_values():
    assert wilson_interval(0.0, 164) == pytest.approx((0.0, 0.02289), abs=1e-4)
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    low, high = wilson_interval(1.0, 164)
    assert high == 1.0
    assert low == pytest.approx(1 - 0.02289, abs=1e-4)
