"""What a job's pages are: counts by host and human language, the content of `statistics.json`.

    totals      captures, pages, bytes, domains
    skipped     type of record → records that are no captures
    dropped     reason → captures
    languages   human language → {pages, bytes}
    domains     the hosts with the most pages, with bytes and their languages
    samples     reason → a few drops

Counts travel with the data, as those of the cleaning job do (`transforms.statistics`).
"""

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from beam_pipelines.accounting import Drop
from beam_pipelines.signals import human_language
from beam_pipelines.transforms.facts import (
    Fact,
    by_reason,
    describe_samples,
    drop_fact,
    sample_order,
)
from beam_pipelines.transforms.statistics import AddUp
from beam_pipelines.web.page import Skipped
from beam_pipelines.web.transform import Pages
from opencoder_jax.formats.document import Document

_CAPTURE, _SKIPPED, _PAGE, _DROPPED = "capture", "skipped", "page", "dropped"
_SUMS = beam.combiners.TupleCombineFn(sum, sum)


class PageStatistics(beam.PTransform):
    """`Pages` to the (str, JSON value) pairs of the statistics."""

    def __init__(self, domains: int, samples: int) -> None:
        """Args:
        domains: how many of the largest are listed.
        samples: how many drops of each reason.
        """
        super().__init__()
        self._domains = domains
        self._samples = samples

    def expand(self, pages: Pages) -> beam.PCollection:
        facts = (
            pages.captures | "CaptureFacts" >> AddUp(_capture_fact),
            pages.skipped | "SkippedFacts" >> AddUp(_skipped_fact),
            pages.dropped | "DropFacts" >> AddUp(drop_fact),
            pages.kept | "PageFacts" >> AddUp(page_fact),
        )
        sums = facts | "Facts" >> beam.Flatten() | "Add" >> beam.CombinePerKey(_SUMS)
        domains = (
            sums
            | "OfPages" >> beam.FlatMap(_by_domain)
            | "GroupByDomain" >> beam.GroupByKey()
            | "Domains" >> beam.Map(_domain)
        )
        largest = (
            domains
            | "Largest" >> beam.combiners.Top.Of(self._domains, key=_by_pages)
            | "NameDomains" >> beam.Map(lambda found: ("domains", found))
        )
        counted = (
            (
                sums | "Coarse" >> beam.Map(_coarse),
                domains | "CountDomains" >> beam.Map(lambda _: (("domain", "", ""), (1, 0))),
            )
            | "CoarseFacts" >> beam.Flatten()
            | "AddCoarse" >> beam.CombinePerKey(_SUMS)
            | "AllFacts" >> beam.combiners.ToList()
            | "Tables" >> beam.FlatMap(_tables)
        )
        samples = (
            pages.dropped
            | "ByReason" >> beam.FlatMap(by_reason).with_output_types(tuple[str, Drop])
            | "FewOfEach" >> beam.combiners.Top.SmallestPerKey(self._samples, key=sample_order)
            | "AllSamples" >> beam.combiners.ToDict()
            | "Samples" >> beam.Map(describe_samples)
        )
        return (counted, largest, samples) | "Together" >> beam.Flatten()


def page_fact(document: Document) -> Fact:
    """One page, by its host and human language."""
    language = human_language.identify(document.text)
    return (_PAGE, document.repo, language), (1, document.text_bytes)


def _capture_fact(_: Any) -> Fact:
    return (_CAPTURE, "", ""), (1, 0)


def _skipped_fact(skipped: Skipped) -> Fact:
    return (_SKIPPED, skipped.kind, ""), (skipped.records, 0)


def _by_domain(fact: Fact) -> Iterator[tuple[str, tuple[str, int, int]]]:
    (kind, host, language), (pages, size) = fact
    if kind == _PAGE:
        yield host, (language, pages, size)


def _domain(group: tuple[str, Iterable[tuple[str, int, int]]]) -> dict[str, Any]:
    host, parts = group
    rows = sorted(parts, key=lambda row: (-row[1], row[0]))
    return {
        "domain": host,
        "pages": sum(pages for _, pages, _ in rows),
        "bytes": sum(size for _, _, size in rows),
        "languages": {language: pages for language, pages, _ in rows},
    }


def _by_pages(domain: Mapping[str, Any]) -> tuple[int, str]:
    return domain["pages"], domain["domain"]


def _coarse(fact: Fact) -> Fact:
    """Without the host: there may be more hosts than a worker holds."""
    (kind, name, part), amounts = fact
    return ((kind, "", part) if kind == _PAGE else (kind, name, part)), amounts


def _tables(facts: Iterable[Fact]) -> Iterator[tuple[str, Any]]:
    totals: collections.Counter[str] = collections.Counter(captures=0, pages=0, bytes=0, domains=0)
    tables: dict[str, dict[str, Any]] = {"skipped": {}, "dropped": {}, "languages": {}}
    for (kind, name, part), (count, size) in facts:
        if kind == _PAGE:
            totals.update(pages=count, bytes=size)
            tables["languages"][part] = {"pages": count, "bytes": size}
        elif kind == _CAPTURE:
            totals.update(captures=count)
        elif kind == "domain":
            totals.update(domains=count)
        else:
            tables[kind][name] = count
    yield "totals", dict(totals)
    yield from tables.items()
