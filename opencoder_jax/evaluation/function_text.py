"""A function in the text of a program in any language: found, cut out, put elsewhere.

Multilingual benchmarks give a head (imports, a class, a signature) and tests; a chat model
answers with a whole function, or a whole file. What is needed of it is found by the function's
name and the balance of braces, strings and comments skipped: no parser of ten languages, and
nothing that changes a line of what the model wrote.
"""

import re
from collections.abc import Iterator

# Comments and strings, inside which a brace is only a character.
_INERT = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])'|`(?:\\.|[^`\\])*`"
    # A string of JavaScript or PHP, no lifetime of Rust.
    r"|(?<![\w<&])'(?:\\.|[^'\\\n])*'",
    re.DOTALL,
)


def without_inert(text: str) -> str:
    """The text with comments and strings as blanks, of the same length."""
    return _INERT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def definition_of(text: str, name: str) -> int | None:
    """Where the definition of a function begins its line; None where there is none.

    The name, then parentheses, then a brace before any semicolon; or an arrow function's or
    function expression's `name = (...) =>`.
    """
    bare = without_inert(text)
    for match in re.finditer(rf"(?<![\w.]){re.escape(name)}(?!\w)", bare):
        after = bare[match.end() :]
        brace, semicolon = after.find("{"), after.find(";")
        if brace < 0 or 0 <= semicolon < brace:
            continue
        between = after[:brace].strip()
        if between.startswith(("(", "<", "=", ":")):
            return bare.rfind("\n", 0, match.start()) + 1
    return None


def block_end(text: str, start: int) -> int | None:
    """The place after the brace that closes the first one from `start` on."""
    depth = 0
    for place, character in _characters(without_inert(text), start):
        depth += (character == "{") - (character == "}")
        if depth == 0 and character == "}":
            return place + 1
    return None


def body_of(text: str, name: str) -> str | None:
    """`{...}` of a function, braces included; to the text's end where it was cut off."""
    start = definition_of(text, name)
    if start is None:
        return None
    # Not a brace of the parameters' types: the one after the name.
    place = text.index("{", text.index(name, start))
    return text[place : block_end(text, place)]


def without_function(text: str, name: str) -> str:
    """The text without a function's definition, such as `main`."""
    start = definition_of(text, name)
    if start is None:
        return text
    end = block_end(text, text.index("{", text.index(name, start)))
    return text[:start] + ("" if end is None else text[end:])


def class_members(text: str) -> str:
    """What stands inside the first class; the text where there is none."""
    bare = without_inert(text)
    found = re.search(r"\bclass\s+\w+[^{;]*\{", bare)
    if not found:
        return text
    end = block_end(text, found.start())
    return text[found.end() : len(text) if end is None else end - 1]


def with_signature(text: str, name: str, signature: str) -> str:
    """The text with another signature for a function that it has."""
    start = definition_of(text, name)
    if start is None:
        return text
    brace = text.index("{", text.index(name, start))
    return f"{text[:start]}{signature}\n{text[brace:]}"


def lines_that(text: str, pattern: str) -> tuple[str, str]:
    """The lines that match, and the rest."""
    found: list[str] = []
    rest: list[str] = []
    for line in text.splitlines(keepends=True):
        (found if re.match(pattern, line) else rest).append(line)
    return "".join(found), "".join(rest)


def _characters(text: str, start: int) -> Iterator[tuple[int, str]]:
    for match in re.finditer(r"[{}]", text[start:]):
        yield start + match.start(), match[0]
