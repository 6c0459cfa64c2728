"""Finds functions, variables and words in code by patterns, for languages without a parser here.

C, C++, C#, Go and Java are read by regular expressions on the code without its comments
and strings: what a rule on "how many functions a line" needs, at a hundredth of a
parser's trouble with macros and fragments. Every pattern is linear in the text. The
modules `c_family`, `csharp`, `go` and `java` build their signals from these.
"""

import re
from collections.abc import Iterator

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import share

# A quote that its line does not close takes the line's rest along, which is then read once.
_STRING = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?|\'(?:\\[^\n]{1,8}?|[^\'\\\n])\'')
_WORD = re.compile(r"\w+")


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# Words that stand where a type would, in front of a name: then it is a statement.
_STATEMENT_WORDS = _words(
    "assert await break case continue co_await co_return co_yield define defined delete do",
    "else elif endif enum extends friend goto if ifdef ifndef implements import in include",
    "instanceof interface is as namespace new not operator out package pragma ref return",
    "sizeof struct throw throws typedef typename undef union using when where yield class",
    "default async and or",
)
# Words before a bracket that begin a statement, not a function's parameters.
_BRACKET_WORDS = _words(
    "alignof and assert case catch decltype defined do else fixed for foreach if lock nameof",
    "new not or return sizeof static_assert super switch synchronized this throw try typeof",
    "using when while",
)
_MODIFIERS = _words(
    "abstract async default explicit extern final implicit inline internal native new",
    "override partial private protected public readonly sealed static strictfp synchronized",
    "unsafe virtual transient volatile",
)

# In a line's beginning: what may stand in a type and its modifiers, a name, a bracket.
_ANNOTATIONS = r"(?:@\w+(?:\([^()\n]*+\))?[ \t]+)*+"
_METHOD = re.compile(
    rf"\n[^\S\n]*+{_ANNOTATIONS}([\w.<>,?&\[\] \t]*[\w>\]?])[ \t]+([\w.]+)"
    r"(?:<[\w, \t]*+>)?[ \t]*+\("
)
# After the type, or the end of its arguments.
_DECLARED = (
    r"(?:\[[,\s]*+\])*+\??(?:\.\.\.)?[ \t]+"
    r"([A-Za-z_]\w*+)(?:[ \t]*+\[\s*+\])*+"
    r"(?=[ \t]*+(?:=(?![=>])|[;,:)])|\s*+\{\s*+(?:get|set|init)\b)"
)
# Two patterns, as no text matches both: each begins with what `re` can look for. A chain of
# names is read once for each of them, so only its last parts are.
_VARIABLE = re.compile(r"([A-Za-z_](?<=\b.)\w*+)(?:\.\w++){0,30}+" + _DECLARED)
_GENERIC_VARIABLE = re.compile(r">(?<=[\w?>\]]>)" + _DECLARED)


def without_strings(document: ParsedDocument) -> str:
    """The code with every string on one line emptied, so that prose declares nothing."""
    return _STRING.sub('""', document.code)


def methods(document: ParsedDocument) -> list[tuple[str, str]]:
    """(all before the name, name) of every method with a type: in classes, C# and Java."""
    found = []
    for before, name in _METHOD.findall("\n" + document.once(without_strings)):
        words = set(_WORD.findall(before))
        if words & _STATEMENT_WORDS - _MODIFIERS or name in _BRACKET_WORDS:
            continue
        # A constructor has modifiers alone in front of its name.
        if words - _MODIFIERS:
            found.append((before, name))
    return found


def variables(document: ParsedDocument) -> Iterator[str]:
    """Names declared with a type: fields, locals, parameters, C# properties."""
    code = document.once(without_strings)
    for match in _VARIABLE.finditer(code):
        if match[1] not in _STATEMENT_WORDS and match[1] not in _MODIFIERS:
            yield match[2]
    yield from _GENERIC_VARIABLE.findall(code)


def count(document: ParsedDocument, pattern: re.Pattern[str]) -> int:
    """How often the pattern occurs in the code."""
    return len(pattern.findall(document.code))


def count_lines(document: ParsedDocument, pattern: re.Pattern[str]) -> int:
    """How often the pattern, which begins with the newline before its line, occurs.

    `re` looks for a newline at the speed of `str.find`, for `^` at every character.
    """
    return len(pattern.findall(document.once(after_newline)))


def after_newline(document: ParsedDocument) -> str:
    """The code with a newline in front, so that one stands before each line."""
    return "\n" + document.code


def share_of_lines(
    document: ParsedDocument, pattern: re.Pattern[str], of_nothing: float | None = None
) -> float | None:
    """Code lines in which the pattern, which must not cross lines, occurs."""
    return share(num_lines(document.code, pattern), document.num_code_lines, of_nothing)


def num_lines(code: str, pattern: re.Pattern[str]) -> int:
    """Lines in which the pattern, which must not cross lines, occurs."""
    lines = 0
    position = 0
    while match := pattern.search(code, position):
        lines += 1
        position = code.find("\n", match.end())
        if position == -1:
            break
    return lines


def whole_word(*words: str) -> re.Pattern[str]:
    """Any of the words, all of which end with the first, no word character around it.

    The pattern begins with the letters that all have, not with `\\b`: `re` looks for letters
    at the speed of `str.find`, and would try `\\b` at every character.
    """
    looks_back = "|".join(rf"(?<=\b{re.escape(word)})" for word in words)
    return re.compile(rf"{re.escape(words[0])}(?:{looks_back})\b")


def is_statement_word(word: str) -> bool:
    """Whether the word in front of a name says that no type stands there."""
    return word in _STATEMENT_WORDS


def is_bracket_word(word: str) -> bool:
    """Whether the word in front of a bracket says that it is no function's."""
    return word in _BRACKET_WORDS
