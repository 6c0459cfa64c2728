"""Which pieces of a corpus a teacher is given to start from.

A seed is some lines of a document that hang together: from one line without indentation to
another, chosen by hash, one seed a document. Of all that fit the wanted number with the
smallest hashes stays, so that a larger number contains a smaller one, whatever the runner.
Documents that give no seed are counted by reason, not dropped one by one: a corpus has many
times more documents than a job asks for.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, TaggedOutput

from beam_pipelines.synthesis.drafts import Draft
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.formats.split import hash_fraction

_PASSED_OVER = "passed over"
# First characters of lines that go on with what stands before them.
_CONTINUES = frozenset(" \t)]}")
# A log of a million lines without indentation would be cut into as many.
_MOST_STARTS = 400


@dataclasses.dataclass(frozen=True)
class SeedSettings:
    """What may be a seed.

    Attributes:
      languages: lower-case Linguist names; empty: any.
      min_lines: with text in them.
      max_lines: of a seed.
      max_characters: of a seed.
      keywords: a document must have one of them, in any case; empty: none is asked for.
      doc_types: of documents.
      count: most seeds; None: all.
      per_language: most seeds of each language; None: as many as there are.
      seed: another one chooses others.
      from_start: take the beginning of each document, not a piece chosen by hash.
    """

    languages: Sequence[str]
    min_lines: int
    max_lines: int
    max_characters: int
    keywords: Sequence[str] = ()
    doc_types: Sequence[str] = ("code",)
    count: int | None = None
    per_language: int | None = None
    seed: int = 0
    from_start: bool = False

    def __post_init__(self) -> None:
        require_at_least(1, min_lines=self.min_lines, max_characters=self.max_characters)
        if self.max_lines < self.min_lines:
            raise InputError(f"max_lines is {self.max_lines}, below min_lines {self.min_lines}")
        for name in ("count", "per_language"):
            if (value := getattr(self, name)) is not None:
                require_at_least(1, **{name: value})


class Seeds(NamedTuple):
    """What `ChooseSeeds` gives.

    Attributes:
      chosen: PCollection[Draft], each with the part `seed`.
      passed_over: PCollection[tuple[str, int]]: why documents gave no seed, and how many.
    """

    chosen: beam.PCollection
    passed_over: beam.PCollection


class ChooseSeeds(beam.PTransform):
    """PCollection[Document] to `Seeds`."""

    def __init__(self, kind: str, settings: SeedSettings) -> None:
        """Args:
        kind: the set, so that one document's examples in two sets have ids of their own.
        settings: what may be a seed.
        """
        super().__init__()
        self._kind = kind
        self._settings = settings

    def expand(self, documents: beam.PCollection) -> Seeds:
        settings = self._settings
        found = documents | "Find" >> beam.ParDo(_Find(self._kind, settings)).with_outputs(
            _PASSED_OVER, main="seeds"
        )
        chosen, others = found.seeds, [found[_PASSED_OVER]]
        for name, count, by in (
            ("per language", settings.per_language, _language),
            ("all", settings.count, _everything),
        ):
            if count is not None:
                kept = chosen | f"Fewest {name}" >> _Smallest(count, by, settings.seed)
                others.append(kept[_PASSED_OVER])
                chosen = kept.seeds
        reasons = (
            others | "PassedOver" >> beam.Flatten() | "Reasons" >> beam.combiners.Count.PerElement()
        )
        return Seeds(chosen, reasons)


class _Find(beam.DoFn):
    def __init__(self, kind: str, settings: SeedSettings) -> None:
        super().__init__()
        self._kind = kind
        self._settings = settings
        self._languages = frozenset(settings.languages)
        self._keywords = tuple(keyword.lower() for keyword in settings.keywords)

    def process(self, document: Document) -> Iterator[Any]:
        reason, seed = self._seed(document)
        if reason:
            yield TaggedOutput(_PASSED_OVER, reason)
            return
        yield Draft(
            id=document_id(self._kind, document.repo, document.path),
            repo=document.repo,
            path=document.path,
            language=document.language,
            parts={"seed": seed},
        )

    def _seed(self, document: Document) -> tuple[str, str]:
        if self._settings.doc_types and document.doc_type not in self._settings.doc_types:
            return "doc_type", ""
        if self._languages and document.language not in self._languages:
            return "language", ""
        if self._keywords and not any(k in document.text.lower() for k in self._keywords):
            return "no_keyword", ""
        seed = excerpt(document.text, self._settings, document.id)
        return ("", seed) if seed else ("too_short", "")


def excerpt(text: str, settings: SeedSettings, key: str) -> str:
    """Lines of a text that hang together, chosen by a hash of `key`; empty: none are enough.

    From a line without indentation on, as many whole blocks as fit; of a block that is longer
    than allowed its beginning.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    if settings.from_start:
        beginning = _beginning(lines, settings).lstrip("\n")
        enough = sum(bool(line) for line in beginning.split("\n")) >= settings.min_lines
        return beginning if enough else ""
    starts = [i for i, line in enumerate(lines) if line and line[0] not in _CONTINUES]
    starts = starts[:_MOST_STARTS]
    ends = [*starts[1:], len(lines)]
    found = []
    for number, start in enumerate(starts):
        fitting = ""
        for end in ends[number:]:
            block = "\n".join(lines[start:end]).rstrip()
            if not _fits(block, settings):
                break
            fitting = block
        chosen = fitting or _beginning(lines[start : ends[number]], settings)
        if sum(bool(line) for line in chosen.split("\n")) >= settings.min_lines:
            found.append(chosen)
    if not found:
        return ""
    return found[int(hash_fraction(f"excerpt-{settings.seed}", key) * len(found))]


def _beginning(lines: Sequence[str], settings: SeedSettings) -> str:
    count = min(len(lines), settings.max_lines)
    while count and not _fits("\n".join(lines[:count]), settings):
        count -= 1
    return "\n".join(lines[:count]).rstrip()


def _fits(block: str, settings: SeedSettings) -> bool:
    return len(block) <= settings.max_characters and block.count("\n") < settings.max_lines


class _Smallest(beam.PTransform):
    """Seeds with the smallest hashes of each group, and the reason of the others."""

    def __init__(self, count: int, by: Any, seed: int) -> None:
        super().__init__()
        self._count = count
        self._by = by
        self._seed = seed

    def expand(self, seeds: beam.PCollection) -> Any:
        # Hashes only: what a group's texts take would have to fit one worker.
        limits = (
            seeds
            | "Hash" >> beam.Map(_hashed, self._by, self._seed)
            | "Top" >> beam.combiners.Top.SmallestPerKey(self._count)
            | "Largest" >> beam.MapTuple(_largest)
            | "Limits" >> beam.combiners.ToDict()
        )
        return seeds | "Compare" >> beam.ParDo(
            _Compare(self._by, self._seed), AsSingleton(limits)
        ).with_outputs(_PASSED_OVER, main="seeds")


class _Compare(beam.DoFn):
    def __init__(self, by: Any, seed: int) -> None:
        super().__init__()
        self._by = by
        self._seed = seed

    def process(self, draft: Draft, limits: Mapping[str, tuple[float, str]]) -> Iterator[Any]:
        group, place = _hashed(draft, self._by, self._seed)
        if place <= limits[group]:
            yield draft
        else:
            yield TaggedOutput(_PASSED_OVER, "not_sampled")


def _hashed(draft: Draft, by: Any, seed: int) -> tuple[str, tuple[float, str]]:
    return by(draft), (hash_fraction(f"seed-{seed}", draft.id), draft.id)


def _largest(group: str, places: list[tuple[float, str]]) -> tuple[str, tuple[float, str]]:
    return group, max(places)


def _language(draft: Draft) -> str:
    return draft.language


def _everything(_: Draft) -> str:
    return ""
