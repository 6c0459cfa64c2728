"""Evaluations of several phases side by side: the rows of the report's tables.

`evaluations` reads one phase at a time; a reader wants to see what each phase changed,
so here the phases become columns. A phase that was not scored on a set has no column
there, a language that a phase lacks is an empty cell.
Next: `sections/evaluation.html.j2`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from opencoder_jax.report.evaluations import Evaluation, Problem
from opencoder_jax.report.formatting import most_first

_SET_LEADS = {
    "refinecode": "On whole repositories that no phase has trained on. Less is better; "
    "the best phase of each language is marked.",
    "sft_stage1": "On answers of held-out instructions of stage 1, in ChatML.",
    "sft_stage2": "On answers of held-out instructions of stage 2, in ChatML.",
}


@dataclasses.dataclass(frozen=True, slots=True)
class BitsRow:
    """Bits per byte of one language, one value a phase."""

    language: str
    bytes: int
    values: tuple[float | None, ...]
    total: bool

    @property
    def best(self) -> float | None:
        return min((value for value in self.values if value is not None), default=None)


@dataclasses.dataclass(frozen=True, slots=True)
class BitsTable:
    """All languages of one held-out set; the last row is the total."""

    chart: str
    lead: str
    phases: tuple[str, ...]
    rows: tuple[BitsRow, ...]

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """{phase: {language: bits per byte}}, for the chart."""
        scores: dict[str, dict[str, float]] = {}
        for index, phase in enumerate(self.phases):
            values = {
                ("all" if row.total else row.language): row.values[index] for row in self.rows
            }
            scores[phase] = {name: value for name, value in values.items() if value is not None}
        return scores


@dataclasses.dataclass(frozen=True, slots=True)
class HumanEvalRow:
    """HumanEval after one phase."""

    phase: str
    pass_at_1: float
    low: float
    high: float
    passed: int
    problems: int
    verdicts: tuple[tuple[str, int], ...]
    samples: tuple[Problem, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class PhaseText:
    """One continuation with the phase that wrote it."""

    phase: str
    prompt: str
    completion: str


@dataclasses.dataclass(frozen=True, slots=True)
class PromptSamples:
    """The continuations of one opening, a phase each."""

    title: str
    texts: tuple[PhaseText, ...]


def bits_tables(evaluations: Sequence[Evaluation]) -> list[BitsTable]:
    """One table for each held-out set that some phase was scored on."""
    names: dict[str, None] = {}
    for evaluation in evaluations:
        names.update(dict.fromkeys(evaluation.bits_per_byte))
    return [_bits_table(name, index, evaluations) for index, name in enumerate(names)]


def humaneval_rows(evaluations: Sequence[Evaluation]) -> list[HumanEvalRow]:
    rows = []
    for evaluation in evaluations:
        results = evaluation.humaneval
        if results is None:
            continue
        low, high = results["pass_at_1_interval"]
        rows.append(
            HumanEvalRow(
                phase=evaluation.phase,
                pass_at_1=results["pass_at_1"],
                low=low,
                high=high,
                passed=results["verdicts"].get("passed", 0),
                problems=results["problems"],
                verdicts=most_first(results["verdicts"]),
                samples=evaluation.problems,
            )
        )
    return rows


def samples_by_prompt(evaluations: Sequence[Evaluation]) -> list[PromptSamples]:
    texts: dict[str, list[PhaseText]] = {}
    for evaluation in evaluations:
        for sample in evaluation.continuations:
            texts.setdefault(sample.title, []).append(
                PhaseText(evaluation.phase, sample.prompt, sample.completion)
            )
    return [PromptSamples(title, tuple(found)) for title, found in texts.items()]


def _bits_table(name: str, index: int, evaluations: Sequence[Evaluation]) -> BitsTable:
    scored = [e for e in evaluations if name in e.bits_per_byte]
    results = [e.bits_per_byte[name] for e in scored]
    largest: dict[str, int] = {}
    for result in results:
        for language, score in result["languages"].items():
            largest[language] = max(largest.get(language, 0), score["bytes"])
    languages = sorted(largest, key=lambda language: (-largest[language], language))
    rows = [
        BitsRow(
            language=language,
            bytes=largest[language],
            values=tuple(_value(result["languages"].get(language)) for result in results),
            total=False,
        )
        for language in languages
    ]
    total = BitsRow(
        language="All",
        bytes=max(result["total"]["bytes"] for result in results),
        values=tuple(_value(result["total"]) for result in results),
        total=True,
    )
    return BitsTable(
        chart=f"chart-bits-{index}",
        lead=_SET_LEADS.get(name, f"On the held-out part of {name}. Less is better."),
        phases=tuple(e.phase for e in scored),
        rows=(*rows, total),
    )


def _value(score: Mapping[str, float | None] | None) -> float | None:
    return score["bits_per_byte"] if score else None
