"""MultiPL-E (Cassano et al. 2022): HumanEval in other languages.

The published layout: `name`, `language`, `prompt`, `tests`, `stop_tokens`. A program is prompt,
answer, tests; a base model's answer ends at the problem's own stop tokens. Of a chat model's
answer the function's body counts, with the imports before it and the helpers that it names.
Python is HumanEval itself, as in the paper's Table 8 (its data set has none).
"""

import dataclasses
import os
import re

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Program, Question, chat_code
from opencoder_jax.evaluation.benchmarks.humaneval import completed
from opencoder_jax.evaluation.data_files import DataFolder, read_records
from opencoder_jax.evaluation.function_text import body_of, lines_that
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.evaluation.reached_definitions import reached_definitions
from opencoder_jax.sandbox.languages import JAVATUPLES

_KEYS = ("name", "language", "prompt", "tests", "stop_tokens")
_HUB = "nuprl/MultiPL-E"
# The data set's name of a language to the sandbox's.
LANGUAGES = {
    "py": "python",
    "java": "java",
    "cpp": "cpp",
    "cs": "csharp",
    "ts": "typescript",
    "js": "javascript",
    "php": "php",
    "sh": "bash",
    "go": "go",
    "rs": "rust",
}
# Lines before a function that it may need and that can stand before the prompt.
_IMPORTS = {
    "cpp": r"\s*(?:#include|using\s)",
    "csharp": r"\s*using\s",
    "java": r"\s*import\s",
    **dict.fromkeys(("typescript", "javascript", "php", "bash", "go", "rust"), r"(?!)"),
}
_EVERYWHERE = re.DOTALL | re.MULTILINE


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiPLE(Benchmark):
    """Several languages, each scored apart.

    Attributes:
      languages: as the data set names them, of `LANGUAGES`.
    """

    languages: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.languages if name not in LANGUAGES]
        if unknown or not self.languages:
            raise InputError(f"languages={unknown}: expected some of {', '.join(LANGUAGES)}")

    def problems(self, data: DataFolder) -> list[Problem]:
        return [p for language in self.languages for p in self._of_language(data, language)]

    def question(self, problem: Problem, chat: bool) -> Question:
        asked = super().question(problem, chat)
        if chat:
            return asked
        stop = tuple(problem.record.get("stop_tokens") or self.stop)
        return dataclasses.replace(asked, stop=stop)

    def lacking(self, problem: Problem) -> str:
        imports = problem.language == "java" and "org.javatuples" in problem.record["prompt"]
        return "no javatuples" if imports and not os.path.exists(JAVATUPLES) else ""

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        if "entry_point" in record:
            solution = completed(record["prompt"], answer, record["entry_point"], chat)
            call = f"check({record['entry_point']})"
            return Program(f"{solution}\n\n{record['test']}\n\n{call}\n")
        if not chat:
            source = f"{record['prompt']}{answer}\n{record['tests']}"
            return Program(source, problem.language)
        name = _function_name(record["prompt"])
        code = chat_code(answer, problem.language, name)
        imports = lines_that(code.split(name, 1)[0], _IMPORTS[problem.language])[0]
        helpers = reached_definitions(code, name, problem.language, record["prompt"])
        body = _body(code, name, problem.language)
        if record["tests"].lstrip().startswith("}"):
            # They close the function themselves.
            body = body.rstrip().removesuffix("}")
        head, line, signature = record["prompt"].rstrip().rpartition("\n")
        source = f"{imports}{head}{line}{helpers}{signature}\n{body}\n{record['tests']}"
        return Program(source, problem.language)

    def entry_points(self, problem: Problem) -> tuple[str, ...]:
        name = problem.record.get("entry_point") or _function_name(problem.record["prompt"])
        return (name,) if name else ()

    def searched_text(self, problem: Problem) -> str:
        return f"{super().searched_text(problem)}\n{problem.record.get('tests', '')}"

    def _of_language(self, data: DataFolder, language: str) -> list[Problem]:
        if language == "py":
            return [
                Problem(f"py/{p.task_id}", dataclasses.asdict(p), "python") for p in load_problems()
            ]
        if self.path is not None:
            data = DataFolder(self.path)
        names = [
            f"{folder}humaneval-{language}{kind}"
            for folder in ("MultiPL-E/", "")
            for kind in (".jsonl", "-reworded.jsonl", ".parquet", "/test-00000-of-00001.parquet")
        ]
        page = f"https://huggingface.co/datasets/{_HUB} (humaneval-{language})"
        hub = f"{_HUB}:humaneval-{language}/test-00000-of-00001.parquet"
        records = read_records(data.find(None, names, hub, page), _KEYS)
        return [Problem(f"{language}/{r['name']}", r, LANGUAGES[language]) for r in records]


def _function_name(prompt: str) -> str:
    """Of the function that the prompt's last lines open."""
    names = re.findall(r"([A-Za-z_]\w*)\s*(?:<[^<>]*>)?\(", prompt.rstrip().rsplit("\n", 1)[-1])
    return names[0] if names else ""


def _body(code: str, name: str, language: str) -> str:
    """What continues a prompt that has opened the function's block, closing it."""
    if language == "bash":
        found = re.search(rf"\b{re.escape(name)}\s*\(\)\s*\{{[^\n]*\n(.*?^\}})", code, _EVERYWHERE)
        return found[1] if found else code
    block = body_of(code, name)
    return block[1:] if block else code
