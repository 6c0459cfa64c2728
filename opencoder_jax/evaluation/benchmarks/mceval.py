"""McEval (Chai et al. 2024): functions in 40 languages by instruction.

The published layout: a JSONL file a language (`Python.jsonl`, `C#.jsonl`, ...), each problem
with `task_id`, `prompt`, `canonical_solution`, `test`, `entry_point`, `signature`,
`instruction`, `level`. The languages are those that the sandbox runs; others can be named and
are then counted as skipped. A chat model writes the whole function, a base model goes on from
the signature.
"""

import dataclasses
import re

from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program, Question, chat_code
from opencoder_jax.evaluation.benchmarks import multilingual_programs
from opencoder_jax.evaluation.data_files import DataFolder, read_records
from opencoder_jax.evaluation.extraction import sanitized
from opencoder_jax.evaluation.function_text import class_members, lines_that, with_signature

_KEYS = ("task_id", "prompt", "canonical_solution", "test", "entry_point", "signature")
_PAGE = "https://github.com/MCEVAL/McEval/tree/main/data"
_IMPORTS = r"\s*(?:import\s|using\s)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class McEval(Benchmark):
    """Several languages, each scored apart.

    Attributes:
      languages: as the data set names its files.
    """

    languages: tuple[str, ...]

    def problems(self, data: DataFolder) -> list[Problem]:
        if self.path is not None:
            data = DataFolder(self.path)
        return [p for language in self.languages for p in self._of_language(data, language)]

    def question(self, problem: Problem, chat: bool) -> Question:
        asked = super().question(problem, chat)
        if not chat:
            return asked
        text = self.instruction.replace("{prompt}", problem.record["instruction"])
        text = text.replace("{language}", problem.task_id.split("/")[0])
        return dataclasses.replace(asked, messages=(("user", text),))

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        name = record["entry_point"]
        code = record["prompt"] + "\n" + answer
        if chat:
            code = self._chat_solution(problem, answer)
        return multilingual_programs.program(problem.language, code, record["test"], name)

    def _chat_solution(self, problem: Problem, answer: str) -> str:
        """The head of the problem with the function that the answer has."""
        record, language = problem.record, problem.language
        name = record["entry_point"]
        prompt, signature = record["prompt"], record["signature"].strip()
        if language == "python":
            return f"{prompt}\n    pass\n\n\n{sanitized(answer, name)}"
        code = chat_code(answer, language, name)
        if language in ("java", "csharp"):
            imports, rest = lines_that(code, _IMPORTS)
            members = with_signature(class_members(rest), name, signature)
            written = {line.strip() for line in members.splitlines() if line.rstrip().endswith(";")}
            head = prompt.rsplit(signature, 1)[0].splitlines(keepends=True)
            # An answer that is a whole class has the head's fields again.
            head = [line for line in head if line.strip() not in written]
            return f"{imports}{''.join(head)}\n{members}"
        if language == "bash":
            return code
        head = prompt.rsplit(signature, 1)[0]
        if language == "php":
            code = code.replace("<?php", "").replace("<?", "")
        if language == "rust":
            # In a module of its own an answer may import again what the head has.
            exported = re.sub(rf"(?<!pub )\bfn {re.escape(name)}\b", f"pub fn {name}", code)
            return f"{head}\nmod answer {{\nuse super::*;\n{exported}\n}}\nuse answer::{name};\n"
        return f"{head}\n{code}"

    def _of_language(self, data: DataFolder, language: str) -> list[Problem]:
        names = [f"{folder}{language}.jsonl" for folder in ("mceval/", "McEval/", "")]
        records = read_records(data.find(None, names, "", _PAGE), _KEYS)
        ours = multilingual_programs.LANGUAGES.get(language, language.lower())
        return [Problem(r["task_id"], r, ours, str(r.get("level", ""))) for r in records]
