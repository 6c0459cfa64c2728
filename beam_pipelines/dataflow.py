"""What Dataflow needs from the command line, checked before anything is started.

Beam itself looks for a default bucket, retries for minutes and then prints a traceback.
Here every problem is named in one error, without a network or credentials. Beam's own
validator judges the values; ours are the two mistakes that it cannot know: workers that
do not have this project, and folders that only this machine sees.
Next: `runner` calls this; docs/dataflow.md has the whole command line.
"""

import os
from collections.abc import Iterator

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from opencoder_jax.errors import InputError

_NAMES = frozenset({"dataflow", "dataflowrunner"})


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether `--runner` names Dataflow, by short or full name."""
    name = options.view_as(StandardOptions).runner or ""
    return name.rpartition(".")[2].lower() in _NAMES


def check_options(options: PipelineOptions) -> None:
    """Checks the flags of a Dataflow job; leaves `__main__` out of what workers load.

    Raises:
      InputError: the cloud client is not installed, or flags are missing or wrong; all of
        them are listed.
    """
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--runner=DataflowRunner needs Google's clients: install the extra `dataflow` "
            f"(uv sync --extra beam --extra dataflow); {error}"
        ) from error
    problems = [
        " ".join(problem.removeprefix("Invalid pipeline option: ").split())
        for problem in _problems(options)
    ]
    if problems:
        raise InputError(f"--runner=DataflowRunner: {'; '.join(problems)} (docs/dataflow.md)")
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        # On by default on Dataflow: it would pickle the launcher's gin registry, and every
        # function of the command itself is pickled by value anyway.
        setup.save_main_session = False


def _problems(options: PipelineOptions) -> Iterator[str]:
    validator = PipelineOptionsValidator(options, None)
    cloud = options.view_as(GoogleCloudOptions)
    worker = options.view_as(WorkerOptions)
    yield from validator.validate_cloud_options(cloud)
    if not cloud.region:
        yield "--region is missing, e.g. --region=us-central1"
    if not cloud.temp_location:
        yield "--temp_location is missing, e.g. --temp_location=gs://BUCKET/temp"
    for name in ("temp_location", "staging_location"):
        if getattr(cloud, name):
            yield from validator.validate_gcs_path(cloud, name)
    yield from validator.validate_num_workers(worker)
    yield from validator.validate_worker_region_zone(worker)
    yield from _without_project(options)


def _without_project(options: PipelineOptions) -> Iterator[str]:
    """Workers start from an image or from packages; plain Beam's have none of our modules."""
    setup = options.view_as(SetupOptions)
    if options.view_as(WorkerOptions).sdk_container_image:
        return
    if not (setup.setup_file or setup.extra_packages):
        yield (
            "workers would not have this project: give --sdk_container_image=IMAGE "
            "(containers/dataflow/Dockerfile), or --setup_file with --requirements_file"
        )
    elif not setup.requirements_file:
        yield (
            "--setup_file installs no extra: give --requirements_file as well "
            "(uv export --extra beam), or --sdk_container_image"
        )
    for flag in ("setup_file", "requirements_file"):
        path = getattr(setup, flag)
        if path and not os.path.isfile(path):
            yield f"--{flag}: no file {path}"
