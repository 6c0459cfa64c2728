"""The harness keeps every answer, goes on after a kill, and asks nobody twice."""

import dataclasses
import json
from collections.abc import Iterator, Sequence

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import AnswerSettings, Completion
from opencoder_jax.evaluation.benchmark import Benchmark, Case, Problem, Program, Question
from opencoder_jax.evaluation.data_files import DataFolder
from opencoder_jax.evaluation.harness import ANSWERS_NAME, SAMPLES_NAME, CodeTask
from opencoder_jax.evaluation.judging import same_output
from opencoder_jax.evaluation.run_settings import RunSettings
from opencoder_jax.sandbox import Limits
from tests.isolation import require_isolation


@dataclasses.dataclass(frozen=True)
class Sums(Benchmark):
    """Five sums; an answer is the number."""

    def problems(self, data: DataFolder) -> list[Problem]:
        return [Problem(f"Sum/{n}", {"prompt": f"{n}+{n}="}) for n in range(5)]

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        expected = 2 * int(problem.task_id.split("/")[1])
        return Program(f"assert int({answer!r}) == {expected}")


SUMS = Sums(
    name="sums",
    instruction="What is {prompt}",
    stop=["\n"],
    chat_stop=[],
    max_new_tokens=4,
    limits=Limits(wall_seconds=10),
)


class Calculator:
    """Answers sums, the third one wrong; dies after so many answers."""

    title = "calculator"

    def __init__(self, dies_after: int = 99) -> None:
        self.asked: list[str] = []
        self._dies_after = dies_after

    def identity(self) -> dict[str, str]:
        return {"params": "none"}

    def complete(
        self, questions: Sequence[Question], settings: AnswerSettings
    ) -> Iterator[tuple[int, list[Completion]]]:
        # Backwards: an answerer may finish in any order.
        for number in reversed(range(len(questions))):
            if len(self.asked) == self._dies_after:
                raise KeyboardInterrupt
            text = questions[number].shown
            self.asked.append(text)
            n = int(text.rstrip("=").split("+")[1])
            right = Completion(str(5 if n == 2 else 2 * n), "stop", 1)
            yield number, [right] * settings.samples


@pytest.fixture(autouse=True)
def _isolated() -> None:
    require_isolation()


def test_every_answer_is_kept_with_its_program_and_verdict(tmp_path) -> None:
    results = CodeTask(SUMS, RunSettings(), chat=False).run(Calculator(), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / SAMPLES_NAME).open()]
    assert [row["task_id"] for row in rows] == [f"Sum/{n}" for n in range(5)]
    assert [row["verdict"] for row in rows] == ["passed", "passed", "failed", "passed", "passed"]
    assert rows[2]["program"] == "assert int('5') == 4"
    assert "AssertionError" in rows[2]["reason"]
    assert results["pass_at_1"] == 0.8
    assert results["interval"] == "Wilson"
    assert not (tmp_path / ANSWERS_NAME).exists()


def test_a_killed_run_asks_nobody_twice_and_judges_nothing_twice(tmp_path, capsys) -> None:
    task = CodeTask(SUMS, RunSettings(), chat=False)
    first = Calculator(dies_after=3)
    with pytest.raises(KeyboardInterrupt):
        task.run(first, tmp_path)
    answers, samples = tmp_path / ANSWERS_NAME, tmp_path / SAMPLES_NAME
    judged = samples.read_text().splitlines()
    # As a kill in the middle of a write leaves them.
    with answers.open("a") as file:
        file.write('{"task_id": "Sum/0", "compl')
    marked = [json.loads(line) | {"reason": "kept"} for line in judged]
    samples.write_text("".join(json.dumps(row) + "\n" for row in marked) + '{"task')
    second = Calculator()
    task.run(second, tmp_path)
    assert sorted(first.asked + second.asked) == [f"{n}+{n}=" for n in range(5)]
    rows = [json.loads(line) for line in samples.open()]
    assert [row["task_id"] for row in rows] == [f"Sum/{n}" for n in range(5)]
    assert sum(row["reason"] == "kept" for row in rows) == len(judged)
    message = capsys.readouterr().err
    assert message.count("torn by a kill") == 2
    assert "3 of 5 problems answered" in message


def test_a_run_that_was_killed_after_its_last_answer_asks_nobody_again(tmp_path) -> None:
    task = CodeTask(SUMS, RunSettings(), chat=False)
    results = task.run(Calculator(), tmp_path)
    rows = (tmp_path / SAMPLES_NAME).read_text()
    # Before its results were written: the answers are gone, the samples are there.
    second = Calculator()
    assert task.run(second, tmp_path) == results
    assert second.asked == []
    assert (tmp_path / SAMPLES_NAME).read_text() == rows


@dataclasses.dataclass(frozen=True)
class MixedSums(Sums):
    """The first sum is about a module, the last in a language that nothing here runs."""

    def problems(self, data: DataFolder) -> list[Problem]:
        *others, last = super().problems(data)
        return [*others, dataclasses.replace(last, language="cobol")]

    def needs(self, problem: Problem) -> tuple[str, ...]:
        return ("abacus",) if problem.task_id == "Sum/0" else ()


def test_what_cannot_run_here_costs_no_answer_and_is_asked_once_it_can(tmp_path, capsys) -> None:
    packages, folder = tmp_path / "packages", tmp_path / "work"
    packages.mkdir()
    folder.mkdir()
    sums = MixedSums(**vars(SUMS))
    task = CodeTask(sums, RunSettings(packages_dir=str(packages)), chat=False)
    first = Calculator(dies_after=2)
    with pytest.raises(KeyboardInterrupt):
        task.run(first, folder)
    assert first.asked == ["3+3=", "2+2="]
    assert "sums: 2 problems are skipped: no abacus (1), nothing here runs cobol (1)" in (
        capsys.readouterr().err
    )

    # The same run goes on where the module has come.
    (packages / "abacus.py").write_text("")
    second = Calculator()
    results = task.run(second, folder)

    assert second.asked == ["1+1=", "0+0="]
    rows = [json.loads(line) for line in (folder / SAMPLES_NAME).open()]
    verdicts = ["passed", "passed", "failed", "passed", "skipped"]
    assert [row["verdict"] for row in rows] == verdicts
    assert rows[4]["reason"] == "skipped: nothing here runs cobol"
    assert (rows[4]["completion"], rows[4]["finish_reason"]) == ("", "not_asked")
    # In no rate, but counted.
    assert (results["pass_at_1"], results["skipped_problems"]) == (0.75, 1)
    assert ("skipped, not scored", "1") in task.rows(results)


def test_an_answer_that_was_skipped_is_judged_again_by_the_run_that_goes_on(tmp_path) -> None:
    task = CodeTask(SUMS, RunSettings(), chat=False)
    with pytest.raises(KeyboardInterrupt):
        task.run(Calculator(dies_after=4), tmp_path)
    samples = tmp_path / SAMPLES_NAME
    rows = [json.loads(line) for line in samples.open()]
    assert rows
    skipped = [row | {"verdict": "skipped", "reason": "skipped: no php"} for row in rows]
    samples.write_text("".join(json.dumps(row) + "\n" for row in skipped))

    results = task.run(Calculator(), tmp_path)

    assert results["verdicts"] == {"failed": 1, "passed": 4}


def test_a_line_that_is_no_json_in_the_middle_is_refused(tmp_path) -> None:
    (tmp_path / ANSWERS_NAME).write_text("what?\n{}\n")
    with pytest.raises(InputError, match=r"answers\.jsonl, line 1 is damaged"):
        CodeTask(SUMS, RunSettings(), chat=False).run(Calculator(), tmp_path)


def test_a_chat_model_is_asked_with_the_instruction() -> None:
    (question, *_) = [SUMS.question(p, chat=True) for p in SUMS.problems(DataFolder())]
    assert question.messages == (("user", "What is 0+0="),)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="k="):
        RunSettings(k="1,10")
    with pytest.raises(InputError, match="k='one': expected numbers"):
        RunSettings(k="one")
    with pytest.raises(InputError, match="top_p=0"):
        RunSettings(top_p=0)
    with pytest.raises(InputError, match="equal answers"):
        RunSettings(samples=2)
    with pytest.raises(InputError, match="limit is 0"):
        RunSettings(limit=0)


def test_outputs_are_compared_by_lines_and_decimal_values() -> None:
    assert same_output("1 2.50\n yes \n\n", "1 2.5\nyes")
    assert not same_output("1\n2", "1 2")
    assert not same_output("1e3x", "1000")
    assert not same_output("50000000000000001", "50000000000000000")


def test_each_case_has_to_print_what_is_expected(tmp_path) -> None:
    from opencoder_jax.evaluation.judging import judge
    from opencoder_jax.sandbox import Sandbox

    source = "print(sum(map(int, input().split())))"
    with Sandbox(Limits(wall_seconds=10)) as sandbox:
        good = Program(source, cases=(Case("1 2", "3"), Case("4 5", "9\n")))
        bad = Program(source, cases=(Case("1 2", "3"), Case("4 5", "8")))
        assert judge(sandbox, good).verdict == "passed"
        judgement = judge(sandbox, bad)
        assert judge(sandbox, Program("", language="cobol")).verdict == "skipped"
    assert judgement.verdict == "failed"
    assert judgement.reason == "case 2: printed '9', expected '8'"
