"""The runner: our default, the user's choice, and a folder that is whole or unfinished."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines import reporting, runner
from opencoder_jax.errors import InputError


def test_the_default_runner_downloads_nothing() -> None:
    assert isinstance(runner.pipeline([]).runner, FnApiRunner)


def test_the_user_chooses_the_runner() -> None:
    chosen = runner.pipeline(["--runner=BundleBasedDirectRunner"]).runner
    assert isinstance(chosen, BundleBasedDirectRunner)


def test_a_flag_that_beam_does_not_know_is_refused() -> None:
    with pytest.raises(InputError, match="--num_wokers"):
        runner.pipeline(["--num_wokers=3"])


def test_files_appear_only_when_the_work_is_done(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with runner.working_folder(output) as work:
        (work / "sub").mkdir()
        (work / "sub" / "a").write_text("1")
        (work / "manifest.json").write_text("{}")
        assert [path.name for path in output.iterdir()] == [runner.INCOMPLETE]
    assert sorted(path.name for path in output.iterdir()) == ["manifest.json", "sub"]
    assert (output / "sub" / "a").read_text() == "1"


def test_failed_work_leaves_no_manifest_and_the_next_run_starts_empty(tmp_path: Path) -> None:
    def fail() -> None:
        with runner.working_folder(tmp_path) as work:
            (work / "manifest.json").write_text("{}")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / "manifest.json").exists()
    with runner.working_folder(tmp_path) as work:
        assert not list(work.iterdir())


def test_shards_that_a_killed_run_left_with_another_count_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "documents-00000-of-00002.arrayrecord").write_text("old")
    (tmp_path / "documents-other-00000-of-00002.arrayrecord").write_text("another set")
    with runner.working_folder(tmp_path) as work:
        (work / "documents-00000-of-00001.arrayrecord").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "documents-00000-of-00001.arrayrecord",
        "documents-other-00000-of-00002.arrayrecord",
    ]


def test_an_output_folder_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(InputError, match="cannot be used as an output folder"),
        runner.working_folder(tmp_path / "out"),
    ):
        pass


def _refuse(number: int) -> int:
    if number == 3:
        raise InputError("number 3: expected another")
    return number


@pytest.mark.parametrize(
    "flags",
    [(), ("--direct_num_workers=2", "--direct_running_mode=multi_processing")],
    ids=["here", "processes"],
)
def test_bad_input_that_a_worker_finds_is_told_as_the_commands_own(flags, capfd) -> None:
    with pytest.raises(InputError) as error, runner.pipeline(flags) as pipeline:
        _ = pipeline | beam.Create(range(10)) | beam.Map(_refuse)
    assert str(error.value) == "number 3: expected another"
    if not flags:
        assert capfd.readouterr().err == ""


def test_another_error_of_a_worker_keeps_its_traceback() -> None:
    assert reporting.input_error_in("x\nKeyError: opencoder_jax.errors.InputError: no") is None
    assert reporting.input_error_in("x\nopencoder_jax.errors.StorageError: full") is None
    assert reporting.input_error_in("x\nopencoder_jax.nowhere.InputError: no") is None
