"""BigCodeBench (Zhuo et al. 2024): practical tasks over 139 libraries, tested by unittest.

`complete_prompt` (signature and docstring) is the paper's choice for base models,
`instruct_prompt` for chat models; 1,140 problems, of which 148 are Hard. An answer stands after
`code_prompt`, whose function it defines anew, and the problem's `TestCases` are run. Libraries
are those of the environment that judges (`--packages_dir` for another); a problem about one that
is not there is skipped.
"""

import ast
import dataclasses
import sys

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program, Question
from opencoder_jax.evaluation.data_files import DataFolder, read_records
from opencoder_jax.evaluation.extraction import (
    fenced_code,
    needed_part,
    parsable_start,
    parse,
    sanitized,
)

_KEYS = (
    *("task_id", "complete_prompt", "instruct_prompt", "test", "entry_point"),
    *("code_prompt", "canonical_solution"),
)
_PAGE = "https://huggingface.co/datasets/bigcode/bigcodebench"
_FILES = {
    "full": ("BigCodeBench.jsonl", "BigCodeBench.parquet"),
    "hard": ("BigCodeBench_Hard.jsonl", "BigCodeBench-Hard.jsonl", "BigCodeBench_Hard.parquet"),
}
_RUN_TESTS = """

if __name__ == "__main__":
    import sys as _sys
    import unittest as _unittest

    _result = _unittest.TextTestRunner(stream=_sys.stderr).run(
        _unittest.defaultTestLoader.loadTestsFromTestCase(TestCases)
    )
    _failed = [str(test).split()[0] for test, _ in _result.failures + _result.errors]
    if _failed or not _result.testsRun:
        raise AssertionError(f"{len(_failed)} of {_result.testsRun} tests failed: {_failed[:3]}")
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigCodeBench(Benchmark):
    """One set in one way of asking.

    Attributes:
      subset: `full` or `hard`.
      instruct: asked by `instruct_prompt`; otherwise `complete_prompt` is continued, by a chat
        model inside the instruction.
    """

    subset: str
    instruct: bool

    preload = ("numpy", "pandas", "matplotlib.pyplot")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subset not in _FILES:
            raise InputError(f"subset={self.subset!r}: expected {' or '.join(_FILES)}")

    def problems(self, data: DataFolder) -> list[Problem]:
        records = read_records(data.find(self.path, _FILES[self.subset], "", _PAGE), _KEYS)
        return [Problem(record["task_id"], record) for record in records]

    def prompt(self, problem: Problem) -> str:
        return problem.record["instruct_prompt" if self.instruct else "complete_prompt"]

    def question(self, problem: Problem, chat: bool) -> Question:
        if self.instruct and not chat:
            raise InputError(f"{self.name} asks chat models: use bigcodebench_complete")
        return Benchmark.question(self, problem, chat)

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        name = record["entry_point"]
        if chat:
            code = sanitized(answer, name)
        else:
            prompt = record["complete_prompt"]
            # Further on a fence is text of the program.
            if answer.lstrip().startswith("```"):
                answer = fenced_code(answer)
            code = needed_part(prompt + parsable_start(prompt, answer), name)
        solution = f"{record['code_prompt']}    pass\n\n{code}"
        return Program(f"{solution}\n\n{record['test']}{_RUN_TESTS}")

    def needs(self, problem: Problem) -> tuple[str, ...]:
        # Of the problem, not of the answer: one that imports what nobody has is no reason to skip.
        record = problem.record
        return third_party(
            f"{record['code_prompt']}{record['canonical_solution']}\n{record['test']}"
        )


def third_party(source: str) -> tuple[str, ...]:
    """Modules that a program imports and the standard library does not have."""
    names: set[str] = set()
    for node in ast.walk(parse(source) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return tuple(sorted(names - sys.stdlib_module_names))
