"""LiveCodeBench (Jain et al. 2024), code generation: contest problems by date.

The published layout is `code_generation_lite`'s: JSONL files, a problem a line, with
`public_test_cases` as JSON and `private_test_cases` as JSON or as base64 of a compressed pickle
of JSON. That pickle may hold one text and nothing else: it is read by an unpickler that refuses
everything that could run. Problems are asked of chat models in LiveCodeBench's words; the code
is the last block of the answer.
"""

import base64
import binascii
import dataclasses
import datetime
import io
import json
import pickle
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark import Benchmark, Case, Problem, Program, Question
from opencoder_jax.evaluation.data_files import DataFolder, read_records
from opencoder_jax.evaluation.drivers import driver
from opencoder_jax.evaluation.extraction import last_fenced_code

_KEYS = (
    *("question_id", "question_content", "contest_date", "starter_code", "difficulty"),
    *("public_test_cases", "private_test_cases", "metadata"),
)
_HUB = "livecodebench/code_generation_lite"
_PAGE = f"https://huggingface.co/datasets/{_HUB}"
# Of one problem's tests, uncompressed.
_MOST_BYTES = 1 << 30
# LiveCodeBench's own words (lcb_runner/prompts/code_generation.py).
_STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose "
    "your code within delimiters."
)
_STDIN = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly "
    "test on the sample inputs). Enclose your code within delimiters as follows. Ensure that when "
    "the python program runs, it reads the inputs, runs the algorithm and writes output to STDOUT."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiveCodeBench(Benchmark):
    """The problems of a time window.

    Attributes:
      system: the system message.
      from_date: of a contest, the first (ISO).
      to_date: the last.
      files: the release's files.
      preamble: imports that stand before an answer.
    """

    system: str
    from_date: str
    to_date: str
    files: tuple[str, ...]
    preamble: str = ""

    styles = ("chat",)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            first, last = map(datetime.date.fromisoformat, (self.from_date, self.to_date))
        except ValueError as error:
            raise InputError(f"{self.name}: from_date, to_date: {error}") from error
        if first > last:
            raise InputError(f"{self.name}: from_date {first} is after to_date {last}")

    def problems(self, data: DataFolder) -> list[Problem]:
        found = {}
        for path in self._paths(data):
            for record in read_records(path, _KEYS):
                day = str(record["contest_date"])[:10]
                if self.from_date <= day <= self.to_date:
                    # Before the model is asked; the hidden tests are too large to be looked at now.
                    _function_name(record)
                    _public_tests(record["public_test_cases"], record["question_id"])
                    found[record["question_id"]] = Problem(
                        str(record["question_id"]), record, subset=str(record["difficulty"])
                    )
        if not found:
            raise InputError(f"{self.name}: no problem from {self.from_date} to {self.to_date}")
        return list(found.values())

    def prompt(self, problem: Problem) -> str:
        record = problem.record
        starter = record["starter_code"]
        form = _STARTER if starter else _STDIN
        code = starter or "# YOUR CODE HERE"
        return (
            f"### Question:\n{record['question_content']}\n\n### Format: {form}\n"
            f"```python\n{code}\n```\n\n### Answer: (use the provided format with backticks)\n\n"
        )

    def question(self, problem: Problem, chat: bool) -> Question:
        asked = super().question(problem, chat)
        return dataclasses.replace(asked, messages=(("system", self.system), *asked.messages))

    def program(self, problem: Problem, answer: str, chat: bool) -> Program:
        record = problem.record
        tests = [
            *_public_tests(record["public_test_cases"], problem.task_id),
            *private_tests(record["private_test_cases"], problem.task_id),
        ]
        solution = f"{self.preamble}\n{last_fenced_code(answer)}"
        name = _function_name(record)
        if name is None:
            cases = tuple(Case(test["input"], test["output"]) for test in tests)
            # Contest programs leave through `exit()`.
            return Program(solution, cases=cases, exit_passes=True)
        cases = tuple(Case(_function_case(name, test)) for test in tests)
        files = {"solution.py": solution}
        return Program(driver("function_case"), files=files, cases=cases, shown=solution)

    def searched_text(self, problem: Problem) -> str:
        return problem.record["question_content"]

    def _paths(self, data: DataFolder) -> list[Path]:
        if self.path is not None and Path(self.path).is_dir():
            data = DataFolder(self.path)
        elif self.path is not None:
            return [data.find(self.path, self.files, "", _PAGE)]
        return [
            data.find(None, (f"livecodebench/{name}", name), f"{_HUB}:{name}", _PAGE)
            for name in self.files
        ]


def private_tests(text: str, problem: str) -> list[dict[str, Any]]:
    """The hidden tests of a problem, whichever way they are packed.

    Raises:
      InputError: they are packed in another way, or hold something that is not text.
    """
    where = f"LiveCodeBench {problem}: private_test_cases"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if found is not None:
        return _tests(found, where)
    try:
        packed = zlib.decompressobj()
        content = packed.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if packed.unconsumed_tail:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        inner = _TextUnpickler(io.BytesIO(content)).load()
        if not isinstance(inner, str):
            raise ValueError(f"a {type(inner).__name__}, expected text")
        found = json.loads(inner)
    except (
        *(binascii.Error, zlib.error, pickle.UnpicklingError, ValueError, EOFError),
        *(IndexError, KeyError, AttributeError, TypeError, MemoryError),
    ) as error:
        raise InputError(f"{where}: {error}") from error
    return _tests(found, where)


class _TextUnpickler(pickle.Unpickler):
    """Builds texts, numbers and containers, and calls nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}, expected text alone")

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside, expected text alone")


def _public_tests(text: str, problem: str) -> list[dict[str, Any]]:
    where = f"LiveCodeBench {problem}: public_test_cases"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    return _tests(found, where)


def _tests(found: Any, where: str) -> list[dict[str, Any]]:
    """What was read, if it is tests."""
    if not isinstance(found, list) or not all(
        isinstance(test, dict)
        and isinstance(test.get("input"), str)
        and isinstance(test.get("output"), str)
        for test in found
    ):
        raise InputError(f"{where}: expected a list of tests with the texts input and output")
    return found


def _function_name(record: Mapping[str, Any]) -> str | None:
    """Of the method that is asked for; None: the program reads stdin."""
    try:
        return json.loads(record["metadata"] or "{}").get("func_name")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"LiveCodeBench {record['question_id']}: metadata: {error}") from error


def _function_case(name: str, test: dict[str, Any]) -> str:
    arguments = [json.loads(line) for line in test["input"].split("\n") if line.strip()]
    expected = json.loads(test["output"])
    return json.dumps({"name": name, "arguments": arguments, "expected": expected})
