"""Cleans a corpus of source files: RefineCode's pipeline as one Beam job (paper §2.1.1).

    files → read → exact dedup → near dedup → repair → rules → documents-*.arrayrecord

in the paper's order: copies go first because they are most of the volume, repair comes
before the rules so that what can be saved is. Every file is in `documents-*` or, with
its reason, in `dropped/`; the job checks that on what it wrote. `statistics.json` has the
table of languages and stages, `manifest.json` marks the folder finished. The launcher
lists and reads nothing of the corpus' size: the output may be on `gs://` or `s3://`.

The stages are in `beam_pipelines/{sources,dedup,transforms,signals}`; docs/cleaning.md
explains them, gin_configs/refinecode/paper.gin has the paper's numbers.
"""

import collections
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult
from rich.console import Console
from rich.table import Table as RichTable

from beam_pipelines import accounting, output, runner, sinks, ticks
from beam_pipelines.accounting import Drop
from beam_pipelines.dedup import levels
from beam_pipelines.dedup.chunk import Trimmed
from beam_pipelines.dedup.levels import Deduplicate
from beam_pipelines.output import Work
from beam_pipelines.parquet import Table
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.sources.entry import Source
from beam_pipelines.transforms.quality import RULE, SIGNAL_ERROR, JudgeQuality
from beam_pipelines.transforms.read import ReadFiles
from beam_pipelines.transforms.repair import Repair
from beam_pipelines.transforms.statistics import LISTED, Statistics
from opencoder_jax import configuration
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.document import Document, decode_document, encode_document
from opencoder_jax.formats.judged import Judged, decode_judged, encode_judged
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.timing import timed

JOB = "refinecode"
STATISTICS_NAME = "statistics.json"
_SHARDS_NAME = "shards.json"
_PARQUET_FOLDER = "parquet"
_CLUSTERS_SHOWN = 50
_SAMPLES_SHOWN = 3
_LANGUAGES_SHOWN = 12


def refinecode(
    source: Source,
    output_dir: str,
    num_shards: int,
    rule_tables: Mapping[str, RuleTable],
    ngram: int,
    permutations: int,
    bands: int,
    rows: int,
    max_file_bytes: int,
    min_jaccard: float | None = None,
    dedup_levels: Sequence[str] = ("file",),
    chunk_tokens: int = 4096,
    chunk_tokenizer: str = "",
    parquet: bool = False,
    pipeline_args: Sequence[str] = (),
) -> None:
    """Reads, deduplicates, repairs and filters source files into `documents-*` shards.

    Does nothing where `output_dir` holds the result already, and refuses a folder that
    was made with other settings or from other files.

    Args:
      source: where the files are (`beam_pipelines.sources`).
      output_dir: folder to write, local or anything that Beam's filesystems open (`gs://`,
        `s3://`); unfinished files are in its `.incomplete`.
      num_shards: of the documents and of the drops.
      rule_tables: table name to thresholds (gin_configs/refinecode/rules).
      ngram: words a shingle of near deduplication.
      permutations: of its MinHash: bands × rows.
      bands: two documents are compared if all rows of one band agree.
      rows: of a band.
      max_file_bytes: larger files are dropped unread.
      min_jaccard: exact similarity to the document kept from which a document is dropped;
        None takes what the bands imply.
      dedup_levels: of `file`, `repository`, `chunk`, in order (gin_configs/refinecode/dedup).
      chunk_tokens: most tokens of a chunk.
      chunk_tokenizer: folder of the tokenizer that counts them; empty counts words.
      parquet: whether to write documents and drops as parquet files, too, into `parquet/`.
      pipeline_args: Beam's own flags, e.g. `--direct_running_mode=multi_processing`.
    """
    require_at_least(1, num_shards=num_shards, max_file_bytes=max_file_bytes)
    pipeline = runner.pipeline(pipeline_args)
    config = configuration.canonical(
        {
            "source": source.settings(),
            "num_shards": num_shards,
            "rule_tables": rule_tables,
            "ngram": ngram,
            "permutations": permutations,
            "bands": bands,
            "rows": rows,
            "min_jaccard": min_jaccard,
            "dedup_levels": dedup_levels,
            "chunk_tokens": chunk_tokens,
            "chunk_tokenizer": chunk_tokenizer,
            "max_file_bytes": max_file_bytes,
            "parquet": parquet,
        }
    )
    dedup = Deduplicate(
        dedup_levels,
        ngram,
        permutations,
        bands,
        rows,
        min_jaccard,
        chunk_tokens=chunk_tokens,
        tokenizer=chunk_tokenizer,
    )
    stage_names = ("read", *levels.stage_names(dedup_levels), "repaired", "kept")
    inputs = {"source": source.fingerprint()}
    if output.already_done(output_dir, job=JOB, config=config, inputs=inputs):
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return
    progress = (
        ticks.Stage("read", "read files", None),
        ticks.Stage("compare", "deduplicate", "documents"),
        ticks.Stage("judge", "repair and judge", "compare"),
    )
    with output.working_folder(output_dir) as work:
        with timed(work.local), ticks.shown(progress, "files") as ticking:
            with pipeline:
                stages = _build(pipeline, source, dedup, rule_tables, max_file_bytes, ticking)
                _write(stages, stage_names, work, num_shards, parquet, rule_tables)
            counts, files = _account(work, pipeline.result)
        configuration.write_config_gin(work.local)
        write_manifest(
            work.local, job=JOB, config=config, inputs=inputs, counts=counts, files=files
        )
    _report(output_dir, counts["documents"])


def _build(
    pipeline: beam.Pipeline,
    source: Source,
    dedup: Deduplicate,
    rule_tables: Mapping[str, RuleTable],
    max_file_bytes: int,
    ticking: Path,
) -> dict[str, beam.PCollection]:
    """The stages; by name the documents after each, and everything that is counted."""
    listed = source.read(pipeline, max_file_bytes)
    read = listed | "TickRead" >> ticks.Tick(ticking, "read") | "Read" >> ReadFiles(max_file_bytes)
    documents = read.kept | "TickDocuments" >> ticks.Tick(ticking, "documents")
    result = documents | "Dedup" >> dedup
    repaired = result.kept | "TickCompare" >> ticks.Tick(ticking, "compare") | "Repair" >> Repair()
    judged = (
        repaired.documents
        | "TickJudge" >> ticks.Tick(ticking, "judge")
        | "Judge" >> JudgeQuality(rule_tables)
    )
    replaced = repaired.replaced
    if result.trimmed is not None:
        removed = result.trimmed | "RemovedChunks" >> beam.FlatMap(
            _removed_chunks
        ).with_output_types(tuple[str, int])
        replaced = (replaced, removed) | "Replaced" >> beam.Flatten()
    dropped = (read.dropped, result.dropped, judged.dropped) | beam.Flatten()
    return {
        "listed": listed,
        "read": documents,
        **result.stages,
        "repaired": repaired.documents,
        "kept": judged.kept,
        "judged": judged.judged,
        "dropped": dropped,
        "replaced": replaced,
        "clusters": result.clusters,
    }


def _removed_chunks(trimmed: Trimmed) -> Iterator[tuple[str, int]]:
    """As `Repair` counts what it replaces: once a document, with an amount."""
    yield "duplicate_chunks", trimmed.removed_chunks
    yield "duplicate_chunk_bytes", trimmed.removed_bytes


def _write(
    stages: Mapping[str, beam.PCollection],
    stage_names: Sequence[str],
    work: Work,
    num_shards: int,
    parquet: bool,
    rule_tables: Mapping[str, RuleTable],
) -> None:
    """Writes every set of records, the statistics, and the list of what was written."""

    def table(record: type, decode: Callable[[bytes], Any]) -> Table | None:
        return Table(work.place(_PARQUET_FOLDER), record, decode) if parquet else None

    written = (
        stages["kept"]
        | "WriteDocuments"
        >> sinks.WriteShards(
            work.folder,
            "documents",
            num_shards,
            encode_document,
            key=lambda document: document.id,
            table=table(Document, decode_document),
        ),
        stages["dropped"]
        | "WriteDropped"
        >> sinks.WriteShards(
            work.place("dropped"),
            "dropped",
            num_shards,
            accounting.encode_drop,
            key=lambda drop: drop.id,
            kind=_reason,
            table=table(Drop, accounting.decode_drop),
        ),
        stages["judged"]
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
        | "NameFiles" >> beam.Map(_named, work.folder).with_output_types(tuple[str, dict[str, Any]])
        | "WriteShardList" >> sinks.WriteJson(work.place(_SHARDS_NAME))
    )
    _ = (
        stages
        | "Statistics" >> Statistics(stage_names, _CLUSTERS_SHOWN, _SAMPLES_SHOWN, rule_tables)
        | "WriteStatistics" >> sinks.WriteJson(work.place(STATISTICS_NAME))
    )


def _reason(record: bytes) -> str:
    return accounting.decode_drop(record).reason


def _named(shard: sinks.Shard, folder: str) -> tuple[str, dict[str, Any]]:
    place, digest, records, kinds = shard
    name = place.removeprefix(f"{folder}/")
    return name, {"sha256": digest, "records": records, "kinds": kinds}


def _account(work: Work, result: PipelineResult) -> tuple[dict[str, Any], dict[str, str]]:
    """The manifest's counts and files: what was listed against what the shards hold.

    The sinks tell what they wrote, when it stood in its place; no shard is read again.

    Raises:
      AccountingError: a document is missing, or the statistics or Beam's committed counters
        differ from the shards.
    """
    shards = json.loads(work.take(_SHARDS_NAME))
    statistics = work.read(STATISTICS_NAME)
    totals = json.loads(statistics)["totals"]
    reasons: collections.Counter[str] = collections.Counter()
    for shard in shards.values():
        reasons.update(shard["kinds"])
    records = {
        name: sum(shard["records"] for file, shard in shards.items() if _set_name(file) == name)
        for name in ("documents", "dropped", "signals")
    }
    kept = records["documents"]
    documents = accounting.conservation(totals[LISTED]["documents"], kept, reasons)
    accounting.check_equal("documents kept", kept, totals["kept"]["documents"], STATISTICS_NAME)
    by_rules = kept + reasons[RULE] + reasons[SIGNAL_ERROR]
    accounting.check_equal("signals", records["signals"], by_rules, "documents and drops")
    accounting.check_equal("drops", records["dropped"], reasons.total(), "their reasons")
    for name, written in records.items():
        committed = sinks.committed_records(result, name)
        if committed is not None:
            accounting.check_equal(f"records of {name}", written, committed, "Beam")
    files = {name: shard["sha256"] for name, shard in shards.items()}
    files[STATISTICS_NAME] = hashlib.sha256(statistics).hexdigest()
    counts = {"documents": documents, "bytes": {stage: totals[stage]["bytes"] for stage in totals}}
    return counts, files


def _set_name(file: str) -> str:
    """`documents` of `documents-00000-of-00004.arrayrecord`; empty for parquet."""
    name = file.rpartition("/")[2]
    return name.partition("-")[0] if name.endswith(".arrayrecord") else ""


def _report(output_dir: str, documents: Mapping[str, Any]) -> None:
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


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            refinecode,
            default_gin_files=["refinecode/demo.gin"],
            pass_through="pipeline_args",
        )
    )
