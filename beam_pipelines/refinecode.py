"""Cleans a corpus of source files: RefineCode's pipeline as one Beam job (paper §2.1.1).

    source → read → select → deduplicate → repair → judge → score → decontaminate → sample
           → documents-*.arrayrecord

in the paper's order: copies go first because they are most of the volume, repair comes
before the rules so that what can be saved is. Selection (stars, licences), a scorer's
quality, decontamination and sampling are options. The launcher lists and reads nothing of
the corpus' size: input and output may be on `gs://` or `s3://`.

The stages are in `beam_pipelines/{sources,dedup,transforms,signals}`, what the job leaves
in `corpus`; docs/cleaning.md explains them, gin_configs/refinecode/paper.gin has the
paper's numbers.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam

from beam_pipelines import output, runner, ticks
from beam_pipelines.accounting import Drop
from beam_pipelines.corpus import Job, account, print_funnel, write_corpus
from beam_pipelines.dedup.chunk import Trimmed
from beam_pipelines.dedup.levels import Deduplicate
from beam_pipelines.quality.select import SelectByQuality, scorer_fingerprint
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.sources.entry import Source
from beam_pipelines.transforms.decontamination import (
    Decontaminate,
    KeptOut,
    document_text,
    drop_contaminated,
    kept_out,
)
from beam_pipelines.transforms.facts import LISTED
from beam_pipelines.transforms.quality import JudgeQuality
from beam_pipelines.transforms.read import ReadFiles
from beam_pipelines.transforms.repair import Repair
from beam_pipelines.transforms.sample import Budget, SampleByLanguage
from beam_pipelines.transforms.select import SelectByLicence, SelectByStars
from opencoder_jax import configuration
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.timing import timed

JOB = "refinecode"
# A shard is some hundred megabytes of what is kept, of perhaps half a million files read.
_PARTS_A_SHARD = 64


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
    min_stars: int | None = None,
    allowed_licences: Sequence[str] | None = None,
    sample: Mapping[str, Budget] | None = None,
    decontaminate: bool = False,
    benchmarks: Sequence[str] | None = None,
    benchmark_data: str = "",
    min_quality: float | None = None,
    quality_scorer: str = "",
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
      min_stars: repositories with fewer are left out (the paper's ablation); None takes all.
      allowed_licences: SPDX identifiers, and `unknown`: other documents are left out; None
        takes all.
      sample: language to how much of it stays (gin_configs/refinecode/sample); None takes all.
      decontaminate: whether documents with a benchmark's problem are dropped.
      benchmarks: which, by the names of the evaluator's tasks; None: all whose files are in
        `benchmark_data`, and those that need none.
      benchmark_data: folder with the benchmarks' published files, here or in a store.
      min_quality: code files that `quality_scorer` gives less are dropped; None: none are.
      quality_scorer: folder of `beam_pipelines.quality_scorer`, which every worker can read.
      dedup_levels: of `file`, `repository`, `chunk`, in order (gin_configs/refinecode/dedup).
      chunk_tokens: most tokens of a chunk.
      chunk_tokenizer: folder of the tokenizer that counts them; empty counts words.
      parquet: whether to write documents and drops as parquet files, too, into `parquet/`.
      pipeline_args: Beam's own flags, e.g. `--direct_running_mode=multi_processing`.
    """
    require_at_least(1, num_shards=num_shards, max_file_bytes=max_file_bytes)
    pipeline = runner.pipeline(pipeline_args)
    runner.require_shared_folders(pipeline, output_dir=output_dir)
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
            "min_stars": min_stars,
            "allowed_licences": allowed_licences,
            "sample": sample,
            "dedup_levels": dedup_levels,
            "chunk_tokens": chunk_tokens,
            "chunk_tokenizer": open_tokenizer(chunk_tokenizer).fingerprint
            if chunk_tokenizer
            else "",
            "max_file_bytes": max_file_bytes,
            "parquet": parquet,
        }
    )
    kept = kept_out(benchmarks, benchmark_data, pipeline_args) if decontaminate else None
    inputs = {"source": source.fingerprint()}
    if kept is not None:
        config["benchmarks"] = list(kept.names)
        inputs |= dict(kept.inputs)
    if min_quality is not None:
        config["min_quality"] = min_quality
        inputs["quality_scorer"] = scorer_fingerprint(quality_scorer)
    dedup = Deduplicate(
        dedup_levels,
        ngram,
        permutations,
        bands,
        rows,
        min_jaccard,
        chunk_tokens=chunk_tokens,
        tokenizer=chunk_tokenizer,
        parts=_PARTS_A_SHARD * num_shards,
    )
    settings = Settings(
        select=_selection(min_stars, allowed_licences),
        dedup=dedup,
        rule_tables=rule_tables,
        quality=None
        if min_quality is None
        else SelectByQuality(os.path.abspath(quality_scorer), min_quality),
        benchmarks=kept,
        sample=SampleByLanguage(sample) if sample else None,
        max_file_bytes=max_file_bytes,
    )
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
                made = _build(pipeline, source, settings, ticking)
                write_corpus(made, work, num_shards, parquet, rule_tables)
            counts, files = account(work, pipeline.result)
        configuration.write_config_gin(work.local)
        write_manifest(
            work.local, job=JOB, config=config, inputs=inputs, counts=counts, files=files
        )
    print_funnel(output_dir, counts["documents"])


class Settings(NamedTuple):
    """The stages that the job's arguments ask for.

    Attributes:
      select: (name in the statistics, transform) of each choice made before deduplication.
      dedup: the levels of deduplication.
      rule_tables: of the quality rules.
      quality: which of the code that the rules keep stays; None: all of it.
      benchmarks: whose problems are dropped after the rules; None where none are.
      sample: after that; None where everything stays.
      max_file_bytes: larger files are dropped unread.
    """

    select: tuple[tuple[str, beam.PTransform], ...]
    dedup: Deduplicate
    rule_tables: Mapping[str, RuleTable]
    quality: beam.PTransform | None
    benchmarks: KeptOut | None
    sample: beam.PTransform | None
    max_file_bytes: int


def _selection(
    min_stars: int | None, allowed_licences: Sequence[str] | None
) -> tuple[tuple[str, beam.PTransform], ...]:
    selection: list[tuple[str, beam.PTransform]] = []
    if min_stars is not None:
        selection.append(("starred", SelectByStars(min_stars)))
    if allowed_licences is not None:
        selection.append(("licensed", SelectByLicence(allowed_licences)))
    return tuple(selection)


def _build(pipeline: beam.Pipeline, source: Source, settings: Settings, ticking: Path) -> Job:
    """The stages, in the order of the paper."""
    listed = source.read(pipeline, settings.max_file_bytes)
    read = (
        listed
        | "TickRead" >> ticks.Tick(ticking, "read")
        | "Read" >> ReadFiles(settings.max_file_bytes)
    )
    documents = read.kept
    stages, dropped = {"read": documents}, [read.dropped]
    for name, transform in settings.select:
        split = documents | f"Select {name}" >> transform
        stages[name] = documents = split.kept
        dropped.append(split.dropped)
    documents = documents | "TickDocuments" >> ticks.Tick(ticking, "documents")
    unique = documents | "Dedup" >> settings.dedup
    repaired = unique.kept | "TickCompare" >> ticks.Tick(ticking, "compare") | "Repair" >> Repair()
    judged = (
        repaired.documents
        | "TickJudge" >> ticks.Tick(ticking, "judge")
        | "Judge" >> JudgeQuality(settings.rule_tables)
    )
    replaced = repaired.replaced
    if unique.trimmed is not None:
        removed = unique.trimmed | "RemovedChunks" >> beam.FlatMap(
            _removed_chunks
        ).with_output_types(tuple[str, int])
        replaced = (replaced, removed) | "Replaced" >> beam.Flatten()
    stages |= {
        **unique.stages,
        "repaired": repaired.documents,
        "kept": judged.kept,
    }
    dropped += [unique.dropped, judged.dropped]
    documents = judged.kept
    if settings.quality:
        good = documents | "SelectQuality" >> settings.quality
        stages["good"] = documents = good.kept
        dropped.append(good.dropped)
    if settings.benchmarks:
        clean = documents | "Decontaminate" >> Decontaminate(
            settings.benchmarks, document_text, drop_contaminated
        )
        stages["decontaminated"] = documents = clean.kept
        dropped.append(clean.dropped)
    if settings.sample:
        sampled = documents | "SampleLanguages" >> settings.sample
        stages["sampled"] = sampled.kept
        dropped.append(sampled.dropped)
    parts = {
        LISTED: listed,
        "dropped": dropped | "Drops" >> beam.Flatten().with_output_types(Drop),
        "replaced": replaced,
        "clusters": unique.clusters,
        "judged": judged.judged,
    }
    return Job(stages, parts)


def _removed_chunks(trimmed: Trimmed) -> Iterator[tuple[str, int]]:
    """As `Repair` counts what it replaces: once a document, with an amount."""
    yield "duplicate_chunks", trimmed.removed_chunks
    yield "duplicate_chunk_bytes", trimmed.removed_bytes


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            refinecode,
            default_gin_files=["refinecode/demo.gin"],
            pass_through="pipeline_args",
        )
    )
