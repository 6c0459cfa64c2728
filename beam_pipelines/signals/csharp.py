"""Signals of C# alone: the `qsc_codecsharp_*` rules.

A method has a type and a name before its bracket, whatever its modifiers and type
arguments; constructors have no type and are not counted. Variables are fields, locals,
parameters and properties.
"""

import re

from beam_pipelines.signals.declarations import (
    count,
    count_lines,
    methods,
    share_of_lines,
    variables,
    whole_word,
)
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

# After their first letters, which `re` can look for.
_PRIMITIVES = "|".join(
    rf"(?<={word[0]}){word[1:]}"
    for word in (
        *("int", "float", "double", "char", "string", "bool", "byte", "sbyte", "short", "ushort"),
        *("uint", "long", "ulong", "decimal"),
    )
)
_USING = re.compile(
    r"\n[^\S\n]*+(?:global\s++)?using\s++(?:static\s++)?(?:\w++\s*+=\s*+)?[\w.]++\s*+;"
)
_CLASS = re.compile(r"class(?<=\bclass)\s++\w++")
_RETURN = re.compile(r"\n[^\S\n]*+return\b(?:\s++[^;\n]++)?+\s*+;")
_PLAIN_VARIABLE = re.compile(rf"[bcdfilsu](?<=\b.)(?:{_PRIMITIVES})\s++\w++\s*+;")
_PRINT = whole_word("Console.WriteLine")


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
    lines = len(document.once(methods))
    lines += sum(count(document, pattern) for pattern in (_CLASS, _PLAIN_VARIABLE))
    lines += sum(count_lines(document, pattern) for pattern in (_USING, _RETURN))
    return share(lines, document.num_code_lines)


@signal("qsc_codecsharp_frac_lines_print", "csharp")
def frac_lines_print(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _PRINT)
