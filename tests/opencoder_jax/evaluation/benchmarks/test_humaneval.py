"""HumanEval: right answers pass in both ways of asking, wrong ones fail."""

import json

import pytest

from opencoder_jax.evaluation.answerers.local import LocalModel
from opencoder_jax.evaluation.data_files import DataFolder
from opencoder_jax.evaluation.harness import SAMPLES_NAME, CodeTask
from opencoder_jax.evaluation.run_settings import RunSettings
from opencoder_jax.sandbox import Limits, Sandbox
from tests.isolation import require_isolation
from tests.opencoder_jax.evaluation.task_of_gin import benchmark
from tests.opencoder_jax.evaluation.tiny_model import tiny_model


@pytest.fixture(scope="module")
def sandbox():
    require_isolation()
    with Sandbox(Limits(wall_seconds=10)) as opened:
        yield opened


@pytest.fixture(scope="module")
def humaneval():
    return benchmark("humaneval")


def test_right_answers_pass_in_both_formats_and_wrong_ones_fail(sandbox, humaneval):
    for problem in humaneval.problems(DataFolder())[:4]:
        body = problem.record["canonical_solution"]
        prompt = problem.record["prompt"]
        answer = f"Here it is.\n\n```python\n{prompt}{body}\nprint(undefined)\n```\nDone."
        for chat, right in ((False, body), (True, answer)):
            program = humaneval.program(problem, right, chat)
            assert sandbox.run(program.source).verdict == "passed"
            wrong = humaneval.program(problem, "    return None\n", chat)
            assert sandbox.run(wrong.source).verdict == "failed"


def test_an_answer_cut_off_in_mid_line_is_judged_by_its_whole_lines(sandbox, humaneval):
    problem = humaneval.problems(DataFolder())[0]
    cut = problem.record["canonical_solution"] + "\n\ndef another(x):\n    return (x +"
    assert sandbox.run(humaneval.program(problem, cut, False).source).verdict == "passed"


def test_a_model_of_this_process_answers(tmp_path, sandbox, humaneval):
    task = CodeTask(humaneval, RunSettings(limit=3, max_new_tokens=4), chat=False)
    results = task.run(LocalModel(tiny_model(), "tiny", batch_size=4), tmp_path)
    samples = [json.loads(line) for line in (tmp_path / SAMPLES_NAME).open(encoding="utf-8")]
    assert [sample["task_id"] for sample in samples] == [f"HumanEval/{i}" for i in range(3)]
    assert all(sample["program"].startswith(sample["prompt"]) for sample in samples)
    assert results["problems"] == sum(results["verdicts"].values()) == 3
    assert results["pass_at_1"] == 0
