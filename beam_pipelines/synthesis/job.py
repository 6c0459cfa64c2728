"""One job that makes several derived sets from a corpus, whatever the sets are.

`annealing_data` and `sft_data` differ in what they keep of a document; how a corpus is
read, what makes a finished folder theirs, what runs in which folder and how the sum is
checked is the same, and stands here. A command gives `make_sets` its settings and a
function from documents to one `Outcome` a set.
Next: `sets` writes a set and its manifest, `beam_pipelines/runner.py` runs a pipeline.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from beam_pipelines import output, runner, ticks
from beam_pipelines.synthesis import sets
from beam_pipelines.synthesis.in_sandbox import check_sandbox
from beam_pipelines.synthesis.inputs import Input
from beam_pipelines.transforms.decontamination import KeptOut
from opencoder_jax import configuration
from opencoder_jax.timing import timed


class Job(NamedTuple):
    """What is fixed for a command.

    Attributes:
      name: in manifests, e.g. `sft_data`.
      title: what the progress bar says.
      sets: their folders, in order.
      records: name of their shards, `documents` or `conversations`.
      encode: a kept element to its record.
      count_by: a record to the kind that it is counted as.
      executes: whether programs are run.
    """

    name: str
    title: str
    sets: tuple[str, ...]
    records: str
    encode: Callable[[Any], bytes]
    count_by: Callable[[bytes], str]
    executes: bool = True


def make_sets(
    job: Job,
    source: Input,
    output_dir: str,
    make: Callable[[beam.PCollection], Mapping[str, sets.Outcome]],
    *,
    settings: Mapping[str, Any],
    benchmarks: KeptOut,
    num_shards: int,
    allow_unisolated: bool,
    pipeline_args: Sequence[str],
    report: Callable[[PipelineResult, output.Work], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Runs `make` on what `source` reads and writes each set to a folder of its own.

    Args:
      job: what is fixed for the command.
      source: what the sets are made from.
      output_dir: gets a folder for each set; local or in a store.
      make: PCollection of what is read to the outcome of each set.
      settings: what the records depend on, besides `benchmarks` and `num_shards`.
      benchmarks: what the sets are kept clean of.
      num_shards: of each set.
      allow_unisolated: go on where programs cannot be isolated.
      pipeline_args: Beam's own flags.
      report: what else is told of a finished pipeline, into the unfinished folder.

    Returns:
      The manifest of each set.

    Raises:
      InputError: the source is missing or unfinished, the output was made with other
        settings, or the machine cannot isolate programs.
    """
    # First: Beam's filesystems take their settings, which lead to stores, from the pipeline.
    pipeline = runner.pipeline(pipeline_args)
    runner.require_shared_folders(pipeline, output_dir=output_dir)
    config = {**settings, "benchmarks": benchmarks.names, "num_shards": num_shards}
    identity: dict[str, Any] = {
        "job": job.name,
        "config": configuration.canonical(config),
        "inputs": {"corpus": source.fingerprint(), **dict(benchmarks.inputs)},
    }
    done = sets.finished_sets(output_dir, job.sets, **identity)
    if done is not None:
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return done
    if job.executes:
        check_sandbox(pipeline_args, allow_unisolated)
    stages = [ticks.Stage("read", job.title, source.count())]
    with output.working_folder(output_dir) as work:
        with timed(work.local), ticks.shown(stages, job.records) as ticking, pipeline:
            elements = source.read(pipeline) | "Tick" >> ticks.Tick(ticking, "read")
            outcomes = make(elements)
            for name, outcome in outcomes.items():
                _ = outcome | f"Write {name}" >> sets.WriteSet(
                    work.place(name), job.records, num_shards, job.encode, job.count_by
                )
        if report is not None:
            report(pipeline.result, work)
        manifests = {
            name: sets.finish_set(work, name, job.records, outcomes[name], **identity)
            for name in job.sets
        }
        configuration.write_config_gin(work.local)
    for name in job.sets:
        print(sets.summary_line(output_dir, name, manifests[name]))
    return manifests
