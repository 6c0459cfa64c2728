"""The languages in which a teacher's code is executed, and how its tests have to look.

Solution and tests come as two pieces; `multilingual_programs` joins them the way that
multilingual benchmarks have them, and prompts say so.
"""

from typing import NamedTuple


class Executable(NamedTuple):
    """A language.

    Attributes:
      sandbox: its name there.
      shown: its name in prompts.
      conventions: what solution and tests are, for a prompt.
    """

    sandbox: str
    shown: str
    conventions: str


_C = (
    "The solution has its #include lines and no `main`. The tests are one `int main()` that calls "
    "it, checks results with `assert` and returns 0."
)
_SCRIPT = "The tests call the solution and check results with `console.assert(...)`."
EXECUTABLE = {
    "python": Executable(
        "python", "Python", "The tests are `assert` statements that call the solution by its name."
    ),
    "c": Executable("c", "C", _C),
    "cpp": Executable("cpp", "C++", _C),
    "java": Executable(
        "java",
        "Java",
        "The solution is one class without `main`, whose method is static, with its imports. The "
        "tests are only a method `public static void main(String[] args)` of that class that "
        "throws an `AssertionError` where a result is wrong.",
    ),
    "javascript": Executable("javascript", "JavaScript", _SCRIPT),
    "typescript": Executable("typescript", "TypeScript", _SCRIPT),
    "go": Executable(
        "go",
        "Go",
        "The solution has its imports and no `main`. The tests are one `func main()` that calls it "
        "and panics where a result is wrong.",
    ),
    "rust": Executable(
        "rust",
        "Rust",
        "The solution has no `main`. The tests are one `fn main()` that uses `assert!` and "
        "`assert_eq!`.",
    ),
    "php": Executable(
        "php", "PHP", "The tests call the solution and throw an exception where a result is wrong."
    ),
    "csharp": Executable(
        "csharp",
        "C#",
        "The solution is one class without `Main`, whose method is static, with its `using` lines. "
        "The tests are only a method `static void Main()` of that class that throws an exception "
        "where a result is wrong.",
    ),
    "shell": Executable(
        "bash",
        "Bash",
        "The solution is a function. The tests call it and `exit 1` where its output is wrong.",
    ),
}


def shown_name(language: str) -> str:
    """A language as people write it."""
    known = EXECUTABLE.get(language)
    return known.shown if known else language.title()
