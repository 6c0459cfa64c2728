"""Lays a cleaning job out as one HTML file that needs nothing else.

Tables are written by Jinja, which escapes every value; histograms are drawn by
`corpus.js` from JSON in the page, a table of rules at a time, so that hundreds of
languages and thousands of histograms stay quick. Sorting and filtering are the script's
too: without it the page shows everything. Next: `corpus_page.html.j2`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.report import formatting
from opencoder_jax.report.corpus import Corpus, LanguageRow, read_corpus
from opencoder_jax.report.environment import template
from opencoder_jax.report.formatting import json_for_script
from opencoder_jax.report.page import Card

if TYPE_CHECKING:
    from opencoder_jax.report.perplexity import Perplexities

_FOLDER = Path(__file__).parent
_TONES = ("series-2", "series-3", "series-4", "series-5", "series-6")


@dataclasses.dataclass(frozen=True, slots=True)
class CleaningJob:
    """A finished corpus folder.

    Attributes:
      name: of the folder.
      corpus: funnel, reasons, rules, clusters, replacements.
      tables: table of rules → its rules and histograms, as in `statistics.json`.
      edges: kind of signal → inner edges of its bins.
      fingerprint: of the folder.
      code_version: that made it.
      inputs: (name, fingerprint) of what was read.
      configuration: its `config.gin`; empty where there is none.
    """

    name: str
    corpus: Corpus
    tables: Mapping[str, Any]
    edges: Mapping[str, Any]
    fingerprint: str
    code_version: str
    inputs: tuple[tuple[str, str], ...]
    configuration: str


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """Documents that one stage took, of those read."""

    title: str
    tone: str
    share: float


def read_cleaning_job(folder: Path) -> CleaningJob:
    """What the folder of a finished cleaning job tells.

    Raises:
      InputError: it is missing, unfinished, damaged, or was made before its job wrote
        histograms.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give what beam_pipelines.refinecode wrote")
    manifest = read_manifest(folder)
    corpus = read_corpus(folder)
    path = folder / "statistics.json"
    statistics = json.loads(path.read_text()) if corpus else {}
    if corpus is None or "tables" not in statistics:
        raise InputError(
            f"{path} has no histograms of signals; clean the corpus again with this version"
        )
    config = folder / "config.gin"
    return CleaningJob(
        name=folder.resolve().name,
        corpus=corpus,
        tables=statistics["tables"],
        edges=statistics["edges"],
        fingerprint=manifest["fingerprint"],
        code_version=str(manifest.get("code_version", "")),
        inputs=tuple((name, str(value)[:16]) for name, value in manifest["inputs"].items()),
        configuration=config.read_text(errors="replace") if config.exists() else "",
    )


def render_corpus(job: CleaningJob, perplexities: "Perplexities | None") -> str:
    """The page as HTML."""
    corpus = job.corpus
    return template("corpus_page.html.j2").render(
        job=job,
        corpus=corpus,
        cards=list(key_figures(corpus)),
        sections=list(_sections(job, perplexities)),
        legend=losses(_all(corpus), corpus),
        losses={row.language: losses(row, corpus) for row in corpus.languages},
        everything=_all(corpus),
        perplexities=perplexities,
        histograms=json_for_script({"edges": job.edges, "tables": job.tables}),
        style=(_FOLDER / "style.css").read_text() + (_FOLDER / "corpus.css").read_text(),
        script=(_FOLDER / "corpus.js").read_text(),
    )


def key_figures(corpus: Corpus) -> Iterator[Card]:
    """What a reader wants to know first: the page's header and the command's table."""
    yield Card(
        "Documents kept",
        formatting.count(corpus.last.documents),
        f"of {formatting.count(corpus.first.documents)} files",
    )
    yield Card(
        "Text kept",
        formatting.size(corpus.last.bytes),
        f"{formatting.percent(corpus.kept_share)} of what could be read",
    )
    kept = [row for row in corpus.languages if row.amounts[-1].documents]
    yield Card(
        "Languages kept",
        formatting.count(len(kept)),
        f"of {formatting.count(len(corpus.languages))} that were found",
    )
    by_rules = sum(reason.count for reason in corpus.reasons if reason.title == "quality rule")
    yield Card(
        "Dropped by rules",
        formatting.count(by_rules),
        f"{formatting.count(sum(rule.sole for rule in corpus.rules))} of them by one rule alone",
    )


def losses(row: LanguageRow, corpus: Corpus) -> tuple[Loss, ...]:
    """What each stage after reading took of the documents of a language, where it took any."""
    read = row.amounts[1].documents
    steps = zip(corpus.stages[2:], row.amounts[1:], row.amounts[2:], strict=False)
    return tuple(
        Loss(stage.title, _TONES[index % len(_TONES)], (before.documents - after.documents) / read)
        for index, (stage, before, after) in enumerate(steps)
        if read and after.documents < before.documents
    )


def _all(corpus: Corpus) -> LanguageRow:
    return LanguageRow("all", tuple(stage.total for stage in corpus.stages))


def _sections(job: CleaningJob, perplexities: "Perplexities | None") -> Iterator[tuple[str, str]]:
    yield "funnel", "Stages"
    yield "languages", "Languages"
    yield "reasons", "Reasons"
    yield "rules", "Rules"
    yield "signals", "Signals"
    if job.corpus.clusters:
        yield "clusters", "Duplicates"
    if job.corpus.replacements:
        yield "replacements", "Repairs"
    yield "perplexity", "Perplexity"
    yield "provenance", "Provenance"
