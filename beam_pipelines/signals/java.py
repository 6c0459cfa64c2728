"""Signals of Java alone: the `qsc_codejava_*` rules.

A method has a type and a name before its bracket; constructors have no type and are not
counted. Variables are fields, locals and parameters of any type, those of lambdas too: an
interface whose methods take arguments has some. Shares of names are undefined where there are none.
"""

import re

from beam_pipelines.signals.declarations import (
    after_newline,
    count_lines,
    methods,
    share_of_lines,
    variables,
    without_strings,
)
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import signal

_ACCESS = re.compile(r"\b(?:public|protected|private)\b")
_IMPORT = re.compile(r"\n[^\S\n]*+import\s++(?:static\s++)?[\w.*]++\s*+;")
_CLASS = re.compile(
    r"\n[^\S\n]*+((?:(?:public|protected|private|static|final|abstract|sealed|strictfp)\s++)*+)"
    r"class\s++(\w++)"
)
_PLAIN_VARIABLE = re.compile(
    r"\n[^\S\n]*+(?:(?:public|protected|private|static|final|volatile|transient)\s++)*+"
    r"(?:int|long|short|byte|float|double|boolean|char|[A-Z][\w.]*+(?:<[\w<>.,?& \t]*>)?)"
    r"(?:\[\])*+[ \t]++\w++\s*+;"
)
_PLAIN_RETURN = re.compile(
    r'\n[^\S\n]*+return(?:\s++(?:\w++|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"))?+\s*+;\s*?$', re.MULTILINE
)
# A lambda's parameter has a name alone; an arrow behind `case` is none.
_LAMBDA = re.compile(
    r"^(?![^\S\n]*+(?:case|default)\b)[^\n]*?\w[^\S\n]*+(?:\)[^\S\n]*+)?->", re.MULTILINE
)
_PRINT = re.compile(r"System\.out\.print(?<=\bSystem\.out\.print)(?:ln|f)?\b")
_VARIABLE_NAME = re.compile(r"[a-z][a-zA-Z0-9]*")
_METHOD_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")
_CLASS_NAME = re.compile(r"[A-Z][a-zA-Z0-9]*")


@signal("qsc_codejava_cate_var_zero", "java")
def cate_var_zero(document: ParsedDocument) -> float:
    """Whether there is no field, local variable or parameter."""
    if next(variables(document), None) is not None:
        return 0.0
    return float(_LAMBDA.search(document.once(without_strings)) is None)


@signal("qsc_codejava_frac_lines_func_ratio", "java")
def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    return share(len(document.once(methods)), document.num_code_lines)


@signal("qsc_codejava_score_lines_no_logic", "java")
def score_lines_no_logic(document: ParsedDocument) -> float | None:
    """Methods, imports, classes, uninitialised variables and plain returns of all lines."""
    lines = len(document.once(methods)) + len(document.once(_classes))
    counted = (_IMPORT, _PLAIN_VARIABLE, _PLAIN_RETURN)
    lines += sum(count_lines(document, pattern) for pattern in counted)
    return share(lines, document.num_code_lines)


@signal("qsc_codejava_frac_words_no_modifier", "java")
def frac_words_no_modifier(document: ParsedDocument) -> float | None:
    """Methods and classes without `public`, `protected` or `private`."""
    before = [before for before, _ in document.once(methods)]
    before += [before for before, _ in document.once(_classes)]
    return share(sum(_ACCESS.search(text) is None for text in before), len(before))


@signal("qsc_codejava_frac_words_legal_var_name", "java")
def frac_words_legal_var_name(document: ParsedDocument) -> float | None:
    return _share_of_names(list(variables(document)), _VARIABLE_NAME)


@signal("qsc_codejava_frac_words_legal_func_name", "java")
def frac_words_legal_func_name(document: ParsedDocument) -> float | None:
    return _share_of_names([name for _, name in document.once(methods)], _METHOD_NAME)


@signal("qsc_codejava_frac_words_legal_class_name", "java")
def frac_words_legal_class_name(document: ParsedDocument) -> float | None:
    return _share_of_names([name for _, name in document.once(_classes)], _CLASS_NAME)


@signal("qsc_codejava_frac_lines_print", "java")
def frac_lines_print(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _PRINT)


def _classes(document: ParsedDocument) -> list[tuple[str, str]]:
    """(modifiers, name) of every class that begins a line."""
    return _CLASS.findall(document.once(after_newline))


def _share_of_names(names: list[str], form: re.Pattern[str]) -> float | None:
    return share(sum(form.fullmatch(name) is not None for name in names), len(names))
