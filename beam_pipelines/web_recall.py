"""Recalls code-related pages from a crawl, round by round (paper §2.1.2).

    seeds → fastText on BPE pieces → all pages scored → domains above 10 % → URL patterns → seeds

After each round `review.html` shows the domains of which more than a tenth was recalled; a person
labels parts of their urls in a small table, and pages under them that were missed join the
next round's seeds. A call goes as far as it can: to the last round asked for, or to the one
after which nobody has annotated yet. Reads finished folders of `Document`s
(`beam_pipelines.web_pages`, or `refinecode` for text files of repositories); what it leaves is
read by `refinecode` with `refinecode/sources/web_pages.gin`.

The steps are in `beam_pipelines/recall`; docs/web_recall.md explains them.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from beam_pipelines import output, runner
from beam_pipelines.recall import rounds as steps
from beam_pipelines.recall.classifier import ClassifierSettings, fasttext_library
from beam_pipelines.recall.domains import DomainSettings
from beam_pipelines.recall.labels import SeedSettings, several
from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.report import formatting


def web_recall(
    input_dirs: str | Sequence[str],
    output_dir: str,
    seeds: SeedSettings,
    classifier: ClassifierSettings,
    domains: DomainSettings,
    threshold: float,
    rounds: int,
    num_shards: int,
    accept_suggested: bool = False,
    held_out: str | Sequence[str] = (),
    languages: Sequence[str] = (),
    doc_types: Sequence[str] = (),
    pipeline_args: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Recalls pages that are like the seeds, in rounds.

    Args:
      input_dirs: finished folders (or one) with `documents-*`: one page a document.
      output_dir: gets `segments/` and for each round `round-N/classifier/` and
        `round-N/recalled/`; local or in a store.
      seeds: tables and patterns that label pages, and how many are learned from.
      classifier: how pages are read and classifiers trained.
      domains: which domains are shown for review.
      threshold: probability of a wanted label from which a page is recalled.
      rounds: how far to go.
      num_shards: of documents and drops.
      accept_suggested: where nobody has written `annotated-N.tsv`, go on with what the counts
        suggest, for experiments.
      held_out: tables of labelled pages that nothing is learned from; each round reports its
        precision and recall on them.
      languages: human languages to look at (`en`, `zh`); empty takes all.
      doc_types: of the documents that are meant, e.g. `text` in a folder of `refinecode`; empty
        takes all.
      pipeline_args: Beam's own flags.

    Returns:
      The statistics of each round that is finished.

    Raises:
      InputError: pages or a table are missing or broken, no page is a seed, or the output was
        made with other settings.
    """
    require_at_least(1, rounds=rounds, num_shards=num_shards)
    if not 0 < threshold < 1:
        raise InputError(f"threshold is {threshold}, expected 0 < threshold < 1")
    fasttext_library()
    # Its flags say how stores are reached, for tables and manifests too.
    runner.pipeline(pipeline_args)
    settings = steps.Settings(
        input_dirs=several(input_dirs),
        output_dir=output_dir,
        doc_types=doc_types,
        languages=languages,
        seeds=seeds,
        classifier=classifier,
        domains=domains,
        threshold=threshold,
        held_out=several(held_out),
        num_shards=num_shards,
        pipeline_args=pipeline_args,
    )
    steps.check(settings)
    surveyed = steps.survey(settings)
    annotated: tuple[str, ...] = ()
    recalled = None
    reports: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        before = steps.Before(number, annotated, recalled)
        made = steps.learn(settings, surveyed, before)
        recalled = steps.recall(settings, surveyed, before, made)
        reports.append(read_statistics(output_dir, number))
        if number == rounds:
            break
        table = steps.annotated_table(settings, number, accept_suggested)
        if table is None:
            _ask_for_annotation(settings, number)
            break
        annotated = (*annotated, table)
    print_rounds(output_dir, reports)
    return reports


def read_statistics(output_dir: str, number: int) -> dict[str, Any]:
    """`statistics.json` of a finished round."""
    folder = f"{output_dir.rstrip('/')}/round-{number}/recalled"
    return json.loads(output.read_text(folder, steps.STATISTICS))


def _ask_for_annotation(settings: steps.Settings, number: int) -> None:
    folder = settings.place(f"round-{number}", "recalled")
    steps.say(
        f"Round {number} is done, and round {number + 1} needs URL patterns. Look at\n"
        f"  {folder}/{steps.REVIEW}\n"
        f"and write the table that it makes to\n"
        f"  {settings.place(steps.annotated_name(number))}\n"
        f"({folder}/{steps.SUGGESTED} is a first draft; a table with a header alone means that "
        "there is nothing to add); then run the same command. --accept_suggested takes the draft."
    )


def print_rounds(output_dir: str, reports: Sequence[Mapping[str, Any]]) -> None:
    """Prints a row a round."""
    table = Table(title="rounds")
    labelled = any("labelled" in report for report in reports)
    columns = ["round", "seeds", "recalled", "MB", "new", "domains", "of them new"]
    for column in [*columns, *(["precision", "recall"] if labelled else [])]:
        table.add_column(column, justify="right")
    for report in reports:
        of_seeds = (
            count
            for label, reasons in report["examples"].items()
            for reason, count in reasons.items()
            if label != "none" and reason != "other"
        )
        against = report.get("against_round_before", {})
        row = [
            str(report["round"]),
            f"{sum(of_seeds):,}",
            f"{report['recalled']['pages']:,}",
            f"{report['recalled']['bytes'] / 1e6:,.2f}",
            f"{against['new_pages']:,}" if against else "",
            f"{report['domains']['candidates']:,}",
            f"{report['domains']['new']:,}",
        ]
        if labelled:
            wanted = report["labelled"]["wanted"]
            row += [formatting.fixed(wanted["precision"]), formatting.fixed(wanted["recall"])]
        table.add_row(*row)
    console = Console()
    console.print(table)
    last = reports[-1]
    dropped = ", ".join(f"{reason} {count}" for reason, count in last["dropped"].items())
    console.print(
        f"{last['pages']} pages = {last['recalled']['pages']} recalled"
        f" + {sum(last['dropped'].values())} dropped ({dropped or 'none'})",
        highlight=False,
    )
    console.print(f"written to {output_dir}/round-{last['round']}/recalled", highlight=False)


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            web_recall,
            default_gin_files=["web_recall/demo.gin"],
            pass_through="pipeline_args",
            flags={"rounds": "ROUNDS", "accept_suggested": "web_recall.accept_suggested"},
        )
    )
