"""What is rejected before anything runs: tests and solutions of which no verdict would be one."""

import pytest

from beam_pipelines.synthesis.drafts import Draft
from beam_pipelines.synthesis.proving import used_names

LEAVING = {
    "c": "#include <stdlib.h>\nint twice(int x) { exit(0); return x; }",
    "cpp": "#include <cstdlib>\nint twice(int x) { std::exit(0); return x; }",
    "java": "class S { static int twice(int x) { System.exit(0); return x; } }",
    "javascript": "function twice(x) { process.exit(0); }",
    "go": 'package main\nimport "os"\nfunc twice(x int) int { os.Exit(0); return x }',
    "rust": "fn twice(x: i32) -> i32 { std::process::exit(0) }",
    "php": "function twice($x) { die(); }",
    "csharp": "class S { static int twice(int x) { Environment.Exit(0); return x; } }",
    "shell": "twice() {\n  exit 0\n}",
}
STAYING = {
    "c": '#include <stdio.h>\nint twice(int x) { printf("exit(0)"); return 2 * x; } // exit(0)',
    "javascript": "function twice(x) { const exits = [x]; return exits.length + x; }",
    "shell": "twice() {\n  local exit_code=0\n  echo $((2 * $1))\n}",
    "java": "class S { static int twice(int exit) { return 2 * exit; } }",
}


def reason(language: str, code: str, tests: str = "twice(2)") -> str:
    draft = Draft("id", "repo", "path", language, {"code": code, "tests": tests})
    return used_names(draft)[0]


@pytest.mark.parametrize("language", LEAVING)
def test_a_solution_that_ends_the_program_hides_its_tests(language: str) -> None:
    assert reason(language, LEAVING[language]) == "solution_ends_program"


@pytest.mark.parametrize("language", STAYING)
def test_the_word_alone_ends_nothing(language: str) -> None:
    assert reason(language, STAYING[language]) == ""


def test_one_case_again_and_again_is_not_several() -> None:
    code = "def twice(x):\n    return 2 * x\n"
    case = "assert twice(2) == 4\n"
    assert reason("python", code, case * 3) == "tests_repeat_one_case"
    assert reason("python", code, case) == ""
    assert reason("python", code, f"{case}assert twice(0) == 0\n") == ""
