"""Solutions with their functions emptied: tests that pass on one test nothing.

A stub keeps a solution's text and signature and gives back nothing, or zero. What nothing is
differs by language and type, so there may be several stubs, and the first that compiles
counts. Where a language has no value for every type the last stub ends the program: tests
that pass on that one do not even call the solution.
"""

import ast
import re
import warnings
from collections.abc import Sequence

from opencoder_jax.evaluation.function_text import body_of, definition_of, without_inert

_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PARAMETERS = re.compile(r"\((?:[^()]|\([^()]*\))*\)")
_BODIES = {
    "c": ("return 0;", "__builtin_trap();"),
    "cpp": ("return {};", "return;", "__builtin_trap();"),
    "csharp": ("return default(TYPE);", "return;", 'throw new System.Exception("stub");'),
    "go": ('panic("stub")',),
    "java": ("return JAVA;", 'throw new RuntimeException("stub");'),
    "javascript": ("return undefined;",),
    "typescript": ("return undefined as any;",),
    "php": ("return null;",),
    "rust": ("return Default::default();", "return;", "panic!();"),
}
_JAVA = {"void": "", "boolean": "false"} | dict.fromkeys(
    ("byte", "char", "double", "float", "int", "long", "short"), "0"
)
_PHP_RESULT = re.compile(r"\)[ \t]*:[^(){]*\Z")
_BASH_KEYWORD = re.compile(r"^([ \t]*)function[ \t]+([\w-]+)(?=\s*\{)", re.MULTILINE)


class NoStubError(Exception):
    """No stub of a solution can be made."""


def stubs(language: str, code: str, names: Sequence[str]) -> list[str]:
    """The solution without what its functions do, most wanted first.

    Args:
      language: as the sandbox names it.
      code: the solution.
      names: its functions and classes that tests use.

    Raises:
      NoStubError: one of them is not found.
    """
    if language == "python":
        return [without_bodies(code, names)]
    if language == "bash":
        return [_with_bodies(with_parentheses(code), names, "return 0;")]
    bodies = _BODIES[language]
    if language == "go":
        bodies = (*(("return ZERO",) if len(names) == 1 else ()), *bodies)
    return list(dict.fromkeys(_with_bodies(code, names, body) for body in bodies))


def with_parentheses(code: str) -> str:
    """Bash in which `function name {` is `name() {`."""
    return _BASH_KEYWORD.sub(r"\1\2()", code)


def without_bodies(source: str, names: Sequence[str]) -> str:
    """Python source with every function of the definitions `names` returning None at once.

    What other statements of it raise is caught.

    Raises:
      NoStubError: one of them is not defined at its top level.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    left = set(names)
    for target in tree.body:
        if isinstance(target, _DEFINITION) and target.name in names:
            left.discard(target.name)
            for node in ast.walk(target):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    docstring = ast.get_docstring(node, clean=False) is not None
                    node.body = [*node.body[: int(docstring)], ast.Return(ast.Constant(None))]
    if left:
        raise NoStubError(f"{', '.join(sorted(left))} not defined")
    # What a demonstration at the end raises, as it gets None, is no test that failed.
    tree.body = [_without_errors(statement) for statement in tree.body]
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _without_errors(statement: ast.stmt) -> ast.stmt:
    """The statement in a `try`; imports and docstrings stay where they have to stand."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return statement
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return statement
    caught = ast.ExceptHandler(ast.Name("BaseException"), None, [ast.Pass()])
    return ast.Try([statement], [caught], [], [])


def _with_bodies(code: str, names: Sequence[str], body: str) -> str:
    for name in names:
        start, old = definition_of(code, name), body_of(code, name)
        if start is None or old is None:
            raise NoStubError(f"no body of {name} found")
        opening = code.index("{", code.index(name, start))
        head = without_inert(code[start:opening])
        type_ = _type_before(head, name)
        filled = body.replace("TYPE", type_).replace("ZERO", _go_zero(head, name))
        filled = filled.replace("JAVA", _JAVA.get(type_, "null"))
        # Calls of a typed function would fail, whether or not tests look at the result.
        before = code[:opening]
        if body == _BODIES["php"][0] and (result := _PHP_RESULT.search(head)):
            before = code[: opening - len(head) + result.start()] + ")"
        code = before + " { " + filled + " }" + code[opening + len(old) :]
    return code


def _type_before(head: str, name: str) -> str:
    """The last word before a function's name: its type, in C# and Java."""
    words = re.sub(r"\s*([<>,\[\]?])\s*", r"\1", head[: head.rindex(name)]).split()
    return words[-1] if words else "object"


def _go_zero(head: str, name: str) -> str:
    """Zero values of what a Go function gives back."""
    parameters = _PARAMETERS.search(head, head.rindex(name))
    results = head[parameters.end() :].strip() if parameters else ""
    if not results:
        return ""
    if not results.startswith("("):
        return f"*new({results})"
    listed = [part.split() for part in results[1:-1].split(",")]
    # Named results have their zero values already.
    if any(len(words) > 1 and words[0] not in ("map", "func", "chan") for words in listed):
        return ""
    return ", ".join(f"*new({' '.join(words)})" for words in listed)
