"""A document as the signals see it: parsed once, each view made when first asked for.

Every signal is a function of one `ParsedDocument`, so lines, words, n-grams, the split
into code and comments, quoted strings and the Python tree are computed once however
many signals read them. `docs/rules.md` defines them, `registry` lists the signals.
"""

import ast
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.languages.comments import comment_bounds
from beam_pipelines.signals.characters import folded
from beam_pipelines.signals.lines import Lines, compact_lines, stripped_lines
from beam_pipelines.signals.ngrams import NgramShares, ngram_shares
from beam_pipelines.signals.python_tree import (
    Definition,
    definitions_of,
    nodes_of,
    parse_python,
)
from beam_pipelines.signals.quoting import Strings, quoted_strings
from beam_pipelines.signals.scan import Profile, profile, without
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
    def lowered(self) -> bytes:
        """`codes` with ASCII letters in lower case."""
        return self.codes.tobytes().lower()

    @functools.cached_property
    def profile(self) -> Profile:
        """Counts of characters and lines."""
        return profile(self.codes)

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines without their newline; empty ones too."""
        lines = self.text.split("\n")
        return lines if lines[-1] else lines[:-1]

    @functools.cached_property
    def stripped_lines(self) -> Lines:
        """Lines without surrounding white space; no blank ones."""
        return stripped_lines(self.text, self.codes)

    @property
    def num_visible(self) -> int:
        """Characters that are no white space."""
        return len(self.text) - self.profile.spaces

    @functools.cached_property
    def raw_word_counts(self) -> Mapping[str, int]:
        """How often each word of the text as it is occurs."""
        return raw_word_counts(self.text, self.codes, self.human_language)

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
    def comment_bounds(self) -> NDArray[np.int32]:
        """int32[comments, 2]: start and end of every comment."""
        return comment_bounds(self.text, self.codes, self.language)

    @property
    def comments(self) -> list[str]:
        """Every comment with its markers."""
        return [self.text[start:end] for start, end in self.comment_bounds.tolist()]

    @property
    def num_comment_chars(self) -> int:
        """Characters in all comments."""
        starts, ends = self.comment_bounds.sum(axis=0).tolist()
        return ends - starts

    def comments_at(self, places: NDArray[np.int32]) -> Iterator[str]:
        """The comments that hold at least one of these places of the text, which rise."""
        starts, ends = np.ascontiguousarray(self.comment_bounds.T)
        comments = np.searchsorted(ends, places, side="right")
        within = comments < len(starts)
        within[within] = starts[comments[within]] <= places[within]
        for comment in np.unique(comments[within]).tolist():
            yield self.text[starts[comment] : ends[comment]]

    @functools.cached_property
    def code(self) -> str:
        """The text without its comments."""
        if not self.comment_bounds.size:
            return self.text
        if self.text.isascii():
            return self.code_codes.tobytes().decode("ascii")
        starts, ends = self.comment_bounds.T.tolist()
        return "".join(
            self.text[end:start]
            for end, start in zip([0, *ends], [*starts, len(self.text)], strict=True)
        )

    @functools.cached_property
    def code_lines(self) -> list[str]:
        """Lines of the code, blank ones too."""
        return self.code.split("\n")

    @functools.cached_property
    def code_codes(self) -> NDArray[np.uint8]:
        """uint8[chars of the code]: each character as `characters` folds it."""
        return without(self.codes, self.comment_bounds) if self.comment_bounds.size else self.codes

    @functools.cached_property
    def compact_code_lines(self) -> Lines:
        """Lines of the code with all white space deleted, without those that are then empty."""
        return compact_lines(self.code, self.code_codes)

    @property
    def num_code_lines(self) -> int:
        """Lines of the code that are not blank: what most shares of lines refer to."""
        return self.compact_code_lines.total

    @functools.cached_property
    def strings(self) -> Strings:
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
