"""URL patterns with labels: the small table that a person annotates.

A table is tab-separated with the columns `pattern`, `label`, `note`; `%` stands for
anything, as in the paper's Table 14: `%my.oschina.net%blog%`. Case does not matter. Of
several patterns that match a url the one with most characters besides `%` decides, so
`%example.org/jobs%` can take away from `%example.org%`. A row without a label is one that
nobody has annotated yet, and is passed over. Next: `labels`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from beam_pipelines.recall.tables import Row, read_table
from opencoder_jax.errors import InputError

WILDCARD = "%"
COLUMNS = ("pattern", "label")
_WORD = re.compile(r"[a-z0-9-]+")


class Pattern(NamedTuple):
    """A row of a table.

    Attributes:
      text: with `%`.
      label: one of the job's, or `none`.
      place: file and line, for messages.
    """

    text: str
    label: str
    place: str


def read_patterns(path: str, labels: Sequence[str]) -> list[Pattern]:
    """The annotated rows of a table.

    Args:
      path: or url of the file.
      labels: that a row may have.

    Raises:
      InputError: the file cannot be read or a row is wrong; the message names file and line.
    """
    return [
        _pattern(row, labels) for row in read_table(path, [COLUMNS[:1], COLUMNS[1:]]) if row.label
    ]


def _pattern(row: Row, labels: Sequence[str]) -> Pattern:
    text = row.values["pattern"]
    if not text.replace(WILDCARD, ""):
        raise InputError(f"{row.place}: the pattern {text!r} would match every url")
    if re.search(r"\s", text):
        raise InputError(f"{row.place}: the pattern {text!r} has white space, which no url has")
    if row.label not in labels:
        raise InputError(
            f"{row.place}: label {row.label!r} is unknown, expected {', '.join(labels)}"
        )
    return Pattern(text, row.label, row.place)


class PatternIndex:
    """Finds the pattern that decides about a url, among thousands, in the time of a few."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        """Raises: InputError: two rows give one pattern different labels."""
        self._by_word: dict[str, list[_Compiled]] = {}
        self._without_word: list[_Compiled] = []
        seen: dict[str, Pattern] = {}
        for pattern in patterns:
            before = seen.setdefault(pattern.text.lower(), pattern)
            if before is not pattern:
                if before.label != pattern.label:
                    raise InputError(
                        f"{pattern.place}: {pattern.text!r} is {pattern.label} here and "
                        f"{before.label} in {before.place}"
                    )
                continue
            compiled = _compile(pattern)
            # A word that a url has to have as a whole word: the longest is the rarest.
            words = sorted(_whole_words(compiled.parts), key=lambda word: (-len(word), word))
            if words:
                self._by_word.setdefault(words[0], []).append(compiled)
            else:
                self._without_word.append(compiled)
        self.count = len(seen)

    def find(self, url: str) -> Pattern | None:
        """The pattern that decides; None where none matches."""
        if not self.count:
            return None
        lower = url.lower()
        best: _Compiled | None = None
        for compiled in self._candidates(lower):
            if (best is None or compiled.order < best.order) and _matches(lower, compiled.parts):
                best = compiled
        return best and best.pattern

    def _candidates(self, lower: str) -> Iterator["_Compiled"]:
        yield from self._without_word
        if self._by_word:
            for word in dict.fromkeys(_WORD.findall(lower)):
                yield from self._by_word.get(word, ())


class _Compiled(NamedTuple):
    """A pattern with what stands between its wildcards; `order` is smallest for what decides."""

    order: tuple[int, str]
    parts: tuple[str, ...]
    pattern: Pattern


def _compile(pattern: Pattern) -> _Compiled:
    text = pattern.text.lower()
    literal = len(text) - text.count(WILDCARD)
    return _Compiled((-literal, text), tuple(text.split(WILDCARD)), pattern)


def _whole_words(parts: Sequence[str]) -> Iterator[str]:
    """Words with something else on both sides inside a part, or at an end without wildcard."""
    for number, part in enumerate(parts):
        for word in _WORD.finditer(part):
            left = word.start() > 0 or number == 0
            right = word.end() < len(part) or number == len(parts) - 1
            if left and right:
                yield word.group()


def _matches(text: str, parts: Sequence[str]) -> bool:
    """Whether `%`.join(parts) matches all of `text`; linear in the text for each part."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    if not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end) if at <= end else -1
        if at < 0:
            return False
        at += len(part)
    return at <= end
