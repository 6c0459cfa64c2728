"""What a round did, in numbers: for `statistics.json`, the review page and the command's table."""

from collections.abc import Iterator, Mapping
from typing import Any

from beam_pipelines.recall.domains import DomainSettings
from beam_pipelines.recall.labels import NONE, SeedSettings
from beam_pipelines.recall.scoring import BANDS


def domain_counts(
    item: tuple[str, tuple[int, ...]], settings: DomainSettings
) -> Iterator[tuple[str, int]]:
    """How many domains there are, how many candidates, how many that were none before."""
    _, (pages, recalled, before, *_) = item
    yield "domains", 1
    candidate = settings.is_candidate(pages, recalled)
    yield "domain candidates", int(candidate)
    yield "domains new", int(candidate and not settings.is_candidate(pages, before))


def statistics_of(
    number: int,
    counts: Mapping[str, int],
    documents: Mapping[str, Any],
    examples: Mapping[str, Any],
    seeds: SeedSettings,
) -> dict[str, Any]:
    """The statistics of a round.

    Args:
      number: of the round.
      counts: sums of `scoring` and `domain_counts`.
      documents: the account of pages.
      examples: label to reason to number of examples of the classifier.
      seeds: with the labels.
    """

    def of(name: str) -> int:
        return counts.get(name, 0)

    statistics = {
        "round": number,
        "pages": documents["input"],
        "dropped": documents["dropped"],
        "examples": examples,
        "scored": {"pages": of("scored"), "bytes": of("scored bytes")},
        "recalled": {
            "pages": documents["output"],
            "bytes": of("recalled bytes"),
            "labels": {
                label: {"pages": of(f"label {label}"), "bytes": of(f"label bytes {label}")}
                for label in seeds.labels
            },
            "first_in_round": {str(n): of(f"first {n}") for n in range(number + 1)},
        },
        "scores": {f"{band / BANDS:.1f}": of(f"band {band / BANDS:.1f}") for band in range(BANDS)},
        "languages": {
            name.removeprefix("language "): count
            for name, count in counts.items()
            if name.startswith("language ")
        },
        "domains": {
            "all": of("domains"),
            "candidates": of("domain candidates"),
            "new": of("domains new"),
        },
    }
    if number > 1:
        statistics["against_round_before"] = {
            "new_pages": of("new"),
            "new_bytes": of("new bytes"),
            "lost_pages": of("lost"),
        }
        statistics["annotated_patterns"] = {
            "pages": of("named"),
            "recalled_before": of("named and recalled before"),
            "recalled": of("named and recalled"),
        }
    quality = _quality(counts, seeds)
    if quality:
        statistics["labelled"] = quality
    return statistics


def _quality(counts: Mapping[str, int], seeds: SeedSettings) -> dict[str, Any]:
    """Precision and recall on the held-out pages; empty where there are none."""
    table: dict[str, dict[str, int]] = {}
    for name, count in counts.items():
        if name.startswith("true "):
            _, true, answer = name.split(" ")
            table.setdefault(true, {})[answer] = count
    if not table:
        return {}

    def pages(true: set[str], answered: set[str]) -> int:
        return sum(table.get(t, {}).get(a, 0) for t in true for a in answered)

    every, wanted = {*seeds.labels, NONE}, set(seeds.labels)

    def rates(true: set[str], right: int) -> dict[str, Any]:
        answered, there = pages(every, true), pages(true, every)
        return {
            "pages": there,
            "recalled": answered,
            "precision": right / answered if answered else None,
            "recall": right / there if there else None,
        }

    return {
        "pages": pages(every, every),
        "wanted": rates(wanted, pages(wanted, wanted)),
        **{label: rates({label}, pages({label}, {label})) for label in seeds.labels},
    }
