"""The released definitions of language-specific signals, where ours deviate from them.

The second half of `released_definitions`: how the released filter counts functions,
imports and variables of C, C++, C#, Go, Java and JavaScript, so that `signal_parity` can
tell whether a value differs for that reason. Its patterns are restated, not copied;
JavaScript goes through its parser, esprima, which stops at ES2017.
"""

import re
from collections.abc import Callable

import esprima

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import SignalFunction
from benchmarks.released_definitions import (
    Deviation,
    code_lines,
    exchanged,
    lines_with,
    ours,
    share,
)

Counter = Callable[[ParsedDocument], int]


def _pattern(pattern: str) -> Counter:
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda document: sum(1 for _ in compiled.finditer(document.code))


def _of_lines(*counters: Counter) -> SignalFunction:
    """The sum of what is counted, of the code lines."""

    def function(document: ParsedDocument) -> float | None:
        return share(sum(c(document) for c in counters), len(code_lines(document)))

    return function


def _functions_alone(prefix: str, functions: Counter) -> dict[str, SignalFunction]:
    """Where the released functions are counted, and all else as here."""
    part, total = f"{prefix}_frac_lines_func_ratio", f"{prefix}_score_lines_no_logic"
    released = _of_lines(functions)
    return {part: released, total: exchanged(total, part, released)}


def _rest_alone(prefix: str, *rest: Counter) -> dict[str, SignalFunction]:
    """Functions as here, and all else that counts as no logic as released."""
    released = _of_lines(*rest)

    def function(document: ParsedDocument) -> float | None:
        of_functions = ours(f"{prefix}_frac_lines_func_ratio")(document)
        of_rest = released(document)
        return None if of_functions is None or of_rest is None else of_functions + of_rest

    return {f"{prefix}_score_lines_no_logic": function}


def _no_logic(prefix: str, *counters: Counter) -> dict[str, SignalFunction]:
    return {f"{prefix}_score_lines_no_logic": _of_lines(*counters)}


_C = ("qsc_codec", "qsc_codecpp")
_CSHARP, _GO, _JAVA = "qsc_codecsharp", "qsc_codego", "qsc_codejava"
_JAVASCRIPT = "qsc_codejavascript"

_BLANKS = r"(?:\s+|\s*\*+\s+)"
_C_FUNCTIONS = _pattern(
    rf"\b(?:[a-zA-Z_]\w*{_BLANKS})+\*?\s*[a-zA-Z_]\w*\([^)]*\)\s*",
)
_C_REST = _pattern(
    r"^\s*#\s*include\s+[\"<][^\">]+[\">]|^\s*class\s+\w+\s*(?::[^{]*)?\{"
    r"|^\s*(?:unsigned\s+)?(?:int|float|double|char|bool|std::string|auto)\s+\w+\s*;"
    r"|^\s*return\s*(?:(?:\w+|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')\s*)?;\s*$"
)
_C_VARIABLES = _pattern(
    r"\b\w+(?:\s+\w+)?\s+\**\s*[\w\[\]]+\s*(?:=[^;]*)?(?:,\s*\**\s*[\w\[\]]+\s*(?:=[^;]*)?)*\s*;"
)
_C_DIRECTIVE = re.compile(
    r"#\s*(?:include|define|if|else|elif|endif|error|pragma|warning|undef|line)|struct|using"
)
_JAVA_FUNCTION = (
    r"^\s*((?:(?:public|protected|private|static)\s+)*"
    r"(?!\s*(?:public|private|protected|else|if))(?:<\w+>)?\s*\w+\s+\w+\s*\([^)]*\)"
    r"(?:\s*throws\s+[\w, ]+)?)"
)
_JAVA_CLASS = (
    r"^\s*((?:public\s+|protected\s+|private\s+)?(?:final\s+|abstract\s+)?class\s+[\w<>]+)"
)
_JAVA_VARIABLE = (
    r"^\s*((?:(?:public|protected|private|final|static)\s+)*"
    r"(?:int|float|boolean|char|double|String|[A-Z][\w<>]*)\s+\w+\s*(?:\s*=\s*[^;]+)?;)"
)
_JAVA_REST = (
    _pattern(r"^\s*import\s+[\w.*]+\s*;\s*$"),
    _pattern(
        r"^\s*(?:(?:public|protected|private|final|static)\s+)*"
        r"(?:int|float|boolean|char|double|String|[A-Z][\w<>]*)\s+\w+\s*;"
    ),
    _pattern(r"^\s*return(?:;|\s+(?:\w*|\"[^\"\\]*(?:\\.[^\"\\]*)*\")\s*;\s*)$"),
    _pattern(_JAVA_CLASS),
)
_CSHARP_FUNCTIONS = _pattern(
    r"^\s*(?:(?:public|protected|private|internal)\s+)?"
    r"(?:(?:static|virtual|override|abstract|async)\s+)?"
    r"(?!\s*(?:public|private|protected|if|else))(?:<\w+>)?\s*\w+\s+\w+\s*\([^)]*\)"
)
_CSHARP_REST = (
    _pattern(r"^\s*using\s+[a-zA-Z0-9_.]+\s*;"),
    _pattern(r"\bclass\s+\w+"),
    _pattern(r"^\s*return\b(?:\s+[^;\n]+)?\s*;"),
    _pattern(
        r"\b(?:int|float|double|char|string|bool|s?byte|u?short|u?int|u?long|decimal)\s+\w+\s*;"
    ),
)
_GO_FUNCTIONS = _pattern(
    r"^func\s+(?:\(\s*\w+\s+\*?\w+\s*\))?\s*\w+\s*\([^)]*\)\s*(?:\([^)]+\)|[\w\[\]]+)?\s*"
)
_GO_REST = (
    _pattern(r'^[^\S\n]*(?:import\s+"[^"\n]+"|import \()[^\S\n]*$'),
    _pattern(r"^\s*type\s+\w+\s+(?:struct|interface)\s*\{[^}]*\}"),
    _pattern(r"^\s*return(?:\s+[^;\n]+)?\s*;?\s*$"),
    _pattern(r"^\s*var\s+\w+\s+\w+\s*;?\s*$"),
)


def _second_letters(pattern: str, form: str) -> SignalFunction:
    """The released filter looks at the second letter of what it found, not at the name."""

    def function(document: ParsedDocument) -> float | None:
        found = [
            m if isinstance(m, str) else m[0] for m in re.findall(pattern, document.code, re.M)
        ]
        legal = sum(re.match(form, text[1]) is not None for text in found)
        return share(legal, len(found))

    return function


def _class_names(document: ParsedDocument) -> float | None:
    """Of classes it has the name apart, so that its second entry is the name, as meant."""
    pattern = _JAVA_CLASS.replace(r"[\w<>]+)", r"([\w<>]+))")
    found = re.findall(pattern, document.code, re.M)
    legal = sum(re.match(r"^[A-Z][a-zA-Z0-9]*$", name) is not None for _, name in found)
    return share(legal, len(found))


def _with_modifier(document: ParsedDocument) -> float | None:
    """Functions alone have some: a class is looked up in a pair, where no entry is `public`."""
    functions = re.findall(_JAVA_FUNCTION, document.code, re.M)
    marked = sum(any(m in text for m in ("public", "protected", "private")) for text in functions)
    return share(marked, len(functions) + len(re.findall(_JAVA_CLASS, document.code, re.M)))


def _none(counter: Counter) -> SignalFunction:
    return lambda document: float(counter(document) == 0)


def _directives(name: str) -> SignalFunction:
    def function(document: ParsedDocument) -> float | None:
        if ours(name)(document) is None:
            return None  # A header.
        lines = code_lines(document)
        return share(sum(_C_DIRECTIVE.search(line) is not None for line in lines), len(lines))

    return function


def _parsed_by_esprima(document: ParsedDocument) -> bool:
    text = document.text
    parsers = [esprima.parseScript]
    if "import" in text or "export" in text:
        parsers.insert(0, esprima.parseModule)
    for parse in parsers:
        try:
            parse(text)
        except esprima.Error:
            continue
        return True
    return False


def _by_esprima(otherwise: float | None, function: SignalFunction) -> SignalFunction:
    """`function` of a text that esprima parses, `otherwise` of one that it does not."""
    return lambda document: function(document) if document.once(_parsed_by_esprima) else otherwise


def _declared_by_name(document: ParsedDocument) -> float | None:
    """Whether no variable has the kind of name that a share of ours is of."""
    if not ours(f"{_JAVASCRIPT}_cate_ast")(document):
        return None
    return float(ours(f"{_JAVASCRIPT}_frac_words_legal_var_name")(document) is None)


LANGUAGE_DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "C: functions",
        "calls after `return` or `else`, macros and directives are functions; methods outside "
        "their class, several stars and references are none",
        "a type before a name and a bracket",
        functions={
            name: function
            for prefix in _C
            for name, function in _functions_alone(prefix, _C_FUNCTIONS).items()
        },
    ),
    Deviation(
        "C: includes, classes, returns",
        "`#include<x>` is no include",
        "it is one",
        functions={
            name: function
            for prefix in _C
            for name, function in _rest_alone(prefix, _C_REST).items()
        },
    ),
    Deviation(
        "C: functions and the rest",
        functions={
            name: function
            for prefix in _C
            for name, function in _no_logic(prefix, _C_FUNCTIONS, _C_REST).items()
        },
        parts=("C: functions", "C: includes, classes, returns"),
    ),
    Deviation(
        "C: words",
        '"goto", "printf", "cout", "struct" and "using" as parts of words; `sprintf` prints',
        "whole words; `printf` to a stream",
        functions={
            "qsc_codec_frac_lines_goto": lines_with("goto"),
            "qsc_codecpp_frac_lines_goto": lines_with("goto"),
            "qsc_codec_frac_lines_print": lines_with("printf"),
            "qsc_codecpp_frac_lines_print": lines_with("printf", "cout"),
            **{
                f"{prefix}_frac_lines_preprocessor_directives": _directives(
                    f"{prefix}_frac_lines_preprocessor_directives"
                )
                for prefix in _C
            },
        },
    ),
    Deviation(
        "C: variables",
        "`return x;` declares one",
        "it does not",
        functions={f"{prefix}_cate_var_zero": _none(_C_VARIABLES) for prefix in _C},
    ),
    Deviation(
        "C#: methods and usings",
        "`new X(...)` and `return f(...)` are methods, those with a generic type none",
        "a type and a name before a bracket; `using static` and aliases count",
        functions={
            f"{_CSHARP}_frac_lines_func_ratio": _of_lines(_CSHARP_FUNCTIONS),
            **_no_logic(_CSHARP, _CSHARP_FUNCTIONS, *_CSHARP_REST),
        },
    ),
    Deviation(
        "C#, Go: variables",
        "the rule on files without variables never fires: a list is compared with 0",
        "it does; parameters are variables",
        functions={
            f"{_CSHARP}_cate_var_zero": lambda d: 0.0,
            f"{_GO}_cate_var_zero": lambda d: 0.0,
        },
    ),
    Deviation(
        "C#, Go, Java: words",
        "`Console.WriteLine`, `fmt.Print` and `System.out.print` as parts of names",
        "whole names",
        functions={
            f"{_CSHARP}_frac_lines_print": lines_with("Console.WriteLine"),
            f"{_GO}_frac_lines_print": lines_with("fmt.Print"),
            f"{_JAVA}_frac_lines_print": lines_with("System.out.print"),
        },
    ),
    Deviation(
        "Go: functions",
        "receivers without a name and functions with type parameters are not seen",
        "they count",
        functions=_functions_alone(_GO, _GO_FUNCTIONS),
    ),
    Deviation(
        "Go: imports",
        "an import block is one line, an import with a name none",
        "every line of it",
        functions=_rest_alone(_GO, *_GO_REST),
    ),
    Deviation(
        "Go: functions and imports",
        functions=_no_logic(_GO, _GO_FUNCTIONS, *_GO_REST),
        parts=("Go: functions", "Go: imports"),
    ),
    Deviation(
        "Java: methods",
        "`return f(...)` and `new X(...)` are methods; those with a generic, array or qualified "
        "type, `final` or `synchronized` are none",
        "a type and a name before a bracket",
        functions=_functions_alone(_JAVA, _pattern(_JAVA_FUNCTION)),
    ),
    Deviation(
        "Java: imports, classes, variables",
        'static imports, static classes, long and generic types are not seen by "no logic"',
        "they count",
        functions=_rest_alone(_JAVA, *_JAVA_REST),
    ),
    Deviation(
        "Java: methods and the rest",
        functions=_no_logic(_JAVA, _pattern(_JAVA_FUNCTION), *_JAVA_REST),
        parts=("Java: methods", "Java: imports, classes, variables"),
    ),
    Deviation(
        "Java: variables",
        "a variable is a line `Type name;` or `Type name = ...;` of few types",
        "fields, locals and parameters of every type",
        functions={f"{_JAVA}_cate_var_zero": _none(_pattern(_JAVA_VARIABLE))},
    ),
    Deviation(
        "Java: names",
        "the second letter of the found text is judged; `no_modifier` counts those with one",
        "the name; those without",
        functions={
            f"{_JAVA}_frac_words_no_modifier": _with_modifier,
            f"{_JAVA}_frac_words_legal_var_name": _second_letters(
                _JAVA_VARIABLE, r"^[a-z][a-zA-Z0-9]*$"
            ),
            f"{_JAVA}_frac_words_legal_func_name": _second_letters(
                _JAVA_FUNCTION, r"^[a-zA-Z][a-zA-Z0-9]*$"
            ),
            f"{_JAVA}_frac_words_legal_class_name": _class_names,
        },
    ),
    Deviation(
        "JavaScript: parser",
        "esprima stops at ES2017: JSX, optional chaining, class fields do not parse",
        "the language as it is",
        functions={
            f"{_JAVASCRIPT}_{name}": _by_esprima(otherwise, ours(f"{_JAVASCRIPT}_{name}"))
            for name, otherwise in (
                ("cate_ast", 0.0),
                ("cate_var_zero", None),
                ("frac_lines_func_ratio", None),
                ("num_statement_line", None),
                ("score_lines_no_logic", None),
                ("frac_words_legal_var_name", None),
                ("frac_words_legal_func_name", None),
                ("frac_words_legal_class_name", None),
            )
        },
    ),
    Deviation(
        "JavaScript: variables",
        "declared by a plain name, or `module.exports.x`",
        "parameters, patterns, fields and assignments too",
        functions={f"{_JAVASCRIPT}_cate_var_zero": _declared_by_name},
    ),
    Deviation(
        "JavaScript: parser and variables",
        functions={f"{_JAVASCRIPT}_cate_var_zero": _by_esprima(None, _declared_by_name)},
        parts=("JavaScript: parser", "JavaScript: variables"),
    ),
)
