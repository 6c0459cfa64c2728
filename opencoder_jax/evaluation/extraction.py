"""From a model's answer to code: which block, which lines, which definitions.

Chat answers hold prose, several blocks, example calls and tests of their own. `fenced_code`
takes the block, `parsable_start` the whole lines that are Python, `sanitized` what the function
asked for needs. Sources are cut by lines and never written anew: comments, decorators and
async functions stay as the model wrote them. docs/evaluation.md says where this differs from
the released evaluator.
"""

import ast
import builtins
import re
import warnings
from collections.abc import Iterator, Sequence

# What opens a block may stand behind words; the language's name comes after it.
_OPENS = re.compile(r"([ \t]*+)(?:(~{3,})([^\n]*)|(?:(?!```).)*?(`{3,})([^`]*))$")
# As Python counts lines: form feeds and Unicode's separators are characters of one.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_NAMES = {
    "cpp": ("cpp", "c++", "cc", "cxx"),
    "csharp": ("csharp", "cs", "c#"),
    "javascript": ("javascript", "js", "node"),
    "typescript": ("typescript", "ts"),
    "python": ("python", "py", "python3"),
    "bash": ("bash", "sh", "shell"),
    "go": ("go", "golang"),
    "rust": ("rust", "rs"),
}
_CODE_LINE = re.compile(r"(?:def|class|async|import|from|@)\b|@")
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BRANCH = (ast.If, ast.Try, ast.With, ast.For, ast.While)


def fenced_code(text: str, wanted: str = "", language: str = "python") -> str:
    """The fenced block of a chat answer, closed or not; the whole text without one.

    Args:
      text: the answer.
      wanted: a word, such as a function's name, that the block should have.
      language: of the block that is preferred where several would do.

    Returns:
      The first block with `wanted` in it, else the first of that language, else the first.
    """
    blocks = fenced_blocks(text)
    if not blocks:
        return text
    has = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    tags = _NAMES.get(language, (language,))
    ranked = sorted(
        blocks,
        key=lambda block: (not (wanted and has.search(block[1])), block[0] not in tags),
    )
    return ranked[0][1]


def last_fenced_code(text: str) -> str:
    """The last fenced block of a chat answer, closed or not; nothing without one."""
    blocks = fenced_blocks(text)
    return blocks[-1][1] if blocks else ""


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block, as CommonMark reads them.

    A block ends at a fence of its own kind that is indented by less than four columns more
    than the block: one deeper is text, as in a docstring. Where no such fence comes, any of
    that kind ends it. A block inside a list loses the list's indentation.
    """
    lines = _lines(text)
    found: list[tuple[str, str]] = []
    number = 0
    while number < len(lines):
        opened = _OPENS.match(lines[number].rstrip("\r\n"))
        number += 1
        if opened:
            indent, fence = opened[1], opened[2] or opened[4]
            end = _block_end(lines, number, fence, len(indent.expandtabs(4)))
            code = "".join(line.removeprefix(indent) for line in lines[number:end])
            found.append(((opened[3] or opened[5] or "").strip().lower(), code))
            number = end + 1
    return found


def _block_end(lines: Sequence[str], start: int, fence: str, indent: int) -> int:
    """Number of the line that ends a block; one after the last where none does."""
    closes = re.compile(rf"[ \t]*{fence[0]}{{{len(fence)},}}")
    deeper = None
    for number in range(start, len(lines)):
        found = closes.match(lines[number])
        if not found:
            continue
        if len(found[0].rstrip(fence[0]).expandtabs(4)) < indent + 4:
            return number
        deeper = deeper or number
    return deeper or len(lines)


def parsable_start(before: str, text: str) -> str:
    """The longest run of whole lines from the start of `text` that parses after `before`.

    An answer that was cut at its token limit, or ends in prose, would be no program at
    all. Empty where not even the first line parses.
    """
    lines = _lines(text)
    first = len(_lines(before + "x")) - 1
    count = len(lines)
    while count > 0:
        start = "".join(lines[:count])
        try:
            _parsed(before + start)
            return start
        except _UNPARSABLE as error:
            # What is wrong in a line stays wrong whatever follows it.
            wrong = getattr(error, "lineno", None) or 0
            count = min(count, wrong - first if wrong > first else count) - 1
    return ""


def parsable_part(text: str) -> str:
    """The longest run of whole lines that parses and begins where code can begin.

    For an answer without a block, whose code stands between prose.
    """
    whole = parsable_start("", text)
    if whole.strip() == text.strip():
        return whole
    lines = _lines(text)
    starts = [n for n, line in enumerate(lines) if _CODE_LINE.match(line)]
    best = whole
    for start in starts:
        rest = "".join(lines[start:])
        if len(rest) <= len(best):
            break
        best = max(best, parsable_start("", rest), key=len)
    return best


def sanitized(answer: str, entry_point: str, tests: str = "") -> str:
    """The part of a chat answer that defines `entry_point`, as whole lines.

    Imports stay, and every definition and assignment that the entry point reaches through
    names; example calls, prints, assertions and `if __name__` blocks go. Where nothing
    defines the entry point, all that parses stays.

    Args:
      answer: all that the model wrote.
      entry_point: the function asked for.
      tests: code whose names are needed too, such as a class that the tests build.
    """
    code = fenced_code(answer, entry_point)
    code = parsable_part(code) if code == answer else parsable_start("", _outdented(code))
    return needed_part(code, entry_point, tests)


def needed_part(code: str, entry_point: str, tests: str = "") -> str:
    """The same of code that is known to be nothing else."""
    tree = parse(code)
    if tree is None:
        return code
    named = parse(tests) if tests else None
    keep = _reached(tree, entry_point, _used(named) if named else set())
    if keep is None:
        return code
    lines = _lines(code)
    chosen: set[int] = set()
    for statement in keep:
        first = min([statement.lineno, *_decorator_lines(statement)])
        while first > 1 and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        chosen.update(range(first - 1, statement.end_lineno or first))
    return _with_blank_lines(lines, chosen)


def parse(source: str) -> ast.Module | None:
    """The tree of Python source; None where it is none."""
    try:
        return _parsed(source)
    except _UNPARSABLE:
        return None


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        # Invalid escapes in what a model wrote are not this program's warnings.
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _lines(text: str) -> list[str]:
    """With their ends."""
    return _LINE.findall(text)


def _outdented(code: str) -> str:
    """Without the indentation of its first line, which a model gives a block in a list."""
    lines = _lines(code)
    written = next((line for line in lines if line.strip()), "")
    indent = written[: len(written) - len(written.lstrip())]
    return "".join(line.removeprefix(indent) for line in lines)


def _reached(tree: ast.Module, entry_point: str, also: set[str]) -> list[ast.stmt] | None:
    """Statements that stay; None where nothing defines the entry point."""
    bound = [set(_bound(statement)) for statement in tree.body]
    if not any(entry_point in names for names in bound):
        return None
    names = {entry_point} | also
    kept: set[int] = set()
    size = -1
    while len(kept) > size:
        size = len(kept)
        for number, statement in enumerate(tree.body):
            if number not in kept and (bound[number] & names or _changes(statement, names)):
                kept.add(number)
                names |= _used(statement)
    # Imports cost nothing, and one with a star binds what nobody sees here.
    return [
        statement
        for number, statement in enumerate(tree.body)
        if number in kept
        or isinstance(statement, ast.Import | ast.ImportFrom)
        or _raises_recursion_limit(statement)
    ]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement binds."""
    if isinstance(statement, _DEFINITION):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((a.asname or a.name).split(".")[0] for a in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.TypeAlias):
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
    elif isinstance(statement, _BRANCH) and not _is_main_block(statement):
        for inner in _inner(statement):
            yield from _bound(inner)


def _changes(statement: ast.stmt, names: set[str]) -> bool:
    """Whether it changes something reached: `memo[0] = 1`, `fib.cache = {}`, `memo.update(x)`.

    So does a loop or a branch with such a statement in it.
    """
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        targets = [statement.value.func]
    elif isinstance(statement, _BRANCH) and not _is_main_block(statement):
        return any(_changes(inner, names) for inner in _inner(statement))
    return any(isinstance(t, ast.Attribute | ast.Subscript) and _root(t) in names for t in targets)


def _inner(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Statements right inside a branch."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler):
            yield from child.body


def _raises_recursion_limit(statement: ast.stmt) -> bool:
    # Looked for without recursion, as a model's expressions are as deep as they like.
    return isinstance(statement, ast.Expr) and any(
        isinstance(node, ast.Name | ast.Attribute)
        and "setrecursionlimit" in (getattr(node, "id", ""), getattr(node, "attr", ""))
        for node in ast.walk(statement)
    )


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _is_main_block(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in {
        node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)
    }


def _decorator_lines(statement: ast.stmt) -> list[int]:
    return [d.lineno for d in getattr(statement, "decorator_list", ())]


def _with_blank_lines(lines: list[str], chosen: set[int]) -> str:
    """The chosen lines, and the blank ones between two of them."""
    out: list[str] = []
    for number, line in enumerate(lines):
        if number in chosen or (not line.strip() and out):
            out.append(line)
    return "".join(out).rstrip() + "\n" if out else ""


def entry_point_of(assertion: str) -> str:
    """The function that an assertion is about: `f` in `assert set(f(1)) == {1}`.

    The innermost first call of a bare name that is no builtin; empty where there is none.
    """
    tree = parse(assertion)
    calls = [
        node.func.id
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    own = [name for name in calls if not hasattr(builtins, name)]
    return (own or calls or [""])[0]
