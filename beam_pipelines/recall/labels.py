"""Which pages a classifier learns from: tables of labelled pages, and URL patterns.

A table has a column `label` and a column `id` or `url` (or both); whoever makes it (people,
a model that scored pages, `teacher_seeds`) is none of its reader's business. A table says
more of a page than a pattern does, so it decides where both know one; of several tables
that disagree about a page none is guessed to be right: that is an error.

    labels = Labels.read(settings, annotated)
    labels.of(page)    # `code`, `math`, ..., `none`, or None where nobody has said
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Self

from beam_pipelines.recall.patterns import PatternIndex, read_patterns
from beam_pipelines.recall.tables import read_bytes, read_table
from beam_pipelines.signals.text import is_code_related_name
from beam_pipelines.web.address import BadAddressError, parse_address
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.manifest import fingerprint

# What is not wanted: a label of tables and patterns, and of the classifier's other class.
NONE = "none"
# Labels of the tables that come with the package; a job that does not want one passes it over.
SHIPPED_LABELS = ("code", "math")


@dataclasses.dataclass(frozen=True)
class SeedSettings:
    """What the first round's seeds are.

    Attributes:
      labels: what is wanted, e.g. `code` and `math`; tables also have `none`.
      tables: files of labelled pages; `shipped:NAME` comes with the package.
      patterns: files of labelled URL patterns.
      code_file_names: the label of files whose names say that they are about code (README,
        requirements, notes, todo, description, cmakelists), for texts of repositories.
      most: seeds of a label that a classifier is trained on; chosen by hash.
      most_of_a_domain: of those, and of pages that are no seeds; None takes all. A site with
        very many pages would teach its template, not its subject.
      others: pages for each seed to tell seeds from: a hash sample of those that are none and
        that the round before did not recall.
      kept_anyway: a page with a wanted label is kept whatever its score.
    """

    labels: Sequence[str]
    tables: str | Sequence[str] = ()
    patterns: str | Sequence[str] = ()
    code_file_names: str = ""
    most: int = 500_000
    most_of_a_domain: int | None = None
    others: float = 1.0
    kept_anyway: bool = False

    def __post_init__(self) -> None:
        if self.code_file_names and self.code_file_names not in self.labels:
            raise InputError(
                f"code_file_names is {self.code_file_names!r}, expected one of {list(self.labels)}"
            )
        if not self.labels or NONE in self.labels or len(set(self.labels)) != len(self.labels):
            raise InputError(f"labels are {list(self.labels)}, expected names other than {NONE!r}")
        for label in self.labels:
            if not label.isidentifier():
                raise InputError(f"label {label!r} is no plain word")
        if self.most < 1 or (self.most_of_a_domain is not None and self.most_of_a_domain < 1):
            raise InputError("most and most_of_a_domain have to be at least 1")
        if not self.others > 0:
            raise InputError(f"others is {self.others}, expected more than 0")

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The classes of the classifier."""
        return (*self.labels, NONE)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """What tables may say."""
        return tuple(dict.fromkeys((*self.labels, NONE, *SHIPPED_LABELS)))


class Labels:
    """What tables and patterns say of pages.

    Attributes:
      patterns: the index of the first round's patterns.
    """

    def __init__(
        self, by_key: dict[str, tuple[str, str]], patterns: PatternIndex, code_file_names: str
    ) -> None:
        self._by_key = by_key
        self._code_file_names = code_file_names
        self.patterns = patterns

    @classmethod
    def read(cls, settings: SeedSettings) -> Self:
        """Raises: InputError: a table cannot be read, or two of them disagree."""
        known = settings.known_labels
        index = PatternIndex(
            pattern for path in several(settings.patterns) for pattern in read_patterns(path, known)
        )
        tables = read_page_labels(several(settings.tables), known)
        return cls(tables, index, settings.code_file_names)

    def listed(self, page: Document) -> str | None:
        """What a table says of a page."""
        found = self._by_key.get(page.id) or self._by_key.get(page.path)
        return found[0] if found else None

    def of(self, page: Document) -> str | None:
        """What a table, or else a pattern, says of a page."""
        label = self.listed(page)
        if label is None and (pattern := self.patterns.find(page.path)):
            label = pattern.label
        if label is None and self._code_file_names and is_code_related_name(page.path):
            label = self._code_file_names
        return label


class Annotated(NamedTuple):
    """The patterns that were annotated after a round, all earlier ones among them.

    Attributes:
      round: that they were annotated after.
      patterns: the index of them all.
    """

    round: int
    patterns: PatternIndex


def read_annotated(paths: Sequence[str], labels: Sequence[str]) -> list[Annotated]:
    """The tables annotated after rounds 1, 2, ..., each with those before it.

    Raises:
      InputError: one cannot be read, or two disagree.
    """
    tables = [read_patterns(path, labels) for path in paths]
    return [
        Annotated(number, PatternIndex(row for table in tables[:number] for row in table))
        for number in range(1, len(tables) + 1)
    ]


def read_page_labels(paths: Sequence[str], labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Id or url to (label, place in its table).

    Raises:
      InputError: a table cannot be read, a row names no page or an unknown label, or two rows
        disagree about a page.
    """
    by_key: dict[str, tuple[str, str]] = {}
    for path in paths:
        for row in read_table(path, [("id", "url"), ("label",)]):
            if row.label not in labels:
                raise InputError(
                    f"{row.place}: label {row.label!r} is unknown, expected {', '.join(labels)}"
                )
            named = [key for name in ("id", "url") if (key := row.values.get(name))]
            keys = list(dict.fromkeys(spelling for key in named for spelling in _spellings(key)))
            if not named:
                raise InputError(f"{row.place}: neither an id nor a url")
            for key in keys:
                label, place = by_key.setdefault(key, (row.label, row.place))
                if label != row.label:
                    raise InputError(
                        f"{row.place}: {key} is {row.label} here and {label} in {place}"
                    )
    return by_key


def _spellings(key: str) -> tuple[str, ...]:
    """A key as it is, and a url in the form that pages have."""
    try:
        return key, parse_address(key).url
    except BadAddressError:
        return (key,)


def several(one_or_more: str | Sequence[str]) -> tuple[str, ...]:
    """Names as gin gives them: one, or a list."""
    return (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)


def tables_fingerprint(paths: Sequence[str]) -> str:
    """Of the content of tables, in order.

    Raises:
      InputError: one cannot be read.
    """
    return fingerprint([read_bytes(path).decode("utf-8", "surrogateescape") for path in paths])
