"""The same job on engines that share no process, and no code, leaves the same bytes."""

import os
import shutil
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.pvalue import AsList, TaggedOutput
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from beam_pipelines import refinecode, runner
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from tests.beam_pipelines.bad_files import make_repositories
from tests.beam_pipelines.engines import dask_cluster, external_pool


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bad files of every kind, and real modules of which several have copies."""
    root = tmp_path_factory.mktemp("repositories")
    make_repositories(root)
    library = Path(os.__file__).parent
    for package in ("json", "email"):
        shutil.copytree(
            library / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copytree(root / "json", root / "fork")
    return root


def clean(folder: Path, output: Path, *pipeline_args: str) -> dict[str, bytes]:
    """Runs the job; everything that it wrote but the clock's readings."""
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin"],
        bindings=[f"SOURCE_DIR = '{folder}'", f"OUTPUT_DIR = '{output}'", "NUM_SHARDS = 3"],
    )
    configured(pipeline_args=pipeline_args)
    files = (path for path in output.rglob("*") if path.is_file())
    written = {str(path.relative_to(output)): path.read_bytes() for path in files}
    return {n: content for n, content in written.items() if n not in ("timing.json", "config.gin")}


@pytest.fixture(scope="module")
def expected(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return clean(repositories, tmp_path_factory.mktemp("expected") / "corpus")


@pytest.mark.slow
def test_worker_processes_of_an_external_pool_leave_the_same_bytes(
    repositories: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with external_pool(tmp_path) as flags:
        assert clean(repositories, tmp_path / "corpus", *flags) == expected


@pytest.mark.slow
def test_a_dask_cluster_leaves_the_same_bytes(
    repositories: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path) as flags:
        assert clean(repositories, tmp_path / "corpus", *flags) == expected


class _CountAtTheEnd(beam.DoFn):
    def __init__(self) -> None:
        self._count = 0

    def process(self, number: int) -> None:
        self._count += 1

    def finish_bundle(self):
        yield beam.transforms.window.GlobalWindows.windowed_value(self._count)


def _by_parity(number: int):
    yield TaggedOutput("odd", number) if number % 2 else number


def _write(value: object, path: Path) -> None:
    path.write_text(str(value))


@pytest.mark.slow
def test_dask_keeps_outputs_apart_and_computes_every_branch(tmp_path: Path) -> None:
    """All that Beam's own DaskRunner loses: see `beam_pipelines.dask_runner`."""
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path) as flags, runner.pipeline(flags) as p:
        numbers = p | beam.Create(range(100)) | beam.Reshuffle()
        parity = numbers | beam.FlatMap(_by_parity).with_outputs("odd", main="even")
        counted = numbers | beam.ParDo(_CountAtTheEnd())
        for name, values in (("even", parity.even), ("odd", parity.odd), ("all", counted)):
            _ = (
                values
                | f"Sum {name}" >> beam.CombineGlobally(sum)
                | f"Write {name}" >> beam.Map(_write, tmp_path / name)
            )
        _ = (
            p
            | "One" >> beam.Create([7])
            | "Above" >> beam.Map(lambda n, all_: sum(x > n for x in all_), AsList(numbers))
            | "Write side" >> beam.Map(_write, tmp_path / "side")
        )
    found = {name: int((tmp_path / name).read_text()) for name in ("even", "odd", "all", "side")}
    assert found == {"even": 2450, "odd": 2500, "all": 100, "side": 92}


_SEEN = beam.DoFn.StateParam(ReadModifyWriteStateSpec("seen", beam.coders.VarIntCoder()))


class _Stateful(beam.DoFn):
    def process(self, pair: tuple[str, int], seen=_SEEN):
        yield pair


@pytest.mark.slow
def test_dask_refuses_what_it_cannot_run_by_name(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with (
        dask_cluster(tmp_path, workers=1) as flags,
        pytest.raises(InputError, match=r"DaskRunner cannot run Remember .*stateful"),
        runner.pipeline(flags) as p,
    ):
        _ = p | beam.Create([("a", 1)]) | "Remember" >> beam.ParDo(_Stateful())


def test_dask_is_chosen_by_its_short_name_or_says_what_is_missing() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="needs dask and distributed"):
            runner.pipeline(["--runner=DaskRunner"])
    else:
        from beam_pipelines.dask_runner import DaskRunner

        chosen = runner.pipeline(["--runner=DaskRunner", "--dask_npartitions=3"]).runner
        assert isinstance(chosen, DaskRunner)
