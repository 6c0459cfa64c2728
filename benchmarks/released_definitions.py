"""Where our signals deviate from the released filter's: each deviation as a definition to compute.

`signal_parity` explains a pair of unequal values by a deviation only if our signal,
computed with the released definition in the place of ours, gives the released value. A
deviation is therefore a changed view of the document (`view`), a changed function of it
(`functions`), or both; several may have to act together. Definitions follow from the
released filter's behaviour and are written anew. `docs/rules.md` says why each is left.
"""

import ast
import collections
import dataclasses
import functools
import re
import string
import unicodedata
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pygments
import regex
from numpy.typing import NDArray
from pygments import lexer as lexer_module
from pygments import lexers, token, util

from beam_pipelines.signals.characters import folded
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import SignalFunction
from beam_pipelines.signals.text import hex_word_chars
from beam_pipelines.signals.words import Words, words_of

_COMMENT_TOKENS = frozenset(
    (
        token.Comment.Multiline,
        token.Comment.Single,
        token.Comment.Hashbang,
        token.Comment.Special,
        token.Literal.String.Doc,
    )
)


class SplitDocument(ParsedDocument):
    """A document whose split into code and comments is given, not made from its spans."""

    split: tuple[str, str]

    @functools.cached_property
    def code(self) -> str:
        return self.split[0]

    @functools.cached_property
    def code_codes(self) -> NDArray[np.uint8]:
        return folded(self.code)

    @functools.cached_property
    def comments(self) -> list[str]:
        return [self.split[1]]

    @property
    def num_comment_chars(self) -> int:
        return len(self.split[1])

    def comments_at(self, places: NDArray[np.int32]) -> Iterator[str]:
        yield self.split[1]


View = Callable[[ParsedDocument], ParsedDocument | None]
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
    """

    name: str
    released: str
    here: str
    view: View | None = None
    functions: Functions = dataclasses.field(default_factory=dict)


def _with_split(document: ParsedDocument, code: str, comments: str) -> ParsedDocument:
    changed = _copied_as(SplitDocument)(document)
    object.__setattr__(changed, "split", (code, comments))
    return changed


def _splitter_by_hand(document: ParsedDocument) -> ParsedDocument | None:
    """For languages that Pygments has no lexer for by our name of them."""
    if document.language == "perl" or _lexer(document.language) is not None:
        return None
    code: list[str] = []
    comments: list[str] = []
    inside = False
    for line in _lines(document.text):
        bare = line.strip()
        if bare.startswith(('"""', "/*")) or bare.endswith(('"""', "*/")):
            inside = not inside
            comments.append(line)
        elif inside or bare.startswith(("#", "//", "--")):
            inside = True
            comments.append(line)
        else:
            code.append(line)
    return _with_split(document, "".join(code), "".join(comments))


def _perl_by_hand(document: ParsedDocument) -> ParsedDocument | None:
    if document.language != "perl":
        return None
    code: list[str] = []
    comments: list[str] = []
    inside = False
    for line in _lines(document.text):
        bare = line.strip()
        if bare.startswith("="):
            inside = not bare.startswith("=cut")
            comments.append(line)
        elif inside or bare.startswith("#"):
            comments.append(line)
        else:
            code.append(line)
    return _with_split(document, "".join(code), "".join(comments))


def _newline_in_comment(document: ParsedDocument) -> ParsedDocument | None:
    """Line comments take their newline along, as lexers of the C family have them."""
    lexer = _lexer(document.language)
    if lexer is None or document.language == "perl":
        return None
    code: list[str] = []
    comments: list[str] = []
    position = 0
    for comment in document.comments:
        start = document.text.find(comment, position)
        end = start + len(comment)
        if not comment.startswith("/*") and document.text[end : end + 1] == "\n":
            end += 1
        code.append(document.text[position:start])
        comments.append(document.text[start:end])
        position = end
    code.append(document.text[position:])
    return _with_split(document, "".join(code), "".join(comments))


def _lexer_split(document: ParsedDocument) -> ParsedDocument | None:
    """What the lexer of that name calls a comment; it also strips and ends the text its way."""
    lexer = _lexer(document.language)
    if lexer is None or document.language == "perl":
        return None
    code: list[str] = []
    comments: list[str] = []
    for kind, text in pygments.lex(document.text, lexer):
        (comments if kind in _COMMENT_TOKENS else code).append(text)
    return _with_split(document, "".join(code), "".join(comments))


@functools.cache
def _lexer(language: str) -> lexer_module.Lexer | None:
    try:
        return lexers.get_lexer_by_name(language)
    except util.ClassNotFound:
        return None


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+$", text)


class WordDocument(ParsedDocument):
    """A document whose words are cut as the released filter cuts them."""

    @functools.cached_property
    def words(self) -> Words:
        lines = map(_normalised, _lines(self.text))
        return words_of([word for line in lines for word in _WORD.findall(line)])

    @functools.cached_property
    def raw_word_counts(self) -> Mapping[str, int]:
        lines = _lines(self.text)
        return collections.Counter(word for line in lines for word in _WORD.findall(line))


_WORD = regex.compile(r"\w+|[^\w\s]+")
# Taken out of words or made spaces; the others, U+FEFF and escape among them, are words.
_DELETED = dict.fromkeys([*range(0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x202C])
_SPACES = dict.fromkeys([0x2009, 0x200B, *map(ord, string.punctuation)], " ")
_WIDE = {ord(char) + 0xFEE0: " " for char in string.punctuation} | dict.fromkeys(
    map(ord, "。、《》【】「」“”‘’"), " "
)


def _normalised(line: str) -> str:
    line = line.translate(_DELETED | _SPACES | _WIDE)
    return unicodedata.normalize("NFKC", " ".join(line.lower().split()))


def _copied_as[Copy: ParsedDocument](kind: type[Copy]) -> Callable[[ParsedDocument], Copy]:
    def view(document: ParsedDocument) -> Copy:
        fields = {f.name: getattr(document, f.name) for f in dataclasses.fields(ParsedDocument)}
        return kind(**fields)

    return view


def share(part: float, whole: float) -> float | None:
    """`part / whole`, undefined of nothing."""
    return part / whole if whole else None


def code_lines(document: ParsedDocument) -> list[str]:
    """Lines of the code that are not blank."""
    return [line for line in document.code.split("\n") if line.strip()]


def lines_with(*needles: str, ignore_case: bool = False) -> SignalFunction:
    """Share of the code lines that contain a text anywhere, within words too."""

    def function(document: ParsedDocument) -> float | None:
        lines = code_lines(document)
        if ignore_case:
            lines = [line.lower() for line in lines]
        return share(sum(any(n in line for n in needles) for line in lines), len(lines))

    return function


def _autogen(document: ParsedDocument) -> float:
    start = document.text[:200].lower()
    return float(any(word in start for word in ("generate", "autogen", "do not edit")))


def _prompts(document: ParsedDocument) -> float | None:
    lines = [line for comment in document.comments for line in comment.lower().split("\n")]
    marked = sum(any(m in line for m in ("your code here", "fixme", "todo")) for line in lines)
    return share(marked, len(_lines(document.text)))


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
    return share(sum(len(_WORD.findall(p)) > 20 for p in pieces), len(code_lines(document)))


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


def _python_without_logic(import_word: bool) -> Callable[[ParsedDocument], float]:
    def count(document: ParsedDocument) -> float:
        lines = code_lines(document)
        classes = [node for node in document.python_nodes if isinstance(node, ast.ClassDef)]
        attributes = _attributes_of_outer_classes(document)
        imports = sum(
            re.search(r"\bimport\b", line) is not None if import_word else "import" in line.lower()
            for line in lines
        )
        returns = len(re.findall(r"^\s*return(?:\s+.+)?\s*$", document.code, re.MULTILINE))
        return len(_plain_functions(document)) + imports + len(classes) + returns + attributes

    return count


def _plain_docstrings(document: ParsedDocument) -> float | None:
    """Comments of Python without the docstrings of `async def`."""
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


DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "newline of a line comment",
        "belongs to the comment (C, C++, Rust, ... lexers): the lines around merge into one",
        "is code",
        view=_newline_in_comment,
    ),
    Deviation(
        "splitter by hand",
        "no lexer of the language's name: all after the first `#`, `//` or `--` line is comment",
        "every language has a comment syntax, or a cautious one",
        view=_splitter_by_hand,
    ),
    Deviation(
        "Perl by hand",
        "a comment is a line that begins with `#`, POD one that begins with `=`",
        "comments after code count too; POD begins with a letter",
        view=_perl_by_hand,
    ),
    Deviation(
        "lexer",
        "what Pygments calls comments; it strips the text and converts line ends",
        "comments by the syntax of the language; the text as it is",
        view=_lexer_split,
    ),
    Deviation(
        "controls and small digits",
        "U+FEFF and escape are words; small digits (`x₁`) cut words",
        "control characters are spaces, small digits belong to their word",
        view=_copied_as(WordDocument),
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
            "qsc_codepython_frac_lines_pass": lines_with("pass", ignore_case=True),
            "qsc_codepython_frac_lines_import": lines_with("import", ignore_case=True),
            "qsc_codepython_frac_lines_print": lines_with("print"),
            "qsc_codepython_score_lines_no_logic": _python(_python_without_logic(False)),
        },
    ),
    Deviation(
        "python: async and annotations",
        "`async def`, annotated assignments, `with` targets, keyword-only arguments are not seen",
        "they count like their plain forms",
        functions={
            "qsc_codepython_frac_lines_func_ratio": _python(lambda d: len(_plain_functions(d))),
            "qsc_codepython_frac_lines_simplefunc": _python(_simple_functions),
            "qsc_codepython_score_lines_no_logic": _python(_python_without_logic(True)),
            "qsc_codepython_cate_var_zero": _python_variables,
            "qsc_code_frac_chars_comments": _plain_docstrings,
        },
    ),
)
