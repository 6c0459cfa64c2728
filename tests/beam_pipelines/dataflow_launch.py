"""Runs a command up to the moment where it would call Dataflow, and keeps what it would send.

    python tests/beam_pipelines/dataflow_launch.py FOLDER MODULE FLAG...

Written are `job.json`, the request, and `pipeline.pb`, the graph. Replaced are the calls
that need Google: looking at the bucket, uploading, submitting. Everything before them is
what a user's command does, `__main__` included, hence a process of its own.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.runners.dataflow.internal import apiclient

_CLIENT = apiclient.DataflowApplicationClient
SENT = 17  # the exit status of a job that was ready to be sent


def launch(folder: Path, module: str, flags: list[str]) -> None:
    def submit(client: Any, job: Any) -> NoReturn:
        (folder / "job.json").write_text(job.json())
        (folder / "pipeline.pb").write_bytes(job.proto_pipeline.SerializeToString())
        os._exit(SENT)

    os.environ["NO_GCE_CHECK"] = "true"
    sys.argv = [module, *flags]
    with (
        mock.patch.object(GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled"),
        mock.patch.object(_CLIENT, "_stage_resources", return_value=[]),
        mock.patch.object(_CLIENT, "stage_file_with_retry"),
        mock.patch.object(_CLIENT, "submit_job_description", submit),
    ):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    launch(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
