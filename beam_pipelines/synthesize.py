"""Makes a set with a teacher model: one command for every annealing and instruction set.

    python -m beam_pipelines.synthesize --gin_file=synthesis/educational.gin \
      --gin.INPUT_DIR=CORPUS --gin.OUTPUT_DIR=SETS \
      --teacher_url=http://localhost:8000/v1 --teacher_model=NAME

The gin file chooses the set (`beam_pipelines/synthesis/taught`); what it asks is in
`beam_pipelines/synthesis/prompts`. Every candidate becomes a record or a drop with its reason
and the rejected text. Calls that were answered are kept, so a killed job asks nothing twice.
docs/synthetic_data.md explains the sets, docs/teacher.md the teacher.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from beam_pipelines import runner
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.output import Work
from beam_pipelines.synthesis.balance import BalanceSettings
from beam_pipelines.synthesis.job import Job, make_sets
from beam_pipelines.synthesis.sets import Outcome
from beam_pipelines.synthesis.taught.taught_set import Making, TaughtSet
from beam_pipelines.synthesis.thinning import named_options
from beam_pipelines.teacher import estimate, usage
from beam_pipelines.teacher.settings import Teacher
from beam_pipelines.teacher.templates import load_template
from beam_pipelines.transforms.decontamination import kept_out
from opencoder_jax import configuration
from opencoder_jax.formats.conversation import decode_conversation
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import write_json

USAGE_NAME = "teacher.json"


def synthesize(
    what: TaughtSet,
    output_dir: str,
    benchmarks: Sequence[str] | None,
    num_shards: int,
    benchmark_data: str = "",
    near_instructions: NearSettings | None = None,
    balance: BalanceSettings | None = None,
    sandbox_workers: int = 2,
    allow_unisolated: bool = False,
    dry_run: bool = False,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Makes one set with a teacher.

    Args:
      what: the set; its `source` says what it is made from, its `teacher` who is asked.
      output_dir: gets a folder named after the set, with `conversations-*` or `documents-*`,
        `dropped/`, `manifest.json`, and `teacher.json`: calls, tokens and cost.
      benchmarks: to keep out, by the names of the evaluator's tasks; None: all whose files are in
        `benchmark_data`, and those that need none.
      num_shards: of the records and of the drops.
      benchmark_data: folder with the benchmarks' published files; empty: none.
      near_instructions: drops those whose question nearly equals another one's; None: none.
      balance: cuts down groups that outweigh the others; None: none.
      sandbox_workers: programs at a time in each Beam worker.
      allow_unisolated: execute a model's code even where this machine cannot isolate it.
      dry_run: ask nothing and write nothing; print the calls, tokens and cost.
      pipeline_args: Beam's own flags.

    Returns:
      The set's manifest; empty after a dry run.

    Raises:
      InputError: the source is missing or unfinished, the output was made with other settings,
        the machine cannot isolate programs, or the teacher stopped the job: its budget is
        spent, it refuses every call, or it is not there.
    """
    kept = kept_out(benchmarks, benchmark_data, pipeline_args)
    making = Making(kept, sandbox_workers, allow_unisolated, near_instructions, balance)
    if dry_run:
        _foretell(what, making, pipeline_args)
        return {}
    settings = {
        "set": what.name,
        **settings_of(what),
        **named_options(near_instructions, balance),
    }

    def make(elements: beam.PCollection) -> dict[str, Outcome]:
        return {what.name: what.make(elements, making)}

    def report(result: PipelineResult, work: Work) -> None:
        teachers = {teacher.model: teacher for teacher in what.teachers()}
        told = [usage.collect(result, teacher) for teacher in teachers.values()]
        folder = work.local / what.name
        folder.mkdir(exist_ok=True)
        write_json(folder / USAGE_NAME, told)
        for one in told:
            print(usage.summary_line(one))

    documents = what.records == "documents"
    manifests = make_sets(
        Job(
            name="synthesize",
            title=f"{what.name}: choose seeds",
            sets=(what.name,),
            records=what.records,
            encode=what.encode,
            count_by=_document_kind if documents else _conversation_kind,
            executes=what.executes,
        ),
        what.source,
        output_dir,
        make,
        settings=settings,
        benchmarks=kept,
        num_shards=num_shards,
        allow_unisolated=allow_unisolated,
        pipeline_args=pipeline_args,
        report=report,
    )
    return manifests[what.name]


def _foretell(what: TaughtSet, making: Making, pipeline_args: Sequence[str]) -> None:
    """Prints what the set's teachers would be asked, and what that would cost."""
    teachers: dict[str, Any] = {
        field.name: estimate.foretelling(value)
        for field in dataclasses.fields(what)
        if isinstance(value := getattr(what, field.name), Teacher)
    }
    with runner.pipeline(pipeline_args) as pipeline:
        dataclasses.replace(what, **teachers).make(what.source.read(pipeline), making)
    for teacher in teachers.values():
        print(estimate.report(teacher, estimate.collect(pipeline.result, teacher)))


def settings_of(what: TaughtSet) -> dict[str, Any]:
    """What a set's records depend on, besides its source."""
    settings = {
        field.name: getattr(what, field.name)
        for field in dataclasses.fields(what)
        if field.name != "source"
    }
    plain = {
        name: value.identity() if isinstance(value, Teacher) else value
        for name, value in settings.items()
    }
    return {**plain, "templates": {id: load_template(id).sha256 for id in what.templates}}


def _conversation_kind(record: bytes) -> str:
    return decode_conversation(record).provenance


def _document_kind(record: bytes) -> str:
    return decode_document(record).provenance


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            synthesize,
            default_gin_files=["synthesis/educational.gin"],
            pass_through="pipeline_args",
            settings={"teacher_": Teacher},
            dry_run="dry_run",
            incidental=("sandbox_workers", "allow_unisolated", *Teacher.incidental()),
        )
    )
