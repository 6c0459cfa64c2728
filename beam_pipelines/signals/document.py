"""A document as the signals see it: parsed once, each view made when first asked for.

Every signal is a function of one `ParsedDocument`, so lines, words, n-grams, the split
into code and comments, quoted strings and the Python tree are computed once however
many signals read them. `docs/rules.md` defines them, `registry` lists the signals.
"""

import ast
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.languages.comments import comment_spans
from beam_pipelines.signals.characters import IS_SPACE, folded
from beam_pipelines.signals.lines import Lines, compact_lines, stripped_lines
from beam_pipelines.signals.ngrams import NgramShares, ngram_shares
from beam_pipelines.signals.python_tree import (
    Definition,
    definitions_of,
    nodes_of,
    parse_python,
)
from beam_pipelines.signals.quoting import quoted_strings
from beam_pipelines.signals.scan import Runs, character_counts, line_sizes
from beam_pipelines.signals.words import Words, normalised_words, raw_word_counts


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
    def codes(self) -> NDArray[np.uint8]:
        """uint8[chars]: each character as `characters` folds it."""
        return folded(self.text)

    @functools.cached_property
    def line_sizes(self) -> tuple[int, int]:
        """(lines, characters of the longest with its newline); empty lines count."""
        return line_sizes(self.codes)

    @property
    def num_lines(self) -> int:
        return self.line_sizes[0]

    @property
    def longest_line(self) -> int:
        return self.line_sizes[1]

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines without their newline; empty ones too."""
        lines = self.text.split("\n")
        return lines if lines[-1] else lines[:-1]

    @functools.cached_property
    def stripped_lines(self) -> Lines:
        """Lines without surrounding white space; no blank ones."""
        return stripped_lines(self.text, self.codes)

    @functools.cached_property
    def character_counts(self) -> NDArray[np.int64]:
        """int64[256]: how often each of `codes` occurs."""
        return character_counts(self.codes)

    @functools.cached_property
    def num_whitespace(self) -> int:
        return self.count_characters(IS_SPACE)

    @property
    def num_visible(self) -> int:
        """Characters that are no white space."""
        return len(self.text) - self.num_whitespace

    def count_characters(self, table: NDArray[np.uint8]) -> int:
        """Characters of the text that a table of `characters` marks with 1."""
        return int(self.character_counts @ table)

    @functools.cached_property
    def raw_word_counts(self) -> Mapping[str, int]:
        """How often each word of the text as it is occurs."""
        return raw_word_counts(self.text, self.human_language)

    @functools.cached_property
    def num_raw_words(self) -> int:
        return sum(self.raw_word_counts.values())

    @functools.cached_property
    def words(self) -> Words:
        """Words of the normalised text."""
        return normalised_words(self.text, self.human_language)

    @functools.cached_property
    def ngrams(self) -> NgramShares:
        return ngram_shares(self.words.ids, self.words.lengths)

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
    def code_codes(self) -> NDArray[np.uint8]:
        """uint8[chars of the code]: each character as `characters` folds it."""
        return self.codes if self.code is self.text else folded(self.code)

    @functools.cached_property
    def compact_code_lines(self) -> Lines:
        """Lines of the code with all white space deleted, without those that are then empty."""
        return compact_lines(self.code, self.code_codes)

    @property
    def num_code_lines(self) -> int:
        """Lines of the code that are not blank: what most shares of lines refer to."""
        return self.compact_code_lines.total

    @functools.cached_property
    def strings(self) -> Runs:
        """Where the contents of the quoted strings stand in the code."""
        return quoted_strings(self.code_codes)

    @functools.cached_property
    def python_tree(self) -> ast.Module | None:
        """The syntax tree; None where the text does not parse as Python, or is too long."""
        return parse_python(self.text)

    @functools.cached_property
    def python_nodes(self) -> list[ast.AST]:
        """Every node of the tree; empty where there is none."""
        return list(nodes_of(self.python_tree)) if self.python_tree else []

    @functools.cached_property
    def python_definitions(self) -> list[Definition]:
        """The module, classes and functions of the tree; empty where there is none."""
        return definitions_of(self.python_tree) if self.python_tree else []

    @functools.cached_property
    def docstrings(self) -> list[str]:
        """Docstrings of the Python tree, without indentation and quotes; no empty ones."""
        return list(filter(None, map(ast.get_docstring, self.python_definitions)))

    @functools.cached_property
    def _derived(self) -> dict[Callable[..., Any], Any]:
        return {}

    def once[T](self, function: Callable[["ParsedDocument"], T]) -> T:
        """`function(self)`, computed when first asked for: what only one language needs."""
        if function not in self._derived:
            self._derived[function] = function(self)
        return self._derived[function]
