"""EvalPlus (Liu et al. 2023): HumanEval+ and MBPP+, and MBPP's own tests on EvalPlus's problems.

The published layout is one JSON object a problem: `task_id`, `prompt`, `canonical_solution`,
`entry_point`, `base_input`, `plus_input`, `atol`. An answer has to give what the reference
gives on every input; HumanEval+ and MBPP+ ask for all inputs, the paper's column `MBPP` for the
original ones. `drivers/evalplus.py` compares inside the sandbox.
"""

import dataclasses
import json

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program
from opencoder_jax.evaluation.benchmarks.humaneval import completed
from opencoder_jax.evaluation.data_files import DataFolder, read_records
from opencoder_jax.evaluation.drivers import driver
from opencoder_jax.evaluation.extraction import parsable_start, sanitized

_KEYS = ("task_id", "prompt", "canonical_solution", "entry_point", "base_input", "plus_input")
_FILES = {
    "humaneval": (
        ("HumanEvalPlus.jsonl",),
        "https://github.com/evalplus/humanevalplus_release/releases (v0.1.10)",
    ),
    "mbpp": (
        ("MbppPlus.jsonl", "MBPPPlus.jsonl"),
        "https://github.com/evalplus/mbppplus_release/releases (v0.2.0)",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalPlus(Benchmark):
    """HumanEval or MBPP under EvalPlus's tests.

    Attributes:
      dataset: `humaneval` or `mbpp`.
      plus: the added inputs too; otherwise the original ones alone.
      preamble: imports that stand before an answer.
    """

    dataset: str
    plus: bool = True
    preamble: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in _FILES:
            raise InputError(f"dataset={self.dataset!r}: expected {' or '.join(_FILES)}")

    def problems(self, data: DataFolder) -> list[Problem]:
        names, page = _FILES[self.dataset]
        records = read_records(data.find(self.path, names, "", page), _KEYS)
        return [Problem(record["task_id"], record) for record in records]

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        if self.dataset == "humaneval":
            solution = completed(record["prompt"], answer, record["entry_point"], chat)
        elif chat:
            solution = sanitized(answer, record["entry_point"])
        else:
            solution = parsable_start("", answer)
        inputs = [*record["base_input"], *(record["plus_input"] if self.plus else ())]
        tested = {
            "dataset": self.dataset,
            "number": int(record["task_id"].rsplit("/", 1)[-1]),
            "entry_point": record["entry_point"],
            "atol": record.get("atol", 0),
            "inputs": inputs,
        }
        files = {
            "solution.py": self.preamble + solution,
            "reference.py": record["prompt"] + record["canonical_solution"],
            "problem.json": json.dumps(tested),
        }
        return Program(driver("evalplus"), files=files, shown=self.preamble + solution)

    def kept_out_as(self) -> str:
        return "humaneval" if self.dataset == "humaneval" else ""

    def searched_text(self, problem: Problem) -> str:
        # Its inputs are numbers and short texts that stand in any file.
        return problem.record["prompt"] + problem.record["canonical_solution"]
