"""Signals of C# alone: the `qsc_codecsharp_*` rules.

A method has a type and a name before its bracket, whatever its modifiers and type
arguments; constructors have no type and are not counted. Variables are fields, locals,
parameters and properties.
"""

import re

from beam_pipelines.signals.declarations import count, methods, share_of_lines, variables
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

_PRIMITIVE = "int|float|double|char|string|bool|byte|sbyte|short|ushort|uint|long|ulong|decimal"
_USING = re.compile(
    r"^[^\S\n]*+(?:global\s++)?using\s++(?:static\s++)?(?:\w++\s*+=\s*+)?[\w.]++\s*+;", re.MULTILINE
)
_CLASS = re.compile(r"\bclass\s++\w++")
_RETURN = re.compile(r"^[^\S\n]*+return\b(?:\s++[^;\n]++)?+\s*+;", re.MULTILINE)
_PLAIN_VARIABLE = re.compile(rf"\b(?:{_PRIMITIVE})\s++\w++\s*+;")
_PRINT = re.compile(r"\bConsole\.WriteLine\b")


@signal("qsc_codecsharp_frac_lines_func_ratio", "csharp")
def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    return share(len(document.once(methods)), document.num_code_lines)


@signal("qsc_codecsharp_cate_var_zero", "csharp")
def cate_var_zero(document: ParsedDocument) -> float:
    """Whether nothing is declared with a type and a name but methods and types."""
    return float(next(variables(document), None) is None)


@signal("qsc_codecsharp_score_lines_no_logic", "csharp")
def score_lines_no_logic(document: ParsedDocument) -> float | None:
    """Methods, `using`, classes, returns and uninitialised primitives of all lines."""
    counted = (_USING, _CLASS, _RETURN, _PLAIN_VARIABLE)
    lines = len(document.once(methods)) + sum(count(document, pattern) for pattern in counted)
    return share(lines, document.num_code_lines)


@signal("qsc_codecsharp_frac_lines_print", "csharp")
def frac_lines_print(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _PRINT)
