"""Signals of C and C++: the `qsc_codec_*` and `qsc_codecpp_*` rules, the same eight twice.

A function is declared where a type stands before a name and a bracket: definitions and
prototypes, methods outside their class too; calls, macros, preprocessor lines and objects
made of arguments (`Lock lock(&mutex)`) are none. The languages differ in how they print.
"""

import itertools
import re

from beam_pipelines.signals.declarations import (
    count,
    count_lines,
    is_bracket_word,
    is_statement_word,
    share_of_lines,
    whole_word,
    without_strings,
)
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share
from beam_pipelines.signals.registry import add_signal

PREFIXES = {"c": "qsc_codec", "cpp": "qsc_codecpp"}
_HEADERS = (".h", ".hpp", ".hxx", ".hh", ".h++")
_BITS_WINDOW = 200

# A type, perhaps the end of its arguments; pointers; a name. `a && f(` and `a & f(` are calls.
# Two patterns, as no text matches both: each begins with what `re` can look for.
_NAMED = (
    r"(?:\s*+\*[*\s]*+|&{1,2}[^\S\n]++|[^\S\n]++&{1,2}(?!\s)|\s++)"
    r"((?:[A-Za-z_]\w*+(?:<[\w, ]*+>)?::)*+~?\w++)\("
)
# What no parameter begins with: a literal, an operator, a member, a call.
_ARGUMENT = re.compile(
    r"""\s*+(?:["'\d!~{&*-]|(?:this|nullptr|true|false)\b|\w[\w:]*+(?:\.(?!\.)|->|\((?!\s*+[*^])))"""
)
_FUNCTION = re.compile(r"([A-Za-z_](?<=\b.)\w*+)" + _NAMED)
_GENERIC_FUNCTION = re.compile(r"(>)(?<=\w>)" + _NAMED)
_VARIABLE = re.compile(
    r"\b([A-Za-z_]\w*+)(?:\s*+[*&]++\s*+|\s++)\w++(?:\s*+\[[^\]\n]{0,200}+\])*+"
    r"(?:\s*+,\s*+\**+\w++)*+\s*+(?:=(?!=)|;)"
)
_MAIN = re.compile(r"main(?<=\bmain)\s*+\([^()]*+\)\s*+\{")
_GOTO = whole_word("goto")
_INCLUDE = re.compile(r'\n[^\S\n]*+#\s*+include\s*+["<][^">\n]++[">]')
_CLASS = re.compile(r"\n[^\S\n]*+class\s++\w++\s*+(?::[^{;]{0,500})?\{")
_PLAIN_VARIABLE = re.compile(
    r"\n[^\S\n]*+(?:unsigned\s++)?(?:int|float|double|char|bool|std::string|auto)\s++\w++\s*+;"
)
_PLAIN_RETURN = re.compile(
    r"""\n[^\S\n]*+return\s*+(?:\w++|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+')?+"""
    r"\s*+;\s*?$",
    re.MULTILINE,
)
_DIRECTIVE = re.compile(
    r"[#su](?:"
    r"(?<=#)[^\S\n]*+(?:include|define|if|else|elif|endif|error|pragma|warning|undef|line)"
    r"|(?<=\bs)truct\b|(?<=\bu)sing\b)"
)
_PRINTF = ("printf", "fprintf", "vprintf", "vfprintf")
_PRINT = {
    "c": whole_word(*_PRINTF),
    "cpp": re.compile(
        rf"(?:cout|printf)(?:{'|'.join(rf'(?<=\b{w})' for w in ('cout', *_PRINTF))})\b"
    ),
}


def frac_lines_func_ratio(document: ParsedDocument) -> float | None:
    """Function declarations, with a body or without."""
    return share(document.once(_num_functions), document.num_code_lines)


def cate_bitsstdc(document: ParsedDocument) -> float:
    """Whether the header of everything stands at the beginning of the code."""
    return float("bits/stdc++.h" in document.code.strip()[:_BITS_WINDOW].lower())


def nums_lines_main(document: ParsedDocument) -> float:
    return count(document, _MAIN)


def frac_lines_goto(document: ParsedDocument) -> float | None:
    return share_of_lines(document, _GOTO)


def cate_var_zero(document: ParsedDocument) -> float:
    """Whether no variable is declared; parameters are none here."""
    names = _VARIABLE.finditer(document.once(without_strings))
    return float(not any(not is_statement_word(match[1]) for match in names))


def score_lines_no_logic(document: ParsedDocument) -> float | None:
    """Functions, includes, classes, uninitialised variables and plain returns of all lines."""
    counted = (_INCLUDE, _CLASS, _PLAIN_VARIABLE, _PLAIN_RETURN)
    lines = document.once(_num_functions)
    lines += sum(count_lines(document, pattern) for pattern in counted)
    return share(lines, document.num_code_lines)


def frac_lines_preprocessor_directives(document: ParsedDocument) -> float | None:
    """Lines with a directive, `struct` or `using`; undefined for headers."""
    if document.path.lower().endswith(_HEADERS):
        return None
    return share_of_lines(document, _DIRECTIVE)


def frac_lines_print(document: ParsedDocument) -> float | None:
    """`printf` to a stream, in C++ `cout` too; printing into a string is none."""
    return share_of_lines(document, _PRINT[document.language])


def _num_functions(document: ParsedDocument) -> int:
    code = document.once(without_strings)
    found = 0
    for match in itertools.chain(_FUNCTION.finditer(code), _GENERIC_FUNCTION.finditer(code)):
        if is_statement_word(match[1]) or is_bracket_word(match[2]):
            continue
        if _ARGUMENT.match(code, match.end()):
            continue
        between = code[match.end(1) : match.start(2)]
        if "\n" in between:
            line = code[code.rfind("\n", 0, match.start()) + 1 : match.start()]
            if line.lstrip().startswith("#"):
                continue  # A directive ends with its line; the next one is a call.
        found += 1
    return found


for _language, _prefix in PREFIXES.items():
    for _function in (
        frac_lines_func_ratio,
        cate_bitsstdc,
        nums_lines_main,
        frac_lines_goto,
        cate_var_zero,
        score_lines_no_logic,
        frac_lines_preprocessor_directives,
        frac_lines_print,
    ):
        add_signal(f"{_prefix}_{_function.__name__}", _language, _function)
