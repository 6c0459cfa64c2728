"""Lays made sets out as one HTML file that needs nothing else.

Tables and histograms are written by Jinja, which escapes every value, and show without a
script; only the map of instructions is drawn by `made_sets.js`, from JSON in the page.
Next: `made_sets_page.html.j2`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.report import formatting
from opencoder_jax.report.diversity import Diversity, SetDiversity
from opencoder_jax.report.environment import template
from opencoder_jax.report.formatting import json_for_script
from opencoder_jax.report.made_sets import MadeSet, bin_start
from opencoder_jax.report.mixture import Mixture
from opencoder_jax.report.page import Card

_FOLDER = Path(__file__).parent
# Of a rejected sample or its detail on the page.
_SAMPLE_CHARACTERS = 3000
_SHOWN_NAMES = 24
# Colours of the map; what has none is grey.
_COLOURS = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: places and heights are shares of the picture."""

    x: float
    width: float
    height: float
    title: str


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """Records by length on a logarithmic axis from `low` to `high`."""

    title: str
    bars: tuple[Bar, ...]
    low: str
    high: str
    median: float
    records: int


@dataclasses.dataclass(frozen=True, slots=True)
class Shares:
    """A table of names with their share of a set's records; `more` are not shown."""

    title: str
    rows: tuple[tuple[str, int, float], ...]
    more: int


def render_made_sets(
    sets: Sequence[MadeSet], diversity: Diversity, mixture: Mixture | None, clusters_of: int
) -> str:
    """The page as HTML; `clusters_of` is the most samples of a set that were looked at."""
    return template("made_sets_page.html.j2").render(
        sets=sets,
        diversity=diversity,
        mixture=mixture,
        sampled=clusters_of,
        cards=list(key_figures(sets)),
        disagreements=[(made, check) for made in sets for check in made.checks if not check.agrees],
        checks=sum(len(made.checks) for made in sets),
        histograms=[list(_histograms(made)) for made in sets],
        shares=[list(_shares(made)) for made in sets],
        stages=[_funnel(made) for made in sets],
        overlaps=_overlaps(sets),
        summaries=[_summary(made, own) for made, own in zip(sets, diversity.sets, strict=True)],
        characters=_SAMPLE_CHARACTERS,
        map=json_for_script(_map(sets, diversity)),
        style=(_FOLDER / "style.css").read_text() + (_FOLDER / "made_sets.css").read_text(),
        script=(_FOLDER / "made_sets.js").read_text(),
    )


def key_figures(sets: Sequence[MadeSet]) -> Iterator[Card]:
    """What a reader wants to know first: the page's header and the command's table."""
    records = sum(made.records for made in sets)
    candidates = sum(made.candidates for made in sets)
    yield Card(
        "Records",
        formatting.count(records),
        f"of {formatting.count(candidates)} candidates, "
        f"{formatting.percent(records / candidates) if candidates else 'none'}",
    )
    executed = sum(made.executed for made in sets)
    told = records - sum(made.execution_unknown for made in sets)
    yield Card(
        "Executed and passed",
        formatting.percent(executed / told) if told else "–",
        f"of {formatting.count(told)} records that say so or not",
    )
    same = sum(made.same_question for made in sets)
    yield Card(
        "Same question",
        formatting.count(same),
        "records that ask what an earlier one of their set asks",
    )
    wrong = sum(not check.agrees for made in sets for check in made.checks)
    yield Card(
        "Disagreements",
        formatting.count(wrong),
        f"of {formatting.count(sum(len(made.checks) for made in sets))} numbers counted again",
    )


def _funnel(made: MadeSet) -> list[tuple[str, int, int]]:
    """(stage, left, lost in it)."""
    stages = made.funnel or (("candidates", made.candidates), ("kept", made.records))
    before = [stages[0][1], *(left for _, left in stages)]
    return [(s, left, b - left) for (s, left), b in zip(stages, before, strict=False)]


def _histograms(made: MadeSet) -> Iterator[Histogram]:
    for title, bins in made.lengths.items():
        if not bins:
            continue
        low, high = bins[0][0], bins[-1][0] + 1
        most = max(number for _, number in bins)
        yield Histogram(
            title=title,
            bars=tuple(
                Bar(
                    x=100 * (place - low) / (high - low),
                    width=100 / (high - low),
                    height=100 * number / most,
                    title=f"{_length(place)} to {_length(place + 1)}: {formatting.count(number)}",
                )
                for place, number in bins
            ),
            low=_length(low),
            high=_length(high),
            median=made.medians[title],
            records=sum(number for _, number in bins),
        )


def _length(place: int) -> str:
    return formatting.short_count(bin_start(place))


def _shares(made: MadeSet) -> Iterator[Shares]:
    tables: dict[str, Sequence[tuple[str, int]]] = {
        "Language": made.languages,
        "Human language or script": made.human_languages,
        "Provenance": made.provenance,
        "Prompt templates": made.templates,
        "Teachers": made.teachers,
        "Turns": [(str(turns), number) for turns, number in made.turns],
        **{name.replace("_", " ").capitalize(): values for name, values in made.facets.items()},
    }
    if made.execution_unknown < made.records:
        told = {
            "executed and passed": made.executed,
            "not executed": made.not_executed,
            "not told": made.execution_unknown,
        }
        tables["Execution"] = formatting.most_first({k: v for k, v in told.items() if v})
    for title, counts in tables.items():
        if counts:
            rows = [(name or "–", n, n / made.records) for name, n in counts[:_SHOWN_NAMES]]
            yield Shares(title, tuple(rows), max(len(counts) - _SHOWN_NAMES, 0))


def _overlaps(sets: Sequence[MadeSet]) -> list[list[int | None]]:
    """How many different questions of each set every other one has; None with itself."""
    return [
        [None if a is b else len(a.question_hashes & b.question_hashes) for b in sets] for a in sets
    ]


def _summary(made: MadeSet, diversity: SetDiversity) -> list[tuple[str, str]]:
    """The rows of the table of all sets side by side, from top to bottom."""
    records = made.records

    def share(number: float) -> str:
        return formatting.percent(number / records) if records else "–"

    turns = sum(count * number for count, number in made.turns)
    conversations = sum(number for _, number in made.turns)
    middle = {name: formatting.count(value) for name, value in made.medians.items()}
    usage = [one["total"] for one in made.usage]
    quantiles = diversity.neighbours
    told = made.execution_unknown < records
    return [
        ("Candidates", formatting.count(made.candidates)),
        ("Records", formatting.count(records)),
        ("Yield", formatting.percent(records / made.candidates) if made.candidates else "–"),
        ("Question, median characters", middle.get("question, characters", "–")),
        ("Answers, median characters", middle.get("answers, characters", "–")),
        ("Text, median characters", middle.get("text, characters", "–")),
        ("Tokens, median", middle.get("tokens", "–")),
        ("Turns, mean", formatting.fixed(turns / conversations, 2) if conversations else "–"),
        ("With a system prompt", share(made.system) if conversations else "–"),
        ("Executed and passed", share(made.executed) if told and records else "–"),
        ("Repositories", formatting.count(made.repositories)),
        ("From the largest repository", formatting.percent(made.largest_repository)),
        ("Same question as an earlier record", share(made.same_question)),
        ("Same record as an earlier one", share(made.same_record)),
        ("Near-equal question in the sample", _of_sample(diversity, diversity.near)),
        ("Nearest other question, cosine: median", _quantile(quantiles, 0.5)),
        ("the same, 90 %", _quantile(quantiles, 0.9)),
        ("the same, 99 %", _quantile(quantiles, 0.99)),
        *(
            (f"Different {n}-grams of words", _of_sample(diversity, part))
            for n, part in diversity.distinct.items()
        ),
        ("Languages, effective number", formatting.fixed(diversity.languages, 2)),
        ("Provenances, effective number", formatting.fixed(diversity.provenance, 2)),
        ("Clusters, effective number", formatting.fixed(diversity.clusters, 2)),
        ("Teacher calls", formatting.count(sum(t["asked"] + t["cached"] for t in usage)))
        if usage
        else ("Teacher calls", "–"),
        ("Cost, USD", formatting.fixed(sum(t["usd"] for t in usage), 2) if usage else "–"),
    ]


def _of_sample(diversity: SetDiversity, value: float) -> str:
    return formatting.percent(value) if diversity.sampled else "–"


def _quantile(quantiles: Mapping[float, float], q: float) -> str:
    return formatting.fixed(quantiles.get(q), 2)


def _map(sets: Sequence[MadeSet], diversity: Diversity) -> dict[str, Any]:
    """For the script: points, and names to colour by, those with most points first."""
    points = diversity.points
    by = {
        "set": [sets[point.set_number].title for point in points],
        "cluster": [
            " · ".join(diversity.clusters[point.cluster].words) or f"cluster {point.cluster + 1}"
            for point in points
        ],
        "language": [point.language for point in points],
        "provenance": [point.provenance for point in points],
    }
    names = {
        kind: [name for name, _ in formatting.most_first(_counted(values))]
        for kind, values in by.items()
    }
    return {
        "names": names,
        "colours": _COLOURS,
        "points": [
            [point.x, point.y, point.text, *(names[kind].index(by[kind][row]) for kind in by)]
            for row, point in enumerate(points)
        ],
    }


def _counted(values: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
