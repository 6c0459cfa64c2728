"""Of an answer in any language the definitions that one function needs.

A chat model that is asked for a function writes helpers, constants and types beside it, and
example calls. What the function names, directly or through what it names, is kept; calls go.
Items are cut where braces are balanced: no parser of ten languages.
Next: `function_text`, whose ways these are.
"""

import re
from collections.abc import Iterator

from opencoder_jax.evaluation.function_text import definition_of, without_inert

_WORD = re.compile(r"[A-Za-z_]\w*")
# Words that a statement or an import begins with, which defines nothing that a function names.
_NO_DEFINITION = (
    *("if", "for", "foreach", "while", "do", "switch", "try", "else", "return", "throw", "await"),
    *("new", "delete", "case", "echo", "print", "using", "import", "package", "require", "use"),
)
# Modifiers and a type, or nothing; then the name and what shows that it is defined.
_DEFINES = re.compile(
    r"(?P<before>(?:[\w\s<>\[\],.*&:?@~$]*[\s>*&\]$])?)(?P<name>[A-Za-z_]\w*)\s*"
    r"(?:<[^<>(]*>\s*)?(?:[(={;:]|\[(?!\s*\]))"
)
_HOLDER = re.compile(r"[\w\s:,<>]*\b(?:class|namespace|module)\s[^{;(]*\{")
_BASH_FUNCTION = re.compile(
    r"^(?:function[ \t]+)?(\w+)[ \t]*(?:\(\))?\s*\{[^\n]*\n.*?^\}[ \t]*$", re.DOTALL | re.MULTILINE
)


def reached_definitions(text: str, name: str, language: str, known: str = "") -> str:
    """What a function's definition reaches, without itself; empty where that is nothing.

    Args:
      text: that has the definition.
      name: of the function.
      language: as the sandbox names it.
      known: a text whose definitions are there already.
    """
    if language == "bash":
        items = [(match[1], match[0] + "\n") for match in _BASH_FUNCTION.finditer(text)]
    else:
        if language == "php":
            text = re.sub(r"<\?(?:php)?|\?>", "", text)
        items = [(_defined(item), item) for item in _items(text, name)]
    names = {word for own, item in items if own == name for word in _words(item)}
    passed_by = {name, "main", "Main", *map(_defined, _statements(known))}
    names -= passed_by
    kept: set[int] = set()
    size = -1
    while len(kept) > size:
        size = len(kept)
        for number, (own, item) in enumerate(items):
            if own in names and number not in kept:
                kept.add(number)
                names |= _words(item) - passed_by
    return "".join(items[number][1] for number in sorted(kept))


def _items(text: str, name: str) -> list[str]:
    """Top-level statements; of the class around the function its members."""
    found: list[str] = []
    for item in _statements(text):
        bare = without_inert(item)
        holder = _HOLDER.match(bare)
        if holder and definition_of(item, name) is not None:
            inside = item[holder.end() : bare.rindex("}") if "}" in bare else None]
            found += _items(inside, name)
        else:
            found.append(item)
    return found


def _statements(text: str) -> Iterator[str]:
    """Pieces that end at a semicolon or a closing brace outside of all brackets."""
    bare = without_inert(text)
    start = depth = 0
    for match in re.finditer(r"^[ \t]*#[^\n]*\n?|[][{}();]", bare, re.MULTILINE):
        mark = match[0]
        if mark in ("{", "(", "["):
            depth += 1
        elif mark in ("}", ")", "]"):
            depth -= 1
        if depth > 0 or mark in ("(", ")", "[", "]", "{"):
            continue
        if mark == "}" and re.match(r"\s*[;,.)(]", bare[match.end() :]):
            continue
        depth = 0
        end = match.end()
        while text[end : end + 1] in (" ", "\t", "\n"):
            end += 1
            if text[end - 1] == "\n":
                break
        yield text[start:end]
        start = end
    yield text[start:]


def _defined(item: str) -> str:
    """The name that a piece defines; empty where it is no definition."""
    bare = without_inert(item).strip()
    if bare.startswith("#"):
        words = bare.split()
        return words[1].split("(")[0] if words[0] == "#define" and len(words) > 1 else ""
    bare = re.sub(r"^template\s*<.*?>\s*(?=[A-Za-z_])", "", bare)
    found = _DEFINES.match(bare)
    if not found or bare.split(None, 1)[0].split("(")[0] in _NO_DEFINITION:
        return ""
    # `name(...);` by itself is a call.
    return found["name"] if found["before"].strip() or bare.endswith("}") else ""


def _words(text: str) -> set[str]:
    return set(_WORD.findall(without_inert(text)))
