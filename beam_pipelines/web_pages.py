"""Makes documents of crawled pages: the first step of code-related web data (paper §2.1.2).

    crawl files → captures → main text with code blocks → latest of each page → documents-*

Crawl files are WARC, WET, JSON lines or parquet, local or in a store. What recall and the
cleaning job need of a page is then in a `Document`: text, host, address, day. The stages are in
`beam_pipelines/web`; docs/web.md explains them and has what was measured.
"""

import collections
import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from beam_pipelines import accounting, output, runner, sinks, ticks
from beam_pipelines.corpus import STATISTICS_NAME, named_file, set_name
from beam_pipelines.output import Work
from beam_pipelines.web.domains import PageStatistics
from beam_pipelines.web.transform import MakePages, Pages, PageSettings
from opencoder_jax import configuration
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.document import encode_document
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.timing import timed

JOB = "web_pages"
_SHARDS_NAME = "shards.json"
_DOMAINS_LISTED = 200
_SAMPLES_SHOWN = 3


class Crawl(Protocol):
    """What the job reads from: `web.warc.Warc`, `web.tables.JsonPages`, `ParquetPages`."""

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection:
        """Captures (`RawPage`, or `RawFile` with an obstacle) and `Skipped` counts."""

    def settings(self) -> dict[str, Any]:
        """What distinguishes its output from another one's, for the manifest: no paths."""

    def fingerprint(self) -> str:
        """16 hex digits of what is read.

        Raises:
          InputError: nothing matches.
        """


def web_pages(
    crawl: Crawl,
    output_dir: str,
    num_shards: int,
    page_settings: PageSettings,
    pipeline_args: Sequence[str] = (),
) -> None:
    """Reads crawl files and writes the main text of each page into `documents-*` shards.

    Does nothing where `output_dir` holds the result already, and refuses a folder that was
    made with other settings or from other files.

    Args:
      crawl: where the pages are.
      output_dir: folder to write, local or in a store; gets `documents-*`, `dropped/`,
        `statistics.json` and, last, `manifest.json`.
      num_shards: of the documents and of the drops.
      page_settings: which captures become documents.
      pipeline_args: Beam's own flags.
    """
    require_at_least(1, num_shards=num_shards)
    pipeline = runner.pipeline(pipeline_args)
    runner.require_shared_folders(pipeline, output_dir=output_dir)
    config = configuration.canonical(
        {"crawl": crawl.settings(), "pages": page_settings, "num_shards": num_shards}
    )
    inputs = {"crawl": crawl.fingerprint()}
    if output.already_done(output_dir, job=JOB, config=config, inputs=inputs):
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return
    stages = [ticks.Stage("read", "read pages", None)]
    with output.working_folder(output_dir) as work:
        with timed(work.local), ticks.shown(stages, "records") as ticking:
            with pipeline:
                records = crawl.read(pipeline, page_settings.max_page_bytes)
                pages = (
                    records
                    | "Tick" >> ticks.Tick(ticking, "read")
                    | "Pages" >> MakePages(page_settings)
                )
                _write(pages, work, num_shards)
            counts, files = _account(work, pipeline.result)
        configuration.write_config_gin(work.local)
        write_manifest(
            work.local, job=JOB, config=config, inputs=inputs, counts=counts, files=files
        )
    _print_summary(output_dir)


def _write(pages: Pages, work: Work, num_shards: int) -> None:
    documents = sinks.WriteShards(
        work.folder, "documents", num_shards, encode_document, lambda page: page.id
    )
    dropped = sinks.WriteShards(
        work.place("dropped"),
        "dropped",
        num_shards,
        accounting.encode_drop,
        lambda drop: drop.id,
        kind=accounting.drop_reason,
    )
    _ = (
        (pages.kept | "WriteDocuments" >> documents, pages.dropped | "WriteDropped" >> dropped)
        | "Written" >> beam.Flatten()
        | "NameFiles"
        >> beam.Map(named_file, work.folder).with_output_types(tuple[str, dict[str, Any]])
        | "WriteShardList" >> sinks.WriteJson(work.place(_SHARDS_NAME))
    )
    _ = (
        pages
        | "Statistics" >> PageStatistics(_DOMAINS_LISTED, _SAMPLES_SHOWN)
        | "WriteStatistics" >> sinks.WriteJson(work.place(STATISTICS_NAME))
    )


def _account(work: Work, result: PipelineResult) -> tuple[dict[str, Any], dict[str, str]]:
    """The manifest's counts and files.

    Raises:
      AccountingError: captures are not pages plus drops, as the shards have them.
    """
    shards = json.loads(work.take(_SHARDS_NAME))
    statistics = work.read(STATISTICS_NAME)
    described = json.loads(statistics)
    reasons: collections.Counter[str] = collections.Counter()
    records: collections.Counter[str] = collections.Counter(documents=0, dropped=0)
    for name, shard in shards.items():
        reasons.update(shard["kinds"])
        records[set_name(name)] += shard["records"]
    totals = described["totals"]
    documents = accounting.conservation(totals["captures"], records["documents"], reasons)
    accounting.check_equal("pages", records["documents"], totals["pages"], STATISTICS_NAME)
    accounting.check_equal("drops", records["dropped"], reasons.total(), "their reasons")
    for name, written in records.items():
        committed = sinks.committed_records(result, name)
        if committed is not None:
            accounting.check_equal(f"records of {name}", written, committed, "Beam")
    files = {name: shard["sha256"] for name, shard in shards.items()}
    files[STATISTICS_NAME] = hashlib.sha256(statistics).hexdigest()
    counts = {"documents": documents, "bytes": totals["bytes"], "skipped": described["skipped"]}
    return counts, files


def _print_summary(output_dir: str) -> None:
    statistics = json.loads(output.read_text(output_dir, STATISTICS_NAME))
    totals, dropped = statistics["totals"], statistics["dropped"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    print(
        f"{output_dir}: {totals['captures']} captures, {totals['pages']} pages "
        f"({totals['bytes'] / 1e6:,.1f} MB of text, {totals['domains']} domains), "
        f"{sum(dropped.values())} dropped ({reasons or 'none'})"
    )


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            web_pages, default_gin_files=["web_pages/warc.gin"], pass_through="pipeline_args"
        )
    )
