"""Lays a collected run out as one HTML file that needs nothing else.

Plotly's script, the style sheet and every figure stand in the file once; nothing is
loaded from a network. Documents of the corpus may say `<script>`, so Jinja escapes every
value, and JSON inside a script element has its `<` written as an escape.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from opencoder_jax.report import charts, formatting
from opencoder_jax.report.collect import Run
from opencoder_jax.report.environment import template
from opencoder_jax.report.evaluation_tables import bits_tables, humaneval_rows, samples_by_prompt
from opencoder_jax.report.formatting import json_for_script
from opencoder_jax.report.training_runs import Phase

_FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """One key figure of the header."""

    title: str
    value: str
    note: str


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; `command` is what makes it where it is not `present`."""

    id: str
    title: str
    present: bool
    command: str


def render(run: Run) -> str:
    """The page as HTML."""
    tables = bits_tables(run.evaluations)
    return template("template.html.j2").render(
        run=run,
        cards=list(key_figures(run)),
        sections=_sections(run),
        bits_tables=tables,
        humaneval=humaneval_rows(run.evaluations),
        samples=samples_by_prompt(run.evaluations),
        figures=json_for_script(_figures(run, tables)),
        style=(_FOLDER / "style.css").read_text(),
        script=(_FOLDER / "charts.js").read_text(),
        plotly=get_plotlyjs(),
    )


def _sections(run: Run) -> list[Section]:
    module = "python -m opencoder_jax"
    return [
        Section("training", "Training", bool(run.phases), f"{module}.train"),
        Section("evaluation", "Evaluation", bool(run.evaluations), f"{module}.evaluate"),
        Section("corpus", "Corpus", run.corpus is not None, "python -m beam_pipelines.refinecode"),
        Section(
            "tokens",
            "Tokens",
            run.tokenizer is not None or bool(run.packed),
            f"{module}.train_tokenizer",
        ),
        Section(
            "synthesis",
            "Synthetic data",
            bool(run.synthesis),
            "python -m beam_pipelines.annealing_data",
        ),
        Section("timings", "Where the time went", bool(run.timings), "make demo"),
        Section("provenance", "Provenance", bool(run.stages), "make demo"),
    ]


def _figures(run: Run, tables: list[Any]) -> dict[str, charts.Figure]:
    """Element id to figure."""
    figures = {}
    if run.phases:
        figures["chart-training"] = charts.training_curves(run.phases)
    for table in tables:
        figures[table.chart] = charts.bits_per_byte_dots(table.scores)
    if run.timings:
        figures["chart-times"] = charts.stage_times(
            [(t.title, t.wall_seconds, t.peak_bytes) for t in run.timings]
        )
    return figures


def key_figures(run: Run) -> Iterator[Card]:
    """What a reader wants to know first: the page's header and the command's table."""
    if run.corpus:
        yield Card(
            "Documents kept",
            formatting.count(run.corpus.last.documents),
            f"of {formatting.count(run.corpus.first.documents)} files, "
            f"{formatting.size(run.corpus.last.bytes)}",
        )
    if run.tokenizer:
        yield Card(
            "Bytes a token",
            formatting.fixed(run.tokenizer.bytes_per_token, 2),
            f"vocabulary of {formatting.count(run.tokenizer.vocab_size)}",
        )
    if run.phases:
        yield from _training_cards(run.phases)
    yield from _evaluation_cards(run)
    if run.timings:
        yield Card(
            "Wall time",
            formatting.duration(run.total_seconds),
            f"at most {formatting.size(run.peak_bytes)} of memory",
        )


def _training_cards(phases: Sequence[Phase]) -> Iterator[Card]:
    first = phases[0]
    if first.parameters:
        yield Card("Parameters", formatting.short_count(first.parameters), first.dimensions)
    yield Card(
        "Tokens trained on",
        formatting.short_count(sum(phase.tokens or 0 for phase in phases)),
        f"{formatting.count(sum(p.steps for p in phases))} steps, phases: {len(phases)}",
    )
    yield Card(
        f"{first.title} loss",
        formatting.fixed(first.final_loss, 2),
        f"from {formatting.fixed(first.first_loss, 2)}, nats a token",
    )


def _evaluation_cards(run: Run) -> Iterator[Card]:
    for table in bits_tables(run.evaluations)[:1]:
        total = table.rows[-1]
        best = min((v for v in total.values if v is not None), default=None)
        if best is not None:
            phase = table.phases[total.values.index(best)]
            yield Card("Bits per byte", formatting.fixed(best, 3), f"held out, after {phase}")
    rows = humaneval_rows(run.evaluations)
    if rows:
        last = rows[-1]
        yield Card(
            "HumanEval pass@1",
            formatting.percent(last.pass_at_1),
            f"{last.passed} of {last.problems} problems, after {last.phase}",
        )
