"""Where our signals deviate from the released filter's: each deviation as a definition to compute.

A deviation is a changed view of the document (`released_views`), changed functions of it,
or both: our signal with the released definition of that one thing in the place of ours.
`signal_parity` explains a pair of unequal values by a deviation only if its definition,
or that of several, gives the released value; `deviations` counts what each changes in a
corpus. Definitions follow from the released filter's behaviour and are written anew;
`docs/rules.md` says why each is left.
"""

import ast
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping

from beam_pipelines.signals.compute import signals_for
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import SignalFunction
from beam_pipelines.signals.text import hex_word_chars
from benchmarks.released_views import (
    WORD,
    View,
    lexer_split,
    lexer_without_newlines,
    newline_in_comment,
    perl_by_hand,
    physical_lines,
    splitter_by_hand,
    words_as_released,
)

Functions = Mapping[str, SignalFunction]


@dataclasses.dataclass(frozen=True)
class Deviation:
    """One way in which our signals differ from the released ones.

    Attributes:
      name: short, for tables.
      released: what the released filter does.
      here: what we do.
      view: the document as the released filter sees it; None where it sees what we see.
      functions: signal name to its released function.
      parts: names of deviations that this one puts together, because they bear on the same
        signal; it is none of its own then.
    """

    name: str
    released: str = ""
    here: str = ""
    view: View | None = None
    functions: Functions = dataclasses.field(default_factory=dict)
    parts: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[str, ...]:
        """The deviations that are at work."""
        return self.parts or (self.name,)


def ours(name: str) -> SignalFunction:
    """Our signal of that name."""
    return lambda document: _signal(name, document.language)(document)


@functools.cache
def _signal(name: str, language: str) -> SignalFunction:
    return next(s.function for s in signals_for("code", language) if s.name == name)


def exchanged(total: str, part: str, released: SignalFunction) -> SignalFunction:
    """Our signal `total`, with the released share in the place of our signal `part`."""

    def function(document: ParsedDocument) -> float | None:
        values = [f(document) for f in (ours(total), ours(part), released)]
        whole, ours_of_part, released_of_part = (value or 0.0 for value in values)
        return None if values[0] is None else whole - ours_of_part + released_of_part

    return function


def share(part: float, whole: float) -> float | None:
    """`part / whole`, undefined of nothing."""
    return part / whole if whole else None


def code_lines(document: ParsedDocument) -> list[str]:
    """Lines of the code that are not blank."""
    return [line for line in document.code.split("\n") if line.strip()]


def lines_with(
    *needles: str, ignore_case: bool = False, of_nothing: float | None = None
) -> SignalFunction:
    """Share of the code lines that contain a text anywhere, within words too."""

    def function(document: ParsedDocument) -> float | None:
        lines = code_lines(document)
        if ignore_case:
            lines = [line.lower() for line in lines]
        found = sum(any(n in line for n in needles) for line in lines)
        return found / len(lines) if lines else of_nothing

    return function


def _autogen(document: ParsedDocument) -> float:
    start = document.text[:200].lower()
    return float(any(word in start for word in ("generate", "autogen", "do not edit")))


def _prompts(document: ParsedDocument) -> float | None:
    lines = [line for comment in document.comments for line in comment.lower().split("\n")]
    marked = sum(any(m in line for m in ("your code here", "fixme", "todo")) for line in lines)
    return share(marked, len(physical_lines(document.text)))


def _strings(document: ParsedDocument, within_lines: bool) -> list[str]:
    single = "[^\n]" if within_lines else "."
    quoted = rf"'''(.*?)'''|\"\"\"(.*?)\"\"\"|'({single}*?)'|\"({single}*?)\""
    found = re.findall(quoted, document.code, re.DOTALL)
    return [part for groups in found for part in groups if part]


def _string_length(document: ParsedDocument) -> float | None:
    return share(sum(map(len, _strings(document, True))), len(document.code))


def _long_words(document: ParsedDocument) -> float | None:
    words = [word for text in _strings(document, True) for word in text.split() if len(word) > 20]
    chars = sum(len(word) for word in words if not re.search(r"https?://\S", word))
    return share(chars, len(document.code))


def _long_strings(document: ParsedDocument) -> float | None:
    pieces = [p for text in _strings(document, False) for p in text.split("\n")]
    return share(sum(len(WORD.findall(p)) > 20 for p in pieces), len(code_lines(document)))


def _string_concat(document: ParsedDocument) -> float | None:
    joined = re.compile(r"""=\s*["'].+?["']\s*\+\s*["'].+?["']""")
    lines = code_lines(document)
    return share(sum(joined.search(line) is not None for line in lines), len(lines))


def _encoded(document: ParsedDocument) -> float:
    """Hex bytes end where white space follows their comma."""
    runs = re.findall(r"[a-zA-Z0-9+/\n=]{64,}", document.text)
    runs += re.findall(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}", document.text)
    runs += re.findall(r"(?:\\u[0-9a-fA-F]{4}){8,}", document.text)
    lengths = [len(run) for run in runs]
    return float(max(lengths, default=0) > 1024 or sum(lengths) > 0.5 * len(document.text))


def _python(count: Callable[[ParsedDocument], float]) -> SignalFunction:
    def function(document: ParsedDocument) -> float | None:
        if document.python_tree is None:
            return None
        return share(count(document), len(code_lines(document)))

    return function


def _plain_functions(document: ParsedDocument) -> list[ast.FunctionDef]:
    return [node for node in document.python_nodes if isinstance(node, ast.FunctionDef)]


def _simple_functions(document: ParsedDocument) -> int:
    return sum(
        len(node.body) == 1 and isinstance(node.body[0], ast.Return)
        for node in _plain_functions(document)
    )


def _without_logic(count_imports: Callable[[str], bool]) -> Callable[[ParsedDocument], float]:
    def count(document: ParsedDocument) -> float:
        classes = sum(isinstance(node, ast.ClassDef) for node in document.python_nodes)
        imports = sum(map(count_imports, code_lines(document)))
        returns = len(re.findall(r"^\s*return(?:\s+.+)?\s*$", document.code, re.MULTILINE))
        counted = len(_plain_functions(document)) + classes + imports + returns
        return counted + _attributes_of_outer_classes(document)

    return count


def _import_word(line: str) -> bool:
    return re.search(r"\bimport\b", line) is not None


def _import_letters(line: str) -> bool:
    return "import" in line.lower()


def _plain_docstrings(document: ParsedDocument) -> float | None:
    """Comments of Python without the docstrings of `async def`."""
    if document.language != "python":
        return ours("qsc_code_frac_chars_comments")(document)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = (node for node in document.python_nodes if isinstance(node, documented))
    texts = list(filter(None, map(ast.get_docstring, nodes)))
    hashes = "".join(c.replace("#", "").strip("\r") for c in document.comments if c[0] == "#")
    return share(len("\n".join([*texts, hashes]).strip()), len(document.text))


def _attributes_of_outer_classes(document: ParsedDocument) -> int:
    """Names assigned in the bodies of classes that are in no class."""
    found = 0
    open_nodes: list[ast.AST] = [document.python_tree] if document.python_tree else []
    while open_nodes:
        node = open_nodes.pop()
        if not isinstance(node, ast.ClassDef):
            open_nodes += ast.iter_child_nodes(node)
            continue
        for entry in node.body:
            targets = entry.targets if isinstance(entry, ast.Assign) else []
            if isinstance(entry, ast.AnnAssign):
                targets = [entry.target]
            found += sum(isinstance(target, ast.Name) for target in targets)
    return found


def _python_variables(document: ParsedDocument) -> float | None:
    if document.python_tree is None:
        return None
    for node in document.python_nodes:
        names: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            names = node.targets
        elif isinstance(node, ast.For):
            names = [node.target]
        elif isinstance(node, ast.FunctionDef) and node.args.args:
            return 0.0
        if any(isinstance(name, ast.Name) for name in names):
            return 0.0
    return 1.0


_PYTHON = "qsc_codepython"
_import_lines = lines_with("import", ignore_case=True, of_nothing=0.0)

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "newline of a line comment",
        "belongs to the comment (C, C++, Rust, ... lexers): the lines around merge into one",
        "is code",
        view=newline_in_comment,
    ),
    Deviation(
        "splitter by hand",
        "no lexer of the language's name: all after the first `#`, `//` or `--` line is comment",
        "every language has a comment syntax, or a cautious one",
        view=splitter_by_hand,
    ),
    Deviation(
        "Perl by hand",
        "a comment is a line that begins with `#`, POD one that begins with `=`",
        "comments after code count too; POD begins with a letter",
        view=perl_by_hand,
    ),
    Deviation(
        "lexer",
        "what Pygments calls comments; it strips the text and converts line ends",
        "comments by the syntax of the language; the text as it is",
        view=lexer_without_newlines,
    ),
    Deviation(
        "lexer and newline",
        view=lexer_split,
        parts=("newline of a line comment", "lexer"),
    ),
    Deviation(
        "controls and small digits",
        "U+FEFF and escape are words; small digits (`x₁`) cut words",
        "control characters are spaces, small digits belong to their word",
        view=words_as_released,
    ),
    Deviation(
        "autogen",
        '"generate" anywhere in the first 200 characters',
        "a phrase that says that the file is generated",
        functions={"qsc_code_cate_autogen": _autogen},
    ),
    Deviation(
        "todo within words",
        '"todo" and "fixme" as parts of words',
        "whole words",
        functions={"qsc_code_frac_lines_prompt_comments": _prompts},
    ),
    Deviation(
        "escaped quotes",
        "end a string; a quote that is never closed opens one",
        "they do not",
        functions={
            "qsc_code_frac_chars_string_length": _string_length,
            "qsc_code_frac_chars_long_word_length": _long_words,
            "qsc_code_frac_lines_long_string": _long_strings,
            "qsc_code_frac_lines_string_concat": _string_concat,
        },
    ),
    Deviation(
        "share of no code",
        "undefined where the splitter by hand finds no code (a lexer's code ends with a newline)",
        "0",
        functions={
            "qsc_code_frac_chars_hex_words": lambda d: share(hex_word_chars(d.code), len(d.code))
        },
    ),
    Deviation(
        "hex bytes",
        "only without a space after the comma",
        "`0x1f, 0x8b` too",
        functions={"qsc_code_cate_encoded_data": _encoded},
    ),
    Deviation(
        "python: words",
        '"pass", "import" and "print" as parts of words',
        "whole words",
        functions={
            f"{_PYTHON}_frac_lines_pass": lines_with("pass", ignore_case=True, of_nothing=0.0),
            f"{_PYTHON}_frac_lines_import": _import_lines,
            f"{_PYTHON}_frac_lines_print": lines_with("print"),
            f"{_PYTHON}_score_lines_no_logic": exchanged(
                f"{_PYTHON}_score_lines_no_logic", f"{_PYTHON}_frac_lines_import", _import_lines
            ),
        },
    ),
    Deviation(
        "python: async and annotations",
        "`async def`, annotated assignments, `with` targets, keyword-only arguments are not seen",
        "they count like their plain forms",
        functions={
            f"{_PYTHON}_frac_lines_func_ratio": _python(lambda d: len(_plain_functions(d))),
            f"{_PYTHON}_frac_lines_simplefunc": _python(_simple_functions),
            f"{_PYTHON}_score_lines_no_logic": _python(_without_logic(_import_word)),
            f"{_PYTHON}_cate_var_zero": _python_variables,
            "qsc_code_frac_chars_comments": _plain_docstrings,
        },
    ),
    Deviation(
        "python: words, async and annotations",
        functions={f"{_PYTHON}_score_lines_no_logic": _python(_without_logic(_import_letters))},
        parts=("python: words", "python: async and annotations"),
    ),
)
