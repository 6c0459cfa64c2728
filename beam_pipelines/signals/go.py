"""Signals of Go alone: the `qsc_codego_*` rules.

Every line of an import block is an import; methods with any receiver and functions with
type parameters count. Variables are declared ones, constants, fields and parameters.
"""

import re

from beam_pipelines.signals.declarations import after_newline, count_lines, share_of_lines
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

_FUNCTION = re.compile(r"\nfunc\s++(?:\([^()\n]*+\)\s*+)?\w++\s*+[\[(]")
_IMPORT = re.compile(r'\nimport\s++(?:[\w.]++\s++)?["`]')
_IMPORT_BLOCK = re.compile(r"\n(import\s*+\([^)]*+\)?)")
_TYPE_BLOCK = re.compile(r"\n[^\S\n]*+type\s++\w++(?:\[[^\]\n]*+\])?\s++(?:struct|interface)\s*+\{")
_RETURN = re.compile(r"\n[^\S\n]*+return(?:[^\S\n]++[^;\n]++)?+[^\S\n]*+;?[^\S\n]*+$", re.MULTILINE)
_PLAIN_VARIABLE = re.compile(
    r"\n[^\S\n]*+var[^\S\n]++\w++[^\S\n]++\w++[^\S\n]*+;?[^\S\n]*+$", re.MULTILINE
)
_VARIABLE = re.compile(
    r":=|^[^\S\n]*+(?:var|const)\b"
    r"|^func\s++(?:\([^()\n]*+\)\s*+)?\w++(?:\[[^\]\n]*+\])?\(\s*+\w"
    r"|^[^\S\n]++\w++\(\s*+\w++(?:,\s*+\w++)*+\s++[\w*\[.]"  # A method of an interface.
    r"|\bstruct\s*+\{\s*+[\w*]",
    re.MULTILINE,
)
_PRINT = re.compile(r"fmt\.Print(?<=\bfmt\.Print)(?:ln|f)?\b")


@signal("qsc_codego_cate_testfile", "go")
def cate_testfile(document: ParsedDocument) -> float:
    return float(document.path.lower().endswith("_test.go"))


@signal("qsc_codego_frac_lines_func_ratio", "go")
def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    """Functions and methods with a name."""
    return share(document.once(_num_functions), document.num_code_lines)


@signal("qsc_codego_cate_var_zero", "go")
def cate_var_zero(document: ParsedDocument) -> float:
    """Whether there is no variable, constant, field or parameter."""
    return float(_VARIABLE.search(document.code) is None)


@signal("qsc_codego_score_lines_no_logic", "go")
def score_lines_no_logic(document: ParsedDocument) -> float | None:
    """Functions, imports, struct and interface types, returns, plain variables of all lines."""
    lines = num_imports(document) + document.once(_num_functions)
    counted = (_TYPE_BLOCK, _RETURN, _PLAIN_VARIABLE)
    lines += sum(count_lines(document, pattern) for pattern in counted)
    return share(lines, document.num_code_lines)


def num_imports(document: ParsedDocument) -> int:
    """Lines of imports, those with the brackets of a block too."""
    blocks = _IMPORT_BLOCK.findall(document.once(after_newline))
    lines = [line for block in blocks for line in block.split("\n")]
    return count_lines(document, _IMPORT) + sum(bool(line.strip()) for line in lines)


def _num_functions(document: ParsedDocument) -> int:
    return count_lines(document, _FUNCTION)


@signal("qsc_codego_frac_lines_print", "go")
def frac_lines_print(document: ParsedDocument) -> float | None:
    """To standard output."""
    return share_of_lines(document, _PRINT)
