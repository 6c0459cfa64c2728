"""A job for Dataflow: refused in one line where flags are wrong, else a graph that scales."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from apache_beam.coders import Coder
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext

from beam_pipelines import runner
from opencoder_jax.errors import InputError
from tests.beam_pipelines.object_store import Store, running_store

pytest.importorskip("google.cloud.dataflow_v1beta3", reason="the extra `dataflow` is not installed")

SENT = 17  # of `dataflow_launch`

FLAGS = (
    "--runner=DataflowRunner",
    "--project=my-project",
    "--region=us-central1",
    "--temp_location=gs://my-bucket/temp",
    "--sdk_container_image=us-docker.pkg.dev/my-project/images/opencoder:1",
    "--job_name=refinecode-test",
    "--machine_type=n2-highmem-8",
    "--max_num_workers=200",
    "--autoscaling_algorithm=THROUGHPUT_BASED",
    "--disk_size_gb=200",
    "--sdk_location=container",
    "--no_auth",
)


class Sent(NamedTuple):
    """What the command would have sent."""

    job: dict[str, Any]
    graph: beam_runner_api_pb2.Pipeline
    size: int


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with running_store() as store:
        yield store


def launch(store: Store, files: int, folder: Path) -> Sent:
    """The command of docs/dataflow.md, up to its submission."""
    repository = folder / "source" / "repo"
    repository.mkdir(parents=True)
    for i in range(files):
        (repository / f"module_{i}.py").write_text(f"print({i})\n" * 40)
    source = store.upload(folder / "source", f"source-{files}")
    done = _command(folder, source, f"{source}-output", *store.flags)
    assert done.returncode == SENT, done.stderr
    content = (folder / "pipeline.pb").read_bytes()
    graph = beam_runner_api_pb2.Pipeline.FromString(content)
    return Sent(json.loads((folder / "job.json").read_text()), graph, len(content))


def _command(folder: Path, source: str, output: str, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.beam_pipelines.dataflow_launch", str(folder)]
    command += ["beam_pipelines.refinecode", "--gin_file=refinecode/paper.gin"]
    command += [f"--gin.SOURCE_DIR={source}", f"--gin.OUTPUT_DIR={output}", *FLAGS, *flags]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def sent(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    return launch(store, 3, tmp_path_factory.mktemp("small"))


def test_workers_are_as_the_flags_say(sent: Sent) -> None:
    (pool,) = sent.job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-highmem-8"
    assert pool["diskSizeGb"] == 200
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 200
    # THROUGHPUT_BASED is called so in the request.
    assert pool["autoscalingSettings"]["algorithm"] == "AUTOSCALING_ALGORITHM_BASIC"
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"us-docker.pkg.dev/my-project/images/opencoder:1"}


def test_the_graph_does_not_grow_with_the_corpus(sent: Sent, store: Store, tmp_path: Path) -> None:
    larger = launch(store, 200, tmp_path)
    assert abs(larger.size - sent.size) < 200  # the lengths of two paths, pickled a few times
    assert sent.size < 2_000_000  # Dataflow limits a request
    assert len(larger.graph.components.transforms) == len(sent.graph.components.transforms)


def _payloads(graph: beam_runner_api_pb2.Pipeline) -> Iterator[tuple[str, bytes]]:
    for transform in graph.components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            par_do = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            if par_do.do_fn.urn == python_urns.PICKLED_DOFN_INFO:
                yield transform.unique_name, par_do.do_fn.payload


def test_no_step_carries_data(sent: Sent) -> None:
    sizes = {name: len(payload) for name, payload in _payloads(sent.graph)}
    assert len(sizes) > 50
    # The rule tables are the largest thing that travels with a step.
    assert max(sizes.values()) < 20_000, max(sizes.items(), key=lambda item: item[1])


def test_every_step_is_loaded_in_a_process_that_never_saw_the_command(
    sent: Sent, tmp_path: Path
) -> None:
    """The command's own module is `__main__` there, and another one is here."""
    for i, (_, payload) in enumerate(_payloads(sent.graph)):
        (tmp_path / f"{i:04d}").write_bytes(payload)
    program = (
        "import pathlib, sys\n"
        "from apache_beam.internal import pickler\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    pickler.loads(path.read_bytes())\n"
        "assert 'beam_pipelines.refinecode' not in sys.modules\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_every_key_has_a_deterministic_coder(sent: Sent) -> None:
    components = sent.graph.components
    context = PipelineContext(components)
    grouped = 0
    for transform in components.transforms.values():
        if transform.spec.urn != common_urns.primitives.GROUP_BY_KEY.urn:
            continue
        (source,) = transform.inputs.values()
        coder: Coder = context.coders.get_by_id(components.pcollections[source].coder_id)
        assert coder.is_kv_coder(), transform.unique_name
        assert coder.key_coder().is_deterministic(), transform.unique_name
        grouped += 1
    assert grouped > 10


def test_step_names_are_unique_and_tell_what_they_do(sent: Sent) -> None:
    names = [transform.unique_name for transform in sent.graph.components.transforms.values()]
    assert max(Counter(names).values()) == 1
    own = {name.partition("/")[0] for name in names} - {""}
    assert {"Judge", "Repair", "WriteDocuments", "WriteDropped", "Statistics"} <= own
    unnamed = [name for name in own if "lambda" in name or "0x" in name]
    assert not unnamed


WRONG = {
    "--project=": "Invalid Project ID",
    "--project=My Project": "Invalid Project ID",
    "--region=": "--region is missing",
    "--temp_location=": "--temp_location is missing",
    "--temp_location=gs://x/temp": "Invalid GCS bucket",
    "--temp_location=/tmp/here": "Invalid GCS path",
    "--num_workers=300": "cannot exceed max_num_workers",
    "--sdk_container_image=": "workers would not have this project",
    "--job_name=Refine Code": "Invalid job_name",
}


@pytest.mark.parametrize("flag", WRONG)
def test_a_wrong_flag_is_one_error_before_anything_starts(flag: str) -> None:
    with pytest.raises(InputError, match=WRONG[flag]) as raised:
        runner.pipeline([*FLAGS, flag])
    assert "\n" not in str(raised.value)


def test_an_output_folder_of_this_machine_is_refused(tmp_path: Path) -> None:
    done = _command(tmp_path, str(tmp_path), str(tmp_path / "corpus"))
    assert done.returncode == 2
    assert "do not see this machine's output_dir" in done.stderr, done.stderr
