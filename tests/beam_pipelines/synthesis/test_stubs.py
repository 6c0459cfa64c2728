"""A stub has the solution's text and signature and gives nothing back, in every language."""

from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines.synthesis.drafts import Draft
from beam_pipelines.synthesis.executable import EXECUTABLE
from beam_pipelines.synthesis.proving import ProveByTests
from beam_pipelines.synthesis.stubs import NoStubError, stubs, without_bodies
from opencoder_jax.evaluation.benchmarks.multilingual_programs import program
from opencoder_jax.sandbox import Program, Sandbox, missing_toolchain
from tests.isolation import require_isolation

# Solution, tests that it passes, and the name that they call.
PAIRS = {
    "c": ("#include <stdlib.h>\nint *twice(int x) { int *p = malloc(4); *p = 2 * x; return p; }",
          "#include <assert.h>\nint main() { int *p = twice(2); assert(p && *p == 4); return 0; }"),
    "cpp": ("#include <vector>\nstd::vector<int> twice(std::vector<int> v) {"
            " for (auto &x : v) { x *= 2; } return v; }",
            "#include <cassert>\nint main() { assert(twice({1, 2}).size() == 2); }"),
    "java": ("import java.util.*;\nclass Twice { static List<Integer> twice(int x) {"
             " return List.of(x, x); } }",
             "public static void main(String[] args) {"
             " if (twice(2).size() != 2) throw new AssertionError(); }"),
    "javascript": ("const twice = (x) => { return 2 * x; };", "console.assert(twice(2) === 4);"),
    "typescript": ("function twice(x: number): number { return 2 * x; }",
                   "console.assert(twice(2) === 4);"),
    "go": ("package main\n\nfunc twice(x int) (int, error) { return 2 * x, nil }",
           "func main() { if y, err := twice(2); err != nil || y != 4 { panic(y) } }"),
    "rust": ("fn twice(v: &[i32]) -> Vec<i32> { v.iter().map(|x| 2 * x).collect() }",
             "fn main() { assert_eq!(twice(&[1, 2]), vec![2, 4]); }"),
    "php": ("function twice($x) { return 2 * $x; }",
            "if (twice(2) !== 4) { throw new Exception('wrong'); }"),
    "csharp": ("using System;\nclass Twice { static string twice(string x) { return x + x; } }",
               "static void Main() { if (twice(\"a\") != \"aa\") throw new Exception(); }"),
    "bash": ("twice() { echo $((2 * $1)); }", '[ "$(twice 2)" = 4 ] || exit 1'),
    "python": ("def twice(x):\n    return 2 * x\n", "assert twice(2) == 4"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    require_isolation()
    with Sandbox() as made:
        yield made


@pytest.mark.parametrize("language", PAIRS)
def test_tests_pass_on_the_solution_and_fail_on_the_first_stub_that_compiles(
    language: str, sandbox: Sandbox
) -> None:
    if missing := missing_toolchain(language):
        pytest.skip(missing)
    solution, tests = PAIRS[language]
    assert run(sandbox, language, solution, tests) == "passed"
    verdicts = [
        run(sandbox, language, stub, tests) for stub in stubs(language, solution, ["twice"])
    ]
    ran = [verdict for verdict in verdicts if verdict != "compile_error"]
    assert ran[0] in ("failed", "killed"), verdicts


def run(sandbox: Sandbox, language: str, solution: str, tests: str) -> str:
    joined = program(language, solution, tests)
    return sandbox.run_many([Program(joined.source, language)], workers=1)[0].verdict


PROVED = {
    "Java's results of two types": (
        "java",
        "class S { static int len(String s) { return s.length(); }\n"
        "  static String twice(String s) { return s + s; } }",
        "public static void main(String[] args) {"
        ' if (len(twice("a")) != 2) throw new AssertionError(); }',
        "len twice",
    ),
    "a struct after its includes": (
        "c",
        "#include <stdlib.h>\ntypedef struct S { int n; } S;\n"
        "S *made(int n) { S *s = malloc(sizeof(S)); s->n = n; return s; }",
        "#include <assert.h>\nint main() { assert(made(2)->n == 2); return 0; }",
        "made",
    ),
    "a class with a constructor": (
        "cpp",
        "class S {\npublic:\n  S() : n(0) {}\n  void add(int x) { n += x; }\n"
        "  int sum() const { return n; }\nprivate:\n  int n;\n};",
        "#include <cassert>\nint main() { S s; s.add(4); assert(s.sum() == 4); }",
        "add sum",
    ),
    "Bash without parentheses": (
        "shell",
        "function twice { echo $((2 * $1)); }",
        '[ "$(twice 2)" = 4 ] || exit 1',
        "twice",
    ),
    "tests with PHP's tag": (
        "php",
        "<?php\nfunction twice(int $x): int { return 2 * $x; }\n?>",
        "<?php\nif (twice(2) !== 4) { throw new Exception('wrong'); }\n?>",
        "twice",
    ),
}
EMPTY = {
    "PHP's typed result": ("php", "function twice(int $x): int { return 2 * $x; }", "twice(2);"),
    "a demonstration": (
        "javascript",
        "function twice(x) { return 2 * x; }\nconsole.log(twice(2).toFixed(1));",
        "twice(2);",
    ),
    "a parameter with braces": (
        "javascript",
        "function twice({x = 1} = {}) { return 2 * x; }",
        "twice({x: 2});",
    ),
}


@pytest.mark.parametrize("kind", [*PROVED, *EMPTY])
def test_only_tests_that_need_the_result_prove_a_solution(kind: str) -> None:
    require_isolation()
    language, code, tests, *names = PROVED[kind] if kind in PROVED else EMPTY[kind]
    if missing := missing_toolchain(EXECUTABLE[language].sandbox):
        pytest.skip(missing)
    draft = Draft("id", "repo", "path", language, {"code": code, "tests": tests})
    with beam.Pipeline("DirectRunner") as pipeline:
        judged = pipeline | beam.Create([draft]) | ProveByTests(1, allow_unisolated=False)
        told = (
            judged.kept | "Kept" >> beam.Map(lambda kept: kept.parts["entry_point"]),
            judged.dropped | "Dropped" >> beam.Map(lambda drop: drop.reason),
        ) | beam.Flatten()
        assert_that(told, equal_to(names or ["passes_without_solution"]))


def test_a_solution_without_the_function_has_no_stub() -> None:
    for language, code in (("python", "x = 1\n"), ("c", "int x;")):
        with pytest.raises(NoStubError, match="twice"):
            stubs(language, code, ["twice"])


@pytest.mark.parametrize(
    "demonstration",
    [
        "print(twice(3) + 1)",
        "if __name__ == '__main__':\n    print(twice(3) + 1)",
        "assert twice(2) == 4",
        "FOUR = twice(2) + 0",
        "def more(x=twice(2) + 1):\n    return x",
    ],
)
def test_what_a_solution_does_with_its_own_results_is_no_test(
    demonstration: str, sandbox: Sandbox
) -> None:
    solution = f"'Doc.'\nfrom __future__ import annotations\n{PAIRS['python'][0]}"
    (stub,) = stubs("python", f"{solution}\n{demonstration}\n", ["twice"])
    assert run(sandbox, "python", stub, "twice(2)") == "passed"
    assert run(sandbox, "python", stub, PAIRS["python"][1]) == "failed"


def test_emptied_bodies_keep_docstrings_and_helpers() -> None:
    source = "def g():\n    return 1\nclass C:\n    '''d'''\n    def m(self):\n        '''e'''\n"
    source += "        return g()\n"
    namespace: dict[str, object] = {}
    exec(without_bodies(source, ["C"]), namespace)
    emptied = namespace["C"]
    assert emptied().m() is None  # type: ignore[operator]
    assert (emptied.__doc__, emptied.m.__doc__) == ("d", "e")  # type: ignore[attr-defined]
    assert namespace["g"]() == 1  # type: ignore[operator]
