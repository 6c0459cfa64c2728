"""MdEval (Liu et al. 2024): faulty programs in many languages to be repaired.

The published layout: a JSONL file a language in a folder a task (`bug`: only the faulty code;
`doc` and `example`: with its description or an example; `loc_apr`: with the place), each with
`question_id`, `instruction`, `buggy_code`, `canonical_solution`, `test`, `subtype`, `level`.
The instruction names the block that the repaired code is to stand in; tests are McEval's.
The tasks that ask for a letter or a name are not code and are left out.
"""

import dataclasses

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program, Question, chat_code
from opencoder_jax.evaluation.benchmarks import multilingual_programs
from opencoder_jax.evaluation.data_files import DataFolder, read_records

_KEYS = ("question_id", "instruction", "buggy_code", "canonical_solution", "test")
_TASKS = ("bug", "doc", "example", "loc_apr")
_PAGE = "https://huggingface.co/datasets/Multilingual-Multimodal-NLP/MDEVAL"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MdEval(Benchmark):
    """One task in several languages, each scored apart.

    Attributes:
      languages: as the data set names its files.
      task: `bug`, `doc`, `example` or `loc_apr`.
    """

    languages: tuple[str, ...]
    task: str = "bug"

    styles = ("chat",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in _TASKS:
            raise InputError(f"task={self.task!r}: expected {', '.join(_TASKS)}")

    def problems(self, data: DataFolder) -> list[Problem]:
        if self.path is not None:
            data = DataFolder(self.path)
        return [p for language in self.languages for p in self._of_language(data, language)]

    def prompt(self, problem: Problem) -> str:
        return problem.record["instruction"]

    def question(self, problem: Problem, chat: bool) -> Question:
        return super().question(problem, chat)

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        code = chat_code(answer, problem.language)
        return multilingual_programs.program(problem.language, code, problem.record["test"])

    def _of_language(self, data: DataFolder, language: str) -> list[Problem]:
        folders = (f"mdeval/{self.task}/", f"MDEVAL/{self.task}/", f"{self.task}/")
        names = [f"{folder}{language}.jsonl" for folder in folders]
        records = read_records(data.find(None, names, "", _PAGE), _KEYS)
        ours = multilingual_programs.LANGUAGES.get(language, language.lower())
        return [Problem(r["question_id"], r, ours, str(r.get("category", ""))) for r in records]
