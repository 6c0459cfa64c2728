"""MBPP (Austin et al. 2021): 500 short functions by one sentence and three assertions.

The published `mbpp.jsonl` has 974 problems; 11 to 510 are the test split (the released
evaluator takes 10 to 509), 1 to 10 are there to be shown. Without shots the prompt is
EvalPlus's: the sentence and the first assertion in a docstring. With shots it is the released
evaluator's: task and assertions, then the code in a fenced block.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program
from opencoder_jax.evaluation.data_files import DataFolder, read_records
from opencoder_jax.evaluation.extraction import entry_point_of, parsable_start, sanitized

_KEYS = ("task_id", "text", "code", "test_list", "test_setup_code")
_PAGE = "https://github.com/google-research/google-research/tree/master/mbpp"
_TASK = "You are an expert Python programmer, and here is your task:\n{text}\n"
_TESTS = "Your code should pass these tests:\n\n{tests}\n```python\n"
_TEST_SPLIT = range(11, 511)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mbpp(Benchmark):
    """The test split.

    Attributes:
      shots: ids of solved problems that stand before each; none: EvalPlus's prompt.
      preamble: imports that stand before an answer.
    """

    shots: tuple[int, ...] = ()
    preamble: str = ""

    def problems(self, data: DataFolder) -> list[Problem]:
        path = data.find(self.path, ("mbpp.jsonl",), "", _PAGE)
        records = {record["task_id"]: record for record in read_records(path, _KEYS)}
        missing = [number for number in self.shots if number not in records]
        if missing:
            raise InputError(f"{path} lacks the problems {missing} that shots names")
        shown = "".join(
            f"{self._asked(records[n])}{_lines(records[n]['code']).strip()}\n```\n\n"
            for n in self.shots
        )
        found = [records[number] for number in _TEST_SPLIT if number in records]
        if not found:
            raise InputError(f"{path} has none of the problems 11 to 510, by number as task_id")
        return [Problem(f"MBPP/{r['task_id']}", r | {"shots": shown}) for r in found]

    def prompt(self, problem: Problem) -> str:
        record = problem.record
        if self.shots:
            return record["shots"] + self._asked(record)
        return f'"""\n{record["text"]}\n{record["test_list"][0]}\n"""\n'

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        tests = "\n".join([record["test_setup_code"], *record["test_list"]])
        if chat:
            code = sanitized(answer, entry_point_of(record["test_list"][0]), tests)
        else:
            code = parsable_start("", answer)
        # The setup of problem 367 builds what the answer defines.
        return Program(f"{self.preamble}{code}\n\n{tests}\n")

    def reference(self, problem: Problem) -> str:
        return _lines(problem.record["code"])

    def searched_text(self, problem: Problem) -> str:
        record = problem.record
        return "\n".join([record["text"], self.reference(problem), *record["test_list"]])

    def entry_points(self, problem: Problem) -> tuple[str, ...]:
        name = entry_point_of(problem.record["test_list"][0])
        return (name,) if name else ()

    def _asked(self, record: Mapping[str, Any]) -> str:
        return (_TASK + _TESTS).format(text=record["text"], tests="\n".join(record["test_list"]))


def _lines(code: str) -> str:
    return code.replace("\r\n", "\n")
