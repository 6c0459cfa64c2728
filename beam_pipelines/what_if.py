"""What other rules would keep: reapplies tables to the signals that a corpus stores.

    python -m beam_pipelines.what_if --corpus_dir=CORPUS --gin_file=MY_RULES.gin

Computes no signal again: it reads `signals/` alone, as a Beam job, so any corpus goes that
the cleaning job can make, on this machine or in a store. What it says stays is what a run of
the job with those tables would keep, before sampling. `docs/rules.md`, "Changing a rule", has
an example.
Next: `transforms/rejudge.py` decides, `opencoder_jax/formats/judged.py` is what is read.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from beam_pipelines import output as outputs
from beam_pipelines import runner, sinks, stores, ticks
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.transforms.rejudge import NEWLY_DROPPED, NEWLY_KEPT, CompareTables
from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats import shards
from opencoder_jax.formats.judged import Judged, decode_judged

_ROWS_SHOWN = 25
_PIPE_WIDTH = 140
_NAMES = {NEWLY_KEPT: "newly kept", NEWLY_DROPPED: "newly dropped"}


def what_if(
    corpus_dir: str,
    rule_tables: Mapping[str, RuleTable],
    samples: int,
    output: str | None = None,
    pipeline_args: Sequence[str] = (),
) -> None:
    """Prints by language and by rule what other tables of rules would keep of a corpus.

    Args:
      corpus_dir: finished folder of `beam_pipelines.refinecode`, local, `gs://` or `s3://`.
      rule_tables: table name to thresholds: the other rules.
      samples: how many of the documents that change sides are named, each way.
      output: JSON file to write the whole comparison to; None: printed only.
      pipeline_args: Beam's own flags, as for the cleaning job.

    Raises:
      InputError: the folder is unfinished, or its signals are of another version.
    """
    require_at_least(0, samples=samples)
    pipeline = runner.pipeline(pipeline_args)
    outputs.read_manifest(corpus_dir)
    signals = f"{corpus_dir.rstrip('/')}/signals"
    try:
        places = outputs.list_shards(signals, "signals")
    except shards.MissingShardsError as error:
        raise InputError(
            f"{error}; clean the corpus again with a version that stores signals"
        ) from error
    # In a store the shards would have to be read for it.
    total = None if stores.is_remote(signals) else shards.count_records(signals, "signals")
    with tempfile.TemporaryDirectory() as temporary:
        path = output or str(Path(temporary) / "what_if.json")
        progress = (ticks.Stage("judge", "apply the rules", total),)
        with ticks.shown(progress, "documents") as ticking, pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(places)
                | "Spread" >> beam.Reshuffle()
                | "Read" >> beam.FlatMap(_records).with_output_types(bytes)
                | "Decode" >> beam.Map(decode_judged).with_output_types(Judged)
                | "Tick" >> ticks.Tick(ticking, "judge")
                | "Compare" >> CompareTables(rule_tables, samples)
                | "Write" >> sinks.WriteJson(path)
            )
        with FileSystems.open(path) as file:
            comparison = json.loads(file.read())
    _show(comparison)
    if output:
        Console().print(f"written to {escape(output)}", highlight=False, soft_wrap=True)


def _records(place: str) -> Iterator[bytes]:
    with stores.fetched(place) as path:
        yield from shards.read_shard(path)


def _show(comparison: Mapping[str, Any]) -> None:
    # Rich takes 80 columns where there is no terminal: too few for a rule's name and its counts.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    totals = comparison["totals"]
    changed = [
        (name, sides)
        for name, sides in comparison["languages"].items()
        if sides[NEWLY_KEPT]["documents"] or sides[NEWLY_DROPPED]["documents"]
    ]
    changed.sort(key=_most_changed)
    table = _table("language", "kept before", "kept after", "newly kept", "newly dropped")
    for name, sides in changed[:_ROWS_SHOWN]:
        table.add_row(escape(name), *_language_cells(sides))
    unchanged = len(comparison["languages"]) - len(changed[:_ROWS_SHOWN])
    table.add_section()
    table.add_row(f"all ({unchanged} not shown)", *_language_cells(totals))
    console.print(table)
    _show_rules(console, comparison["rules"])
    for change, title in _NAMES.items():
        for sample in comparison["samples"][change]:
            rules = ", ".join(sample["rules"])
            verb = "freed of" if change == NEWLY_KEPT else "by"
            console.print(
                f"[bold]{title}[/bold] {escape(sample['repo'])} / "
                f"{escape(_one_line(sample['path']))} ({sample['id']}) {verb} {rules}",
                soft_wrap=True,
            )
    before, after = totals["before"], totals["after"]
    console.print(
        f"kept {before['documents']:,} documents, {before['bytes'] / 1e6:,.2f} MB before; "
        f"{after['documents']:,}, {after['bytes'] / 1e6:,.2f} MB after",
        soft_wrap=True,
    )


def _show_rules(console: Console, rules: Mapping[str, Any]) -> None:
    changed = [
        (name, sides)
        for name, sides in rules.items()
        if sides["before"] != sides["after"] or sides["sole_before"] != sides["sole_after"]
    ]
    if not changed:
        return
    changed.sort(key=_most_changed)
    table = _table("rule", "hits", "alone", "newly kept", "newly dropped")
    for name, sides in changed[:_ROWS_SHOWN]:
        table.add_row(
            name,
            f"{sides['before']['documents']:,} → {sides['after']['documents']:,}",
            f"{sides['sole_before']['documents']:,} → {sides['sole_after']['documents']:,}",
            *(f"{sides[change]['documents']:,}" for change in (NEWLY_KEPT, NEWLY_DROPPED)),
        )
    console.print(table)
    if len(changed) > _ROWS_SHOWN:
        console.print(f"{len(changed) - _ROWS_SHOWN} more rules are in the JSON file (--output)")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for title in others:
        table.add_column(title, justify="right")
    return table


def _language_cells(sides: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"{sides[side]['documents']:,} ({sides[side]['bytes'] / 1e6:,.2f} MB)"
        for side in ("before", "after", NEWLY_KEPT, NEWLY_DROPPED)
    ]


def _most_changed(item: tuple[str, Mapping[str, Mapping[str, int]]]) -> tuple[int, str]:
    name, sides = item
    return -sum(sides[change]["documents"] for change in _NAMES), name


def _one_line(path: str) -> str:
    return path.encode("unicode_escape").decode() if not path.isprintable() else path


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            what_if,
            base_gin_files=["refinecode/what_if.gin"],
            pass_through="pipeline_args",
            flags={"corpus_dir": "CORPUS_DIR", "output": "what_if.output"},
        )
    )
