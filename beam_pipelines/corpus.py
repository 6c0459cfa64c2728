"""What the cleaning job leaves: every set of records, the account, the funnel it prints.

Every file is in `documents-*` or, with its reason, in `dropped/`; every document that
reached the rules has its signals in `signals/`. The sinks tell what they wrote, so the sum
is checked on that and no shard is read again. `statistics.json` has the table of
languages and stages. Next: `sinks` writes shards, `output` the folder around them.
"""

import collections
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult
from rich.console import Console
from rich.table import Table as RichTable

from beam_pipelines import accounting, output, sinks
from beam_pipelines.accounting import Drop
from beam_pipelines.output import Work
from beam_pipelines.parquet import Table
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.transforms.decontamination import drop_kind, split_kinds
from beam_pipelines.transforms.facts import LISTED
from beam_pipelines.transforms.quality import RULE, SIGNAL_ERROR
from beam_pipelines.transforms.statistics import Statistics
from opencoder_jax.formats.document import Document, decode_document, encode_document
from opencoder_jax.formats.judged import Judged, decode_judged, encode_judged

STATISTICS_NAME = "statistics.json"
_SHARDS_NAME = "shards.json"
_PARQUET_FOLDER = "parquet"
CLUSTERS_SHOWN = 50
SAMPLES_SHOWN = 3
_LANGUAGES_SHOWN = 12


class Job(NamedTuple):
    """What the pipeline has.

    Attributes:
      stages: name to the documents after it, in the order of the job.
      parts: everything else that is counted or written, by the names of `Statistics`.
    """

    stages: dict[str, beam.PCollection]
    parts: dict[str, beam.PCollection]


def write_corpus(
    made: Job, work: Work, num_shards: int, parquet: bool, rule_tables: Mapping[str, RuleTable]
) -> None:
    """Writes every set of records, the statistics, and the list of what was written."""
    *_, last = made.stages.values()

    def table(record: type, decode: Callable[[bytes], Any]) -> Table | None:
        return Table(work.place(_PARQUET_FOLDER), record, decode) if parquet else None

    written = (
        last
        | "WriteDocuments"
        >> sinks.WriteShards(
            work.folder,
            "documents",
            num_shards,
            encode_document,
            key=lambda document: document.id,
            table=table(Document, decode_document),
        ),
        made.parts["dropped"]
        | "WriteDropped"
        >> sinks.WriteShards(
            work.place("dropped"),
            "dropped",
            num_shards,
            accounting.encode_drop,
            key=lambda drop: drop.id,
            kind=drop_kind,
            table=table(Drop, accounting.decode_drop),
        ),
        made.parts["judged"]
        | "WriteSignals"
        >> sinks.WriteShards(
            work.place("signals"),
            "signals",
            num_shards,
            encode_judged,
            key=lambda judged: judged.id,
            table=table(Judged, decode_judged),
        ),
    )
    _ = (
        written
        | "Written" >> beam.Flatten()
        | "NameFiles"
        >> beam.Map(named_file, work.folder).with_output_types(tuple[str, dict[str, Any]])
        | "WriteShardList" >> sinks.WriteJson(work.place(_SHARDS_NAME))
    )
    _ = (
        {**made.stages, **made.parts}
        | "Statistics" >> Statistics(made.stages, CLUSTERS_SHOWN, SAMPLES_SHOWN, rule_tables)
        | "WriteStatistics" >> sinks.WriteJson(work.place(STATISTICS_NAME))
    )


def named_file(shard: sinks.Shard, folder: str) -> tuple[str, dict[str, Any]]:
    """A written file's name below `folder`, and what a job's account needs of it."""
    place, digest, records, kinds = shard
    name = place.removeprefix(f"{folder}/")
    return name, {"sha256": digest, "records": records, "kinds": kinds}


def account(work: Work, result: PipelineResult) -> tuple[dict[str, Any], dict[str, str]]:
    """The manifest's counts and files: what was listed against what the shards hold.

    The sinks tell what they wrote, when it stood in its place; no shard is read again.

    Raises:
      AccountingError: a document is missing, or the statistics or Beam's committed counters
        differ from the shards.
    """
    shards = json.loads(work.take(_SHARDS_NAME))
    statistics = work.read(STATISTICS_NAME)
    totals = json.loads(statistics)["totals"]
    kinds: collections.Counter[str] = collections.Counter()
    for shard in shards.values():
        kinds.update(shard["kinds"])
    reasons, of_benchmarks = split_kinds(kinds)
    records = {
        name: sum(shard["records"] for file, shard in shards.items() if set_name(file) == name)
        for name in ("documents", "dropped", "signals")
    }
    kept = records["documents"]
    last = json.loads(statistics)["stages"][-1]
    documents = accounting.conservation(totals[LISTED]["documents"], kept, reasons)
    accounting.check_equal("documents kept", kept, totals[last]["documents"], STATISTICS_NAME)
    by_rules = totals["kept"]["documents"] + reasons.get(RULE, 0) + reasons.get(SIGNAL_ERROR, 0)
    accounting.check_equal("signals", records["signals"], by_rules, "documents and drops")
    accounting.check_equal("drops", records["dropped"], sum(reasons.values()), "their reasons")
    for name, written in records.items():
        committed = sinks.committed_records(result, name)
        if committed is not None:
            accounting.check_equal(f"records of {name}", written, committed, "Beam")
    files = {name: shard["sha256"] for name, shard in shards.items()}
    files[STATISTICS_NAME] = hashlib.sha256(statistics).hexdigest()
    counts = {"documents": documents, "bytes": {stage: totals[stage]["bytes"] for stage in totals}}
    if of_benchmarks:
        counts["dropped_for_benchmark"] = of_benchmarks
    return counts, files


def set_name(file: str) -> str:
    """`documents` of `documents-00000-of-00004.arrayrecord`; empty for parquet."""
    name = file.rpartition("/")[2]
    return name.partition("-")[0] if name.endswith(".arrayrecord") else ""


def print_funnel(output_dir: str, documents: Mapping[str, Any]) -> None:
    """Prints the table of languages and stages, and the account."""
    statistics = json.loads(output.read_text(output_dir, STATISTICS_NAME))
    languages = sorted(
        statistics["languages"].items(),
        key=lambda item: (-_amount(item[1], "kept", "bytes"), item[0]),
    )
    # Repair drops nothing.
    reported = [(stage, "documents") for stage in statistics["stages"] if stage != "repaired"]
    reported += [("read", "bytes"), ("kept", "bytes")]
    table = RichTable(title="documents and megabytes by language and stage")
    table.add_column("language")
    for stage, unit in reported:
        title = stage.replace("_", " ")
        table.add_column(f"{title} MB" if unit == "bytes" else title, justify="right")
    for language, row in languages[:_LANGUAGES_SHOWN]:
        table.add_row(language, *_cells([row], reported))
    if others := [row for _, row in languages[_LANGUAGES_SHOWN:]]:
        table.add_row(f"{len(others)} others", *_cells(others, reported))
    table.add_section()
    table.add_row("all", *_cells([statistics["totals"]], reported))
    console = Console()
    console.print(table)
    dropped = ", ".join(f"{reason} {count}" for reason, count in documents["dropped"].items())
    console.print(
        f"{documents['input']} files = {documents['output']} documents kept"
        f" + {sum(documents['dropped'].values())} dropped ({dropped or 'none'})",
        highlight=False,
    )
    console.print(f"written to {output_dir}", highlight=False)


def _cells(rows: Sequence[Mapping[str, Any]], reported: Sequence[tuple[str, str]]) -> Iterator[str]:
    for stage, unit in reported:
        amount = sum(_amount(row, stage, unit) for row in rows)
        yield f"{amount / 1e6:,.2f}" if unit == "bytes" else f"{amount:,}"


def _amount(row: Mapping[str, Any], stage: str, unit: str) -> int:
    return row[stage][unit] if stage in row else 0
