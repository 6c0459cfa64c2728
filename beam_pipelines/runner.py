"""How a job is run: the Beam pipeline with its options, and the folder that it works in.

The default is `local_runner`, since Beam's own default, `DirectRunner`, first tries to
download another runner. Any other is chosen with `--runner=...`, with its own flags after
it; docs/runners.md says which were tried, and with which traps.
`working_folder` keeps unfinished files apart, so a killed job leaves nothing that looks
finished.
"""

import contextlib
import gc
import io
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions

from beam_pipelines import coders, dataflow, reporting
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME

DEFAULT_RUNNER = "beam_pipelines.local_runner.LocalRunner"
INCOMPLETE = ".incomplete"
_SHARD = re.compile(r"(?P<set>.+)-\d{5}-of-(?P<count>\d{5})\.arrayrecord")


def pipeline(options: Sequence[str] = ()) -> beam.Pipeline:
    """A pipeline with the user's options.

    Args:
      options: Beam flags as on the command line, e.g. `["--runner=DataflowRunner"]`.

    Raises:
      InputError: a flag is none of Beam's, or its value or the runner is unknown.
    """
    coders.register()
    collect_seldom()
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    reporting.quiet_input_errors()
    _refuse_stray_words(options)
    parsed = PipelineOptions(list(options))
    standard = parsed.view_as(StandardOptions)
    if standard.runner == "DaskRunner":
        standard.runner = _dask_runner()
    known = _all_options(parsed)
    unknown = sorted(set(parsed.get_all_options(retain_unknown_options=True)) - set(known))
    if unknown:
        raise InputError(
            "neither this command nor Beam knows "
            + ", ".join(f"--{name}" for name in unknown)
            + " (gin bindings are written --gin.X=Y)"
        )
    if standard.runner is None:
        standard.runner = DEFAULT_RUNNER
    if dataflow.is_dataflow(parsed):
        dataflow.check_options(parsed)
    worker = parsed.view_as(WorkerOptions)
    if worker.default_sdk_harness_log_level is None:
        worker.default_sdk_harness_log_level = "WARNING"
    try:
        return reporting.ReportingPipeline(options=parsed)
    except (ValueError, ImportError) as error:
        raise InputError(f"--runner={standard.runner}: {error}") from error


def collect_seldom() -> None:
    """Lets Python look for cyclic garbage a hundred times less often.

    Documents, syntax trees and shuffled records are freed as soon as nobody holds them; to
    look through all of them for cycles after every few hundred new ones took 5 % of a job.
    """
    gc.set_threshold(50_000, 20, 100)


def require_shared_folders(pipeline: beam.Pipeline, **folders: str) -> None:
    """Refuses folders of this machine where other machines do the work.

    Args:
      pipeline: as `pipeline` made it.
      folders: by the name under which the user gave them.

    Raises:
      InputError: the runner is Dataflow, and a folder is a local path.
    """
    if not dataflow.is_dataflow(pipeline.options):
        return
    local = [f"{name} {path}" for name, path in folders.items() if "://" not in path]
    if local:
        raise InputError(
            f"workers of Dataflow do not see this machine's {' and '.join(local)}: "
            "give a place in a store, e.g. gs://BUCKET/FOLDER"
        )


def _dask_runner() -> str:
    """The full name of our own; Beam's loses records (docs/runners.md).

    Beam knows the `--dask_*` flags only once the module is imported.
    """
    try:
        from beam_pipelines import dask_runner
    except ImportError as error:
        raise InputError(
            f"--runner=DaskRunner needs dask and distributed (uv sync --extra dask): {error}"
        ) from error
    return f"{dask_runner.__name__}.{dask_runner.DaskRunner.__name__}"


def _refuse_stray_words(options: Sequence[str]) -> None:
    """Beam ignores words that belong to no flag."""
    for before, word in zip(["", *options], options, strict=False):
        if not word.startswith("-") and (not before.startswith("-") or "=" in before):
            raise InputError(f"{word!r} belongs to no flag (gin bindings are written --gin.X=Y)")


def _all_options(options: PipelineOptions) -> dict[str, Any]:
    """Beam's options with their values; its parser would print 150 lines and exit."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return options.get_all_options()
    except SystemExit as error:
        message = complaint.getvalue().strip().rpartition("error: ")[2]
        raise InputError(f"Beam: {message}") from error


@contextlib.contextmanager
def working_folder(output_dir: str | os.PathLike) -> Iterator[Path]:
    """`output_dir/.incomplete`, empty; moved up into `output_dir` if the body succeeds.

    Write everything there, `manifest.json` included: it is moved last. What another,
    unfinished run left behind is removed. After an error the folder stays for a look.

    Raises:
      InputError: `output_dir` cannot be made or written, or another job finished it.
    """
    output = Path(output_dir)
    if (output / MANIFEST_NAME).exists():
        raise InputError(f"{output} is another job's finished folder; choose another output folder")
    work = output / INCOMPLETE
    try:
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be used as an output folder: {error}") from error
    yield work
    made = sorted(work.iterdir(), key=lambda path: (path.name == MANIFEST_NAME, path.name))
    for path in made:
        _remove_older_set(output, path.name)
        target = output / path.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        path.replace(target)
    work.rmdir()


def _remove_older_set(output: Path, name: str) -> None:
    """Removes shards of the same set with another shard count, left by a killed move."""
    shard = _SHARD.fullmatch(name)
    if shard:
        for path in output.iterdir():
            other = _SHARD.fullmatch(path.name)
            if other and other["set"] == shard["set"] and other["count"] != shard["count"]:
                path.unlink()
