"""The released definitions of language-specific signals, where ours deviate from them.

The second half of `released_definitions`: how the released filter counts functions,
imports and variables of C, C++, C#, Go, Java and JavaScript, so that `signal_parity` can
tell whether a value differs for that reason. Its patterns are restated, not copied;
JavaScript goes through its parser, esprima, which stops at ES2017.
"""

import re
from collections.abc import Callable

import esprima

from beam_pipelines.signals import c_family, csharp, go, java, javascript
from beam_pipelines.signals.declarations import count
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import SignalFunction
from benchmarks.released_definitions import Deviation, code_lines, lines_with, share

Counter = Callable[[ParsedDocument], int]


def _pattern(pattern: str) -> Counter:
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda document: sum(1 for _ in compiled.finditer(document.code))


def _of_lines(*counters: Counter) -> SignalFunction:
    """The sum of what is counted, of the code lines."""

    def function(document: ParsedDocument) -> float | None:
        return share(sum(c(document) for c in counters), len(code_lines(document)))

    return function


def _ours(*patterns: re.Pattern[str]) -> Counter:
    return lambda document: sum(count(document, pattern) for pattern in patterns)


_BLANKS = r"(?:\s+|\s*\*+\s+)"
_C_FUNCTIONS = _pattern(
    rf"\b(?:[a-zA-Z_]\w*{_BLANKS})+\*?\s*[a-zA-Z_]\w*\([^)]*\)\s*",
)
_C_REST = _pattern(
    r"^\s*#\s*include\s+[\"<][^\">]+[\">]|^\s*class\s+\w+\s*(?::[^{]*)?\{"
    r"|^\s*(?:unsigned\s+)?(?:int|float|double|char|bool|std::string|auto)\s+\w+\s*;"
    r"|^\s*return\s*(?:(?:\w+|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')\s*)?;\s*$"
)
_C_OURS = _ours(
    c_family._INCLUDE, c_family._CLASS, c_family._PLAIN_VARIABLE, c_family._PLAIN_RETURN
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
_JAVA_OURS = _ours(java._IMPORT, java._CLASS, java._PLAIN_VARIABLE, java._PLAIN_RETURN)
_CSHARP_FUNCTIONS = _pattern(
    r"^\s*(?:(?:public|protected|private|internal)\s+)?"
    r"(?:(?:static|virtual|override|abstract|async)\s+)?"
    r"(?!\s*(?:public|private|protected|if|else))(?:<\w+>)?\s*\w+\s+\w+\s*\([^)]*\)"
)
_CSHARP_OURS = _ours(csharp._USING, csharp._CLASS, csharp._RETURN, csharp._PLAIN_VARIABLE)
_CSHARP_REST = (
    _pattern(r"^\s*using\s+[a-zA-Z0-9_.]+\s*;"),
    _ours(csharp._CLASS, csharp._RETURN, csharp._PLAIN_VARIABLE),
)
_GO_FUNCTIONS = _pattern(
    r"^func\s+(?:\(\s*\w+\s+\*?\w+\s*\))?\s*\w+\s*\([^)]*\)\s*(?:\([^)]+\)|[\w\[\]]+)?\s*"
)
_GO_IMPORTS = _pattern(r'^[^\S\n]*(?:import\s+"[^"\n]+"|import \()[^\S\n]*$')
_GO_TYPES = _pattern(r"^\s*type\s+\w+\s+(?:struct|interface)\s*\{[^}]*\}")
_GO_REST = (
    _GO_TYPES,
    _pattern(r"^\s*return(?:\s+[^;\n]+)?\s*;?\s*$"),
    _pattern(r"^\s*var\s+\w+\s+\w+\s*;?\s*$"),
)
_GO_OURS = _ours(go._TYPE_BLOCK, go._RETURN, go._PLAIN_VARIABLE)


def _own_imports(document: ParsedDocument) -> int:
    return go.num_imports(document)


def _go_functions(document: ParsedDocument) -> int:
    return count(document, go._FUNCTION)


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


def _java_variables(document: ParsedDocument) -> float:
    return float(re.search(_JAVA_VARIABLE, document.code, re.M) is None)


def _parsed_by_esprima(text: str) -> bool:
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


def _unparsable(value: float | None) -> SignalFunction:
    """The value of a text that esprima cannot parse; what no value equals, where it can."""
    return lambda document: float("nan") if _parsed_by_esprima(document.text) else value


def _javascript_variables(document: ParsedDocument) -> float | None:
    found = document.once(javascript.tree)
    return None if found is None else float(not found.variables)


_JAVASCRIPT = "qsc_codejavascript"

LANGUAGE_DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "C: functions",
        "calls after `return` or `else`, macros and directives are functions; methods outside "
        "their class, several stars and references are none",
        "a type before a name and a bracket",
        functions={
            f"{prefix}_{name}": function
            for prefix in c_family.PREFIXES.values()
            for name, function in (
                ("frac_lines_func_ratio", _of_lines(_C_FUNCTIONS)),
                ("score_lines_no_logic", _of_lines(_C_FUNCTIONS, _C_OURS)),
            )
        },
    ),
    Deviation(
        "C: includes, classes, returns",
        "as above; `#include<x>` is no include",
        "it is one",
        functions={
            f"{prefix}_score_lines_no_logic": _of_lines(_C_FUNCTIONS, _C_REST)
            for prefix in c_family.PREFIXES.values()
        },
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
            **dict.fromkeys(
                (
                    "qsc_codec_frac_lines_preprocessor_directives",
                    "qsc_codecpp_frac_lines_preprocessor_directives",
                ),
                lambda d: share(
                    sum(_C_DIRECTIVE.search(line) is not None for line in code_lines(d)),
                    len(code_lines(d)),
                ),
            ),
        },
    ),
    Deviation(
        "C: variables",
        "`return x;` declares one",
        "it does not",
        functions={
            f"{prefix}_cate_var_zero": lambda d: float(_C_VARIABLES(d) == 0)
            for prefix in c_family.PREFIXES.values()
        },
    ),
    Deviation(
        "C#: methods and usings",
        "`new X(...)` and `return f(...)` are methods, those with a generic type none",
        "a type and a name before a bracket; `using static` and aliases count",
        functions={
            "qsc_codecsharp_frac_lines_func_ratio": _of_lines(_CSHARP_FUNCTIONS),
            "qsc_codecsharp_score_lines_no_logic": _of_lines(_CSHARP_FUNCTIONS, *_CSHARP_REST),
        },
    ),
    Deviation(
        "C#, Go: variables",
        "the rule on files without variables never fires: a list is compared with 0",
        "it does; parameters are variables",
        functions={
            "qsc_codecsharp_cate_var_zero": lambda d: 0.0,
            "qsc_codego_cate_var_zero": lambda d: 0.0,
        },
    ),
    Deviation(
        "C#: words",
        "`Console.WriteLine` as a part of a name",
        "whole name",
        functions={"qsc_codecsharp_frac_lines_print": lines_with("Console.WriteLine")},
    ),
    Deviation(
        "Go: functions",
        "receivers without a name and functions with type parameters are not seen",
        "they count",
        functions={
            "qsc_codego_frac_lines_func_ratio": _of_lines(_GO_FUNCTIONS),
            "qsc_codego_score_lines_no_logic": _of_lines(_GO_FUNCTIONS, _own_imports, _GO_OURS),
        },
    ),
    Deviation(
        "Go: imports",
        "an import block is one line, an import with a name none",
        "every line of it",
        functions={
            "qsc_codego_score_lines_no_logic": _of_lines(_go_functions, _GO_IMPORTS, _GO_OURS),
        },
    ),
    Deviation(
        "Go: functions and imports",
        "both of these",
        "",
        functions={
            "qsc_codego_score_lines_no_logic": _of_lines(_GO_FUNCTIONS, _GO_IMPORTS, *_GO_REST),
        },
    ),
    Deviation(
        "Java: methods",
        "`return f(...)` and `new X(...)` are methods; those with a generic, array or qualified "
        "type, `final` or `synchronized` are none",
        "a type and a name before a bracket",
        functions={
            "qsc_codejava_frac_lines_func_ratio": _of_lines(_pattern(_JAVA_FUNCTION)),
            "qsc_codejava_score_lines_no_logic": _of_lines(_pattern(_JAVA_FUNCTION), _JAVA_OURS),
        },
    ),
    Deviation(
        "Java: imports, classes, variables",
        "as above; static imports, static classes, long and generic types are not seen",
        "they count",
        functions={
            "qsc_codejava_score_lines_no_logic": _of_lines(_pattern(_JAVA_FUNCTION), *_JAVA_REST),
        },
    ),
    Deviation(
        "Java: variables",
        "a variable is a line `Type name;` or `Type name = ...;` of few types",
        "fields, locals and parameters of every type",
        functions={"qsc_codejava_cate_var_zero": _java_variables},
    ),
    Deviation(
        "Java: names",
        "the second letter of the found text is judged; `no_modifier` counts those with one",
        "the name; those without",
        functions={
            "qsc_codejava_frac_words_no_modifier": _with_modifier,
            "qsc_codejava_frac_words_legal_var_name": _second_letters(
                _JAVA_VARIABLE, r"^[a-z][a-zA-Z0-9]*$"
            ),
            "qsc_codejava_frac_words_legal_func_name": _second_letters(
                _JAVA_FUNCTION, r"^[a-zA-Z][a-zA-Z0-9]*$"
            ),
            "qsc_codejava_frac_words_legal_class_name": _class_names,
        },
    ),
    Deviation(
        "JavaScript: parser",
        "esprima stops at ES2017: JSX, optional chaining, class fields do not parse",
        "the language as it is",
        functions={
            f"{_JAVASCRIPT}_cate_ast": _unparsable(0.0),
            **{
                f"{_JAVASCRIPT}_{name}": _unparsable(None)
                for name in (
                    "cate_var_zero",
                    "frac_lines_func_ratio",
                    "num_statement_line",
                    "score_lines_no_logic",
                    "frac_words_legal_var_name",
                    "frac_words_legal_func_name",
                    "frac_words_legal_class_name",
                )
            },
        },
    ),
    Deviation(
        "JavaScript: variables",
        "declared by a plain name, or `module.exports.x`",
        "parameters, patterns, fields and assignments too",
        functions={f"{_JAVASCRIPT}_cate_var_zero": _javascript_variables},
    ),
)
