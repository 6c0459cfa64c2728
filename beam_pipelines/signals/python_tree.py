"""The syntax tree of a Python text, and the few things that signals want of it.

Python's own parser is the floor: what is here walks statements, which are a tenth of the
nodes, and looks at all nodes only until it finds a variable. A tree of a megabyte is half a
million objects without a cycle, so the cyclic collector, which would go through them, and
through all else that the process holds, again and again, rests meanwhile.
"""

import ast
import contextlib
import gc
import warnings
from collections.abc import Iterator

# The size from which on the paper's rules drop a file of code anyhow. Half a million
# statements a megabyte, `x;x;x;`, become a tree of 0.9 GB.
MAX_CHARACTERS = 3_000_000

type Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = frozenset((ast.Module, ast.ClassDef, *FUNCTIONS))
# Where statements stand: no expression holds one.
_BODY_ONLY = (ast.With, ast.AsyncWith, ast.ExceptHandler, ast.match_case)
_BLOCKS: dict[type[ast.AST], tuple[str, ...]] = {
    **dict.fromkeys((*_DEFINITIONS, *_BODY_ONLY), ("body",)),
    **dict.fromkeys((ast.If, ast.For, ast.AsyncFor, ast.While), ("body", "orelse")),
    **dict.fromkeys((ast.Try, ast.TryStar), ("body", "handlers", "orelse", "finalbody")),
    ast.Match: ("cases",),
}


def parse_python(text: str) -> ast.Module | None:
    """The syntax tree; None where the text does not parse as Python, or is too long."""
    if len(text) > MAX_CHARACTERS:
        return None
    with warnings.catch_warnings(), _no_collection():
        warnings.simplefilter("ignore")  # Invalid escapes in the document are not ours.
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def nodes_of(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node, in the order of `ast.walk`, at a third of its time."""
    found: list[ast.AST] = [tree]
    for node in found:  # The list grows as it is read.
        yield node
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                found.append(value)
            elif isinstance(value, list):
                found.extend(entry for entry in value if isinstance(entry, ast.AST))


def definitions_of(tree: ast.Module) -> list[Definition]:
    """The module, its classes and functions, in the order of `ast.walk`."""
    blocks: list[ast.AST] = [tree]
    found: list[Definition] = []
    for node in blocks:
        if type(node) in _DEFINITIONS:
            found.append(node)  # type: ignore[arg-type]
        for name in _BLOCKS[type(node)]:
            blocks += [entry for entry in getattr(node, name) if type(entry) in _BLOCKS]
    return found


def binds_a_variable(tree: ast.Module) -> bool:
    """Whether any variable is assigned or any function has an argument."""
    # A function with an argument is the quickest found; few files have none.
    functions = (node for node in definitions_of(tree) if isinstance(node, FUNCTIONS))
    return any(map(_has_arguments, functions)) or any(
        isinstance(node, ast.arg)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        for node in nodes_of(tree)
    )


def _has_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    of = function.args
    return bool(of.args or of.posonlyargs or of.kwonlyargs or of.vararg or of.kwarg)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
