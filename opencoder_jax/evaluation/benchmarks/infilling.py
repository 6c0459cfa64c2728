"""HumanEval infilling (Bavarian et al. 2022): one line of a solution is to be filled in.

The published layout: `task_id`, `entry_point`, `prompt` (before the gap), `suffix` (after it),
`canonical_solution` (the gap), `test`. The model gets both sides in the fill-in-the-middle form
that it was trained with, or an endpoint a `suffix`. The paper's models have no such training
and are refused. Of an answer the first line counts, as the gap is one line.
"""

import dataclasses

from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program, Question
from opencoder_jax.evaluation.data_files import DataFolder, read_records

_KEYS = ("task_id", "entry_point", "prompt", "suffix", "canonical_solution", "test")
_PAGE = "https://github.com/openai/human-eval-infilling/tree/master/data"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Infilling(Benchmark):
    """Gaps of HumanEval's solutions.

    Attributes:
      file: of the published ones.
      single_line: of an answer only the first line counts.
    """

    file: str
    single_line: bool = True

    styles = ("base",)

    def problems(self, data: DataFolder) -> list[Problem]:
        path = data.find(self.path, (self.file,), "", _PAGE)
        return [Problem(r["task_id"], r) for r in read_records(path, _KEYS)]

    def question(self, problem: Problem, chat: bool) -> Question:
        record = problem.record
        return Question(text=record["prompt"], suffix=record["suffix"], stop=tuple(self.stop))

    def kept_out_as(self) -> str:
        return "humaneval"

    def searched_text(self, problem: Problem) -> str:
        # The same for all gaps of a problem.
        record = problem.record
        whole = f"{record['prompt']}{record['canonical_solution']}{record['suffix']}"
        return f"{whole}\n{record['test']}"

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        gap = answer
        if self.single_line:
            # The line's end belongs to the gap.
            gap = answer.lstrip("\n").split("\n", 1)[0] + "\n"
        call = f"check({record['entry_point']})"
        whole = f"{record['prompt']}{gap}{record['suffix']}"
        return Program(f"{whole}\n\n{record['test']}\n\n{call}\n")
