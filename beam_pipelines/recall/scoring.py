"""Every page against the classifiers: what is recalled, what is dropped, what it adds up to.

A page is recalled by the first round whose classifier gives a wanted label at least the
threshold; `documents-*` are those that the last round recalls, and each says in its
provenance which round found it first, as what, and in which band of scores. Everything
else is a `Drop` with its score. Earlier rounds' classifiers are applied too: nearly all the
time goes into segmentation, which they share, and so a round can say what is new.
Next: `domains` makes candidates of what is counted here.
"""

import collections
import math
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from beam_pipelines.accounting import drop_document
from beam_pipelines.recall.labels import NONE, SeedSettings
from beam_pipelines.recall.model import Model, Score
from beam_pipelines.signals.human_language import identify
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.split import hash_fraction

NOT_RECALLED, NO_TEXT, OTHER_LANGUAGE = "not_recalled", "no_text", "other_language"
DROPPED, SEEN, COUNTS, DOMAINS = "dropped", "seen", "counts", "domains"
BANDS = 10
_EXCERPT = 400
_LANGUAGE_CHARACTERS = 4000

# Of a domain: pages scored, recalled, recalled by the round before, bytes of text, bytes recalled,
# then recalled pages by label.
DOMAIN_COUNTS = ("pages", "recalled", "before", "bytes", "recalled_bytes")
NO_DOMAIN = "(none)"

# (domain, url, excerpt, label, score, recalled, hash): what a review page may show of a page.
Seen = tuple[str, str, str, str, float, bool, float]


def sum_counts(counts: Any) -> tuple:
    """The sum of (pages, recalled, before, bytes, recalled bytes, wanted...) tuples."""
    rows = iter(counts)
    total = next(rows, None)
    if total is None:
        return ()
    for row in rows:
        total = tuple(map(sum, zip(total, row, strict=True)))
    return total


class ScorePages(beam.PTransform):
    """PCollection[Document] to a dict of collections.

    `kept` (Document), `dropped` (Drop), `seen` (Seen), `counts` ((name, number), to be
    summed) and `domains` ((domain, tuple of numbers), to be summed by `sum_counts`).
    """

    def __init__(
        self,
        model: Model,
        seeds: SeedSettings,
        annotated: tuple[str, ...],
        languages: tuple[str, ...],
    ) -> None:
        """Args:
        model: with the classifiers of all rounds up to this one.
        seeds: labels, and whether seeds are kept anyway.
        annotated: pattern tables of the earlier rounds.
        languages: ISO 639 codes of human languages that are looked at; empty means all.
        """
        super().__init__()
        self._settings = (model, seeds, annotated, languages)

    def expand(self, pages: beam.PCollection) -> dict[str, beam.PCollection]:
        scored = pages | "Score" >> beam.ParDo(_Score(*self._settings)).with_outputs(
            DROPPED, SEEN, COUNTS, DOMAINS, main="kept"
        )
        return {
            "kept": scored.kept,
            DROPPED: scored[DROPPED],
            SEEN: scored[SEEN],
            COUNTS: scored[COUNTS] | beam.CombinePerKey(sum),
            DOMAINS: scored[DOMAINS] | "SumDomains" >> beam.CombinePerKey(sum_counts),
        }


class _Score(beam.DoFn):
    def __init__(
        self,
        model: Model,
        seeds: SeedSettings,
        annotated: tuple[str, ...],
        languages: tuple[str, ...],
    ) -> None:
        self._model = model
        self._seeds = seeds
        self._annotated = annotated
        self._languages = frozenset(languages)

    def setup(self) -> None:
        self._loaded = self._model.load(self._seeds, self._annotated)

    def start_bundle(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._domains: dict[str, list[int]] = {}

    def finish_bundle(self) -> Iterator[Any]:
        for name, pairs in ((COUNTS, self._counts), (DOMAINS, self._domains)):
            for key, value in pairs.items():
                number = tuple(value) if isinstance(value, list) else value
                yield TaggedOutput(name, GlobalWindows.windowed_value((key, number)))

    def process(self, page: Document) -> Iterator[Any]:
        if self._languages:
            language = identify(page.text[:_LANGUAGE_CHARACTERS])
            if language not in self._languages:
                yield TaggedOutput(
                    DROPPED, drop_document(page, OTHER_LANGUAGE, signal="language", detail=language)
                )
                return
            self._counts[f"language {language}"] += 1
        pieces = self._loaded.pieces(page)
        if not pieces.size:
            yield TaggedOutput(DROPPED, drop_document(page, NO_TEXT))
            return
        scores = self._loaded.scores(pieces)
        by = [self._loaded.recalls(score) for score in scores]
        listed = self._wanted_anyway(page) if self._seeds.kept_anyway else None
        recalled = by[-1] or listed is not None
        self._count(page, scores, by, recalled)
        score = scores[-1]
        if recalled:
            yield page.replace(provenance=_provenance(page, by, score, listed))
        else:
            yield TaggedOutput(
                DROPPED,
                drop_document(
                    page,
                    NOT_RECALLED,
                    signal=score.label,
                    value=score.value,
                    threshold=f"< {self._model.threshold:g}",
                ),
            )
        yield TaggedOutput(
            SEEN,
            (
                page.repo or NO_DOMAIN,
                page.path,
                page.text[:_EXCERPT],
                score.label,
                score.value,
                recalled,
                hash_fraction("seen", page.id),
            ),
        )

    def _wanted_anyway(self, page: Document) -> str | None:
        label = self._loaded.labels.of(page)
        return label if label in self._seeds.labels else None

    def _count(self, page: Document, scores: list[Score], by: list[bool], recalled: bool) -> None:
        size, score, counts = page.text_bytes, scores[-1], self._counts
        before = len(by) > 1 and by[-2]
        empty = [0] * (len(DOMAIN_COUNTS) + len(self._seeds.labels))
        row = self._domains.setdefault(page.repo or NO_DOMAIN, empty)
        row[0] += 1
        row[1] += recalled
        row[2] += before
        row[3] += size
        counts["scored"] += 1
        counts["scored bytes"] += size
        counts[f"band {_band(score.value)}"] += 1
        if recalled:
            row[4] += size
            row[len(DOMAIN_COUNTS) + list(self._seeds.labels).index(score.label)] += 1
            counts["recalled bytes"] += size
            counts[f"label {score.label}"] += 1
            counts[f"label bytes {score.label}"] += size
            counts[f"first {_first(by)}"] += 1
        if len(by) > 1:
            counts["new"] += recalled and not before
            counts["new bytes"] += size * (recalled and not before)
            counts["lost"] += before and not recalled
            named = self._loaded.named(page)
            if named in self._seeds.labels:
                counts["named"] += 1
                counts["named and recalled before"] += before
                counts["named and recalled"] += recalled
        true = self._loaded.true_label(page)
        if true is not None:
            answer = score.label if recalled else NONE
            counts[f"true {true} {answer}"] += 1


def _first(by: list[bool]) -> int:
    """The first round that recalls a page; 0 where its label alone keeps it."""
    return by.index(True) + 1 if any(by) else 0


def _band(value: float) -> str:
    """The lower end of a tenth: 0.9 of 0.97 and of 1."""
    return f"{min(math.floor(value * BANDS), BANDS - 1) / BANDS:.1f}"


def _provenance(page: Document, by: list[bool], score: Score, listed: str | None) -> str:
    if by[-1]:
        return f"{page.provenance}/round-{_first(by)}/{score.label}/{_band(score.value)}"
    return f"{page.provenance}/seed/{listed}/{_band(score.value)}"
