"""A document as the signals see it: parsed once, each view made when first asked for.

Every signal is a function of one `ParsedDocument`, so lines, words, n-grams, the split
into code and comments, quoted strings and the Python tree are computed once however
many signals read them. `docs/rules.md` defines them, `registry` lists the signals.
"""

import ast
import collections
import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.languages.comments import comment_spans
from beam_pipelines.signals.ngrams import NgramShares, ngram_shares, word_ids
from beam_pipelines.signals.quoting import quoted_strings
from beam_pipelines.signals.words import normalised_words, raw_words

# All of ASCII's but the newline.
_WHITE_SPACE = b" \t\r\x0b\x0c\x1c\x1d\x1e\x1f"


@dataclasses.dataclass(frozen=True)
class ParsedDocument:
    """A text and what is known of it.

    Attributes:
      text: the file's content.
      language: lower-case Linguist name.
      doc_type: `code`, `data` or `text`.
      path: inside its repository, with forward slashes.
      size_bytes: of the document.
      human_language: ISO 639 code of the natural language; it decides how words are cut.
    """

    text: str
    language: str
    doc_type: str
    path: str
    size_bytes: int
    human_language: str

    @functools.cached_property
    def ascii_codes(self) -> NDArray[np.uint8]:
        """uint8[chars]: the code of each character, that of `?` for what is not ASCII."""
        return np.frombuffer(self.text.encode("ascii", "replace"), np.uint8)

    @functools.cached_property
    def line_lengths(self) -> NDArray[np.int64]:
        """int64[lines]: characters of each line with its newline; empty lines count."""
        newlines = np.flatnonzero(self.ascii_codes == ord("\n"))
        ends = newlines + 1
        if len(self.text) and not self.text.endswith("\n"):
            ends = np.append(ends, len(self.text))
        return np.diff(ends, prepend=0)

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines without their newline; empty ones too."""
        lines = self.text.split("\n")
        return lines if lines[-1] else lines[:-1]

    @functools.cached_property
    def stripped_lines(self) -> list[str]:
        """Lines without surrounding white space; no blank ones."""
        return [line for line in map(str.strip, self.lines) if line]

    @functools.cached_property
    def repeated_lines(self) -> dict[str, int]:
        """Those of `stripped_lines` that occur at least twice, with their counts."""
        counts = collections.Counter(self.stripped_lines)
        return {line: count for line, count in counts.items() if count > 1}

    @functools.cached_property
    def characters(self) -> collections.Counter[str]:
        """How often each character occurs."""
        if self.text.isascii():
            counts = np.bincount(self.ascii_codes)
            codes = counts.nonzero()[0]
            counts = counts[codes]
        else:
            utf32 = np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), np.uint32)
            codes, counts = np.unique(utf32, return_counts=True)
        return collections.Counter(
            dict(zip(map(chr, codes.tolist()), counts.tolist(), strict=True))
        )

    @functools.cached_property
    def num_whitespace(self) -> int:
        return self.count_characters(str.isspace)

    @property
    def num_visible(self) -> int:
        """Characters that are no white space."""
        return len(self.text) - self.num_whitespace

    def count_characters(self, predicate: Callable[[str], bool]) -> int:
        """Characters of the text for which `predicate` holds."""
        return sum(count for char, count in self.characters.items() if predicate(char))

    @functools.cached_property
    def raw_words(self) -> list[str]:
        return raw_words(self.text, self.human_language)

    @functools.cached_property
    def words(self) -> list[str]:
        """Words of the normalised text."""
        return normalised_words(self.text, self.human_language)

    @functools.cached_property
    def word_ids(self) -> NDArray[np.int64]:
        """int64[words]: equal for equal words, in order of first occurrence."""
        return word_ids(self.words)

    @property
    def num_distinct_words(self) -> int:
        return int(self.word_ids.max(initial=-1)) + 1

    @functools.cached_property
    def word_lengths(self) -> NDArray[np.int64]:
        """int64[words]: characters of each word."""
        return np.fromiter(map(len, self.words), np.int64, len(self.words))

    @functools.cached_property
    def ngrams(self) -> NgramShares:
        return ngram_shares(self.word_ids, self.word_lengths)

    @functools.cached_property
    def _comment_spans(self) -> list[tuple[int, int]]:
        return list(comment_spans(self.text, self.language))

    @functools.cached_property
    def comments(self) -> list[str]:
        """Every comment with its markers."""
        return [self.text[start:end] for start, end in self._comment_spans]

    @functools.cached_property
    def code(self) -> str:
        """The text without its comments."""
        ends = [0, *(end for _, end in self._comment_spans)]
        starts = [*(start for start, _ in self._comment_spans), len(self.text)]
        return "".join(self.text[end:start] for end, start in zip(ends, starts, strict=True))

    @functools.cached_property
    def code_lines(self) -> list[str]:
        """Lines of the code, blank ones too."""
        return self.code.split("\n")

    @functools.cached_property
    def compact_code_lines(self) -> list[str]:
        """Lines of the code with all white space deleted, without those that are then empty."""
        if self.code.isascii():
            compact = self.code.encode().translate(None, _WHITE_SPACE).decode().split("\n")
        else:
            compact = ["".join(line.split()) for line in self.code_lines]
        return list(filter(None, compact))

    @property
    def num_code_lines(self) -> int:
        """Lines of the code that are not blank: what most shares of lines refer to."""
        return len(self.compact_code_lines)

    @functools.cached_property
    def strings(self) -> list[str]:
        """Contents of the quoted strings of the code."""
        return quoted_strings(self.code)

    @functools.cached_property
    def python_tree(self) -> ast.Module | None:
        """The syntax tree; None where the text does not parse as Python."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Invalid escapes in the document are not ours.
            try:
                return ast.parse(self.text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None

    @functools.cached_property
    def python_nodes(self) -> list[ast.AST]:
        """Every node of the tree; empty where there is none."""
        return list(ast.walk(self.python_tree)) if self.python_tree else []

    @functools.cached_property
    def docstrings(self) -> list[str]:
        """Docstrings of the Python tree, without indentation and quotes; no empty ones."""
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = (node for node in self.python_nodes if isinstance(node, documented))
        return list(filter(None, map(ast.get_docstring, nodes)))

    @functools.cached_property
    def _derived(self) -> dict[Callable[..., Any], Any]:
        return {}

    def once[T](self, function: Callable[["ParsedDocument"], T]) -> T:
        """`function(self)`, computed when first asked for: what only one language needs."""
        if function not in self._derived:
            self._derived[function] = function(self)
        return self._derived[function]
