"""Signals of Python alone: the `qsc_codepython_*` rules (paper Table 12).

What needs the syntax tree is undefined (None) where the text does not parse; that it
does not is a signal of its own. `async def`, annotated assignments, `with` targets and
keyword-only arguments count like their plain forms.
"""

import ast

from beam_pipelines.signals.declarations import num_lines, share_of_lines, whole_word
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.python_tree import FUNCTIONS, binds_a_variable
from beam_pipelines.signals.registry import signal

_PASS, _IMPORT, _PRINT, _RETURN = map(whole_word, ("pass", "import", "print", "return"))


@signal("qsc_codepython_cate_ast", "python")
def cate_ast(document: ParsedDocument) -> float:
    """Whether the text parses."""
    return float(document.python_tree is not None)


@signal("qsc_codepython_frac_lines_func_ratio", "python")
def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    if document.python_tree is None:
        return None
    functions = sum(isinstance(node, FUNCTIONS) for node in document.python_definitions)
    return share(functions, document.num_code_lines)


@signal("qsc_codepython_cate_var_zero", "python")
def cate_var_zero(document: ParsedDocument) -> float | None:
    """Whether no variable is assigned and no function has an argument."""
    if document.python_tree is None:
        return None
    return float(not binds_a_variable(document.python_tree))


@signal("qsc_codepython_frac_lines_pass", "python")
def frac_lines_pass(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _PASS, of_nothing=0.0)


@signal("qsc_codepython_frac_lines_import", "python")
def frac_lines_import(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _IMPORT, of_nothing=0.0)


@signal("qsc_codepython_frac_lines_print", "python")
def frac_lines_print(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _PRINT)


@signal("qsc_codepython_frac_lines_simplefunc", "python")
def frac_lines_simplefunc(document: ParsedDocument) -> float | None:
    """Functions whose body is one `return`."""
    if document.python_tree is None:
        return None
    simple = sum(
        isinstance(node, FUNCTIONS) and len(node.body) == 1 and isinstance(node.body[0], ast.Return)
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
        definitions += isinstance(node, (*FUNCTIONS, ast.ClassDef))
        if isinstance(node, ast.ClassDef):
            attributes += sum(isinstance(entry, ast.Assign | ast.AnnAssign) for entry in node.body)
    lines = num_lines_without_logic(document.code)
    return share(definitions + attributes + lines, document.num_code_lines)


def num_lines_without_logic(code: str) -> int:
    """Lines with `import`, and those that begin with `return`."""
    lines = num_lines(code, _IMPORT)
    end = 0
    while match := _RETURN.search(code, end):
        start = code.rfind("\n", end, match.start()) + 1
        end = code.find("\n", match.end())
        if end == -1:
            end = len(code)
        if not code[start : match.start()].strip():
            lines += _IMPORT.search(code, match.end(), end) is None
    return lines
