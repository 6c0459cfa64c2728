"""The sites that a person should look at, and what there is to see of them.

A domain of whose pages more than a tenth is recalled is a candidate (paper §2.1.2). Of the
largest ones a reviewer gets the beginnings of the paths of their pages with how much of
each is recalled, and a few pages of either kind, chosen by hash. Nothing here holds all pages
of a site: beginnings are counted, examples are the smallest hashes. Next: `review`.
"""

import dataclasses
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import apache_beam as beam

from beam_pipelines.recall.patterns import WILDCARD
from beam_pipelines.recall.scoring import Seen
from opencoder_jax.errors import InputError, require_at_least

_DEPTH = 2  # segments of a path
_LONGEST_SEGMENT = 60


@dataclasses.dataclass(frozen=True)
class DomainSettings:
    """Which domains are shown, and what of them.

    Attributes:
      share: of a domain's pages that are recalled, above which it is a candidate.
      least_pages: that a candidate has.
      most: candidates on the review page, those with most pages.
      examples: pages shown of each, recalled ones and others.
      beginnings: of paths shown of each.
      suggested_share: of the pages under a beginning that are recalled, from which it is
        suggested as a pattern.
    """

    share: float = 0.1
    least_pages: int = 10
    most: int = 500
    examples: int = 4
    beginnings: int = 12
    suggested_share: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(
            1,
            least_pages=self.least_pages,
            most=self.most,
            examples=self.examples,
            beginnings=self.beginnings,
        )
        for name in ("share", "suggested_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 <= share <= 1")

    def is_candidate(self, pages: int, recalled: int) -> bool:
        return pages >= self.least_pages and recalled > self.share * pages


class Candidates(beam.PTransform):
    """Sums of domains, and pages seen, to one (`candidates`, list of objects for `review`)."""

    def __init__(self, settings: DomainSettings, labels: Sequence[str]) -> None:
        super().__init__()
        self._settings = settings
        self._labels = tuple(labels)

    def expand(self, made: Mapping[str, beam.PCollection]) -> beam.PCollection:
        settings = self._settings
        largest = (
            made["domains"]
            | "AboveShare" >> beam.Filter(_is_candidate, settings)
            | "Largest" >> beam.combiners.Top.Of(settings.most, key=_size)
            | "Candidates" >> beam.Map(dict)
        )
        chosen = beam.pvalue.AsSingleton(largest, default_value={})
        seen = made["seen"] | "OfCandidates" >> beam.Filter(_is_chosen, chosen)
        beginnings = (
            seen
            | "Beginnings" >> beam.FlatMap(_beginnings, self._labels)
            | "SumBeginnings" >> beam.CombinePerKey(_sum)
            | "ByDomain" >> beam.Map(_by_domain)
            | "MostPages" >> beam.CombinePerKey(_First(settings.beginnings, _most_pages))
        )
        examples = (
            seen
            | "KeySeen" >> beam.Map(_example)
            | "FewOfEach" >> beam.CombinePerKey(_First(settings.examples))
            | "ExamplesByDomain" >> beam.Map(_by_domain)
            | "GroupExamples" >> beam.GroupByKey()
        )
        return (
            {"beginnings": beginnings, "examples": examples}
            | "Join" >> beam.CoGroupByKey()
            | "Describe" >> beam.Map(_described, chosen, self._labels)
            | "List" >> beam.combiners.ToList()
            | "Name" >> beam.Map(_named).with_output_types(tuple[str, Any])
        )


class Beginning(NamedTuple):
    """Pages of a site whose urls begin alike.

    Attributes:
      text: host and first segments of the path.
      pages: that begin so.
      recalled: of them.
      labels: recalled pages by label, in the order of the labels.
    """

    text: str
    pages: int
    recalled: int
    labels: tuple[int, ...]


def beginnings_of(url: str) -> list[str]:
    """Host, host and first segment, host and two: what patterns are made of."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return []
    if not host:  # A path of a repository.
        segments, found = url.strip("/").split("/"), []
        text = ""
    else:
        text = host.removeprefix("www.")
        segments, found = parts.path.strip("/").split("/"), [text]
    # The last one is the page itself.
    for segment in segments[:-1][:_DEPTH]:
        if not segment or len(segment) > _LONGEST_SEGMENT or any(c.isspace() for c in segment):
            break
        text = f"{text}/{segment}" if text else segment
        found.append(text)
    return found


def suggestions(candidate: Mapping[str, Any], settings: DomainSettings) -> Iterator[dict[str, Any]]:
    """Patterns for a candidate: its shortest beginnings whose pages are mostly recalled.

    One is of use where it has pages that were missed.
    """
    taken: list[str] = []
    for found in sorted(candidate["beginnings"], key=lambda b: (b["text"].count("/"), b["text"])):
        if any(found["text"].startswith(shorter) for shorter in taken):
            continue
        enough = found["pages"] >= settings.least_pages or found["text"] == candidate["domain"]
        if enough and found["recalled"] >= settings.suggested_share * found["pages"]:
            taken.append(found["text"])
            if found["recalled"] < found["pages"]:
                yield {
                    "pattern": pattern_of(found["text"]),
                    "label": max(found["labels"], key=lambda name: (found["labels"][name], name)),
                    "pages": found["pages"],
                    "recalled": found["recalled"],
                }


def pattern_of(beginning: str) -> str:
    """As the paper writes them: `%cloud.tencent.com/developer/article%`."""
    return f"{WILDCARD}{beginning}{WILDCARD}"


def _is_candidate(item: tuple[str, tuple[int, ...]], settings: DomainSettings) -> bool:
    _, (pages, recalled, *_) = item
    return settings.is_candidate(pages, recalled)


def _size(item: tuple[str, tuple[int, ...]]) -> tuple[int, int, str]:
    domain, (pages, recalled, *_) = item
    return pages, recalled, domain


def _is_chosen(seen: Seen, chosen: Mapping[str, Any]) -> bool:
    return seen[0] in chosen


def _beginnings(seen: Seen, labels: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], tuple]]:
    domain, url, _, label, _, recalled, _ = seen
    row = (1, int(recalled), *(int(recalled and label == name) for name in labels))
    # Pages of tables without urls have none: no pattern finds them.
    for text in beginnings_of(url):
        yield (domain, text), row


def _sum(rows: Any) -> tuple:
    return tuple(map(sum, zip(*rows, strict=True)))


def _by_domain(item: tuple[tuple[str, Any], Any]) -> tuple[str, tuple[Any, Any]]:
    (domain, key), value = item
    return domain, (key, value)


class _First(beam.CombineFn):
    """The first few of all, by a key."""

    def __init__(self, most: int, key: Callable[[Any], Any] | None = None) -> None:
        self._most = most
        self._key = key

    def create_accumulator(self) -> Any:
        return []

    def add_input(self, accumulator: Any, item: Any) -> Any:
        accumulator.append(item)
        return self._cut(accumulator) if len(accumulator) > 8 * self._most else accumulator

    def merge_accumulators(self, accumulators: Any) -> Any:
        return self._cut([item for items in accumulators for item in items])

    def extract_output(self, accumulator: Any) -> Any:
        return self._cut(accumulator)

    def _cut(self, items: list) -> list:
        return heapq.nsmallest(self._most, items, key=self._key)


def _most_pages(beginning: tuple[str, Any]) -> tuple[int, str]:
    """Order of (beginning, counts) pairs: most pages first; ties by text."""
    text, counts = beginning
    return -counts[0], text


def _example(seen: Seen) -> tuple[tuple[str, bool], tuple]:
    domain, url, excerpt, label, score, recalled, order = seen
    return (domain, recalled), (order, url, excerpt, label, score)


def _described(
    item: tuple[str, Mapping[str, Any]], chosen: Mapping[str, Any], labels: tuple[str, ...]
) -> dict[str, Any]:
    domain, found = item
    pages, recalled, before, size, recalled_size, *wanted = chosen[domain]
    examples = {kind: rows for group in found["examples"] for kind, rows in group}
    return {
        "domain": domain,
        "pages": pages,
        "recalled": recalled,
        "recalled_before": before,
        "bytes": size,
        "recalled_bytes": recalled_size,
        "labels": dict(zip(labels, wanted, strict=True)),
        "beginnings": [
            {
                "text": text,
                "pages": row[0],
                "recalled": row[1],
                "labels": dict(zip(labels, row[2:], strict=True)),
            }
            for group in found["beginnings"]
            for text, row in group
        ],
        "examples": {
            name: [
                {"url": url, "text": excerpt, "label": label, "score": round(score, 4)}
                for _, url, excerpt, label, score in examples.get(kind, ())
            ]
            for name, kind in (("recalled", True), ("missed", False))
        },
    }


def _named(candidates: list[dict[str, Any]]) -> tuple[str, Any]:
    ordered = sorted(candidates, key=lambda c: (-c["pages"], c["domain"]))
    return "candidates", ordered
