"""Signals of Python alone: the `qsc_codepython_*` rules (paper Table 12).

What needs the syntax tree is undefined (None) where the text does not parse; that it
does not is a signal of its own. `async def`, annotated assignments, `with` targets and
keyword-only arguments count like their plain forms.
"""

import ast
import re

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_RETURN = re.compile(r"\s*return\b")
_WORDS = {word: re.compile(rf"\b{word}\b") for word in ("pass", "import", "print")}


@signal("qsc_codepython_cate_ast", "python")
def cate_ast(document: ParsedDocument) -> float:
    """Whether the text parses."""
    return float(document.python_tree is not None)


@signal("qsc_codepython_frac_lines_func_ratio", "python")
def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    if document.python_tree is None:
        return None
    functions = sum(isinstance(node, _FUNCTIONS) for node in document.python_definitions)
    return share(functions, document.num_code_lines)


@signal("qsc_codepython_cate_var_zero", "python")
def cate_var_zero(document: ParsedDocument) -> float | None:
    """Whether no variable is assigned and no function has an argument."""
    if document.python_tree is None:
        return None
    variable = any(
        isinstance(node, ast.arg)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        for node in document.python_nodes
    )
    return float(not variable)


@signal("qsc_codepython_frac_lines_pass", "python")
def frac_lines_pass(document: ParsedDocument) -> float | None:
    return _share_of_lines(document, "pass", of_nothing=0.0)


@signal("qsc_codepython_frac_lines_import", "python")
def frac_lines_import(document: ParsedDocument) -> float | None:
    return _share_of_lines(document, "import", of_nothing=0.0)


@signal("qsc_codepython_frac_lines_print", "python")
def frac_lines_print(document: ParsedDocument) -> float | None:
    return _share_of_lines(document, "print")


@signal("qsc_codepython_frac_lines_simplefunc", "python")
def frac_lines_simplefunc(document: ParsedDocument) -> float | None:
    """Functions whose body is one `return`."""
    if document.python_tree is None:
        return None
    simple = sum(
        isinstance(node, _FUNCTIONS)
        and len(node.body) == 1
        and isinstance(node.body[0], ast.Return)
        for node in document.python_definitions
    )
    return share(simple, document.num_code_lines)


@signal("qsc_codepython_score_lines_no_logic", "python")
def score_lines_no_logic(document: ParsedDocument) -> float | None:
    """Definitions, imports, returns and class attributes of all lines."""
    if document.python_tree is None:
        return None
    definitions = attributes = 0
    for node in document.python_definitions:
        definitions += isinstance(node, (*_FUNCTIONS, ast.ClassDef))
        if isinstance(node, ast.ClassDef):
            attributes += sum(isinstance(entry, ast.Assign | ast.AnnAssign) for entry in node.body)
    lines = sum(
        _has_word(line, "import") or ("return" in line and _RETURN.match(line) is not None)
        for line in document.code_lines
    )
    return share(definitions + attributes + lines, document.num_code_lines)


def _share_of_lines(
    document: ParsedDocument, word: str, of_nothing: float | None = None
) -> float | None:
    lines = sum(_has_word(line, word) for line in document.code_lines)
    return share(lines, document.num_code_lines, of_nothing)


def _has_word(line: str, word: str) -> bool:
    # Few lines hold the letters, and looking for those is far cheaper than for the word.
    return word in line and _WORDS[word].search(line) is not None
