"""Whatever a command is given, it ends with one line that says what is wrong, and status 2."""

from pathlib import Path

import numpy as np
import pytest

from beam_pipelines import runner
from beam_pipelines.pack import pack_set
from opencoder_jax import configuration
from opencoder_jax.configuration import checks
from opencoder_jax.data.packed_set import PackedSet
from opencoder_jax.data.packed_source import packed_dataset
from opencoder_jax.data.records import Shard
from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.formats import manifest, shards
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.tokenizer import MODEL_NAME, ExchangedTokenizerError
from opencoder_jax.model.loading import load_model
from opencoder_jax.training.optimizers import AdamW
from opencoder_jax.training.schedules import ExponentialDecay, WarmupCosine, WarmupStable
from tests.opencoder_jax import command_under_test

GIN = """
from __gin__ import dynamic_registration
import __main__ as script
from tests.opencoder_jax import command_under_test
OUTPUT = 'out'
COUNT = 3
SETTINGS = @command_under_test.Settings()
command_under_test.Settings.size = 7
script.command:
  settings = %SETTINGS
  output = %OUTPUT
  count = %COUNT
"""


@pytest.fixture
def gin_file(tmp_path):
    path = tmp_path / "run.gin"
    path.write_text(GIN)
    return f"--gin_file={path}"


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--gin.COUNT=abc", "COUNT = 'abc', expected int"),
        ("--gin.COUNT=1.5", "COUNT = 1.5, expected int"),
        ("--gin.COUNT=True", "COUNT = True, expected int"),
        ("--gin.OUTPUT=3", "OUTPUT = 3, expected str"),
        ("--gin.Settings.size=big", "Settings.size = 'big', expected int"),
        ("--gin.SETTINGS=big", "SETTINGS = 'big', expected Settings"),
        ("--gin.COUNT=%NOPE", "COUNT is %NOPE, which nothing sets"),
        ("--gin.COUNT=-1", "count is -1, expected 0 or more"),
        ("--gin.COUNT", "write --gin.NAME=VALUE"),
        ("--counts=3", "unknown flags: --counts=3"),
        ("stray", "unknown flags: stray"),
        ("--gin_file", "expected one argument"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(gin_file, argument, complaint, capsys):
    assert configuration.main(command_under_test.command, [gin_file, argument]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert complaint in line


def test_a_gin_file_that_leaves_parameters_out_is_told_which(tmp_path, capsys):
    (tmp_path / "empty.gin").write_text("")
    arguments = [f"--gin_file={tmp_path / 'empty.gin'}"]
    assert configuration.main(command_under_test.command, arguments) == 2
    assert "unset: command.output, command.settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (float, 3, "3"),
        (int | None, None, "none"),
        (tuple[str, ...], ["a", "b"], "ab"),
        (dict[str, float], {"a": 1}, {"a": "1"}),
        (list[int], (1, 2), [1, "2"]),
    ],
)
def test_literals_are_held_against_annotations(hint, good, bad):
    assert checks._fits(good, hint)
    assert not checks._fits(bad, hint)


def write(path: str) -> None:
    """Writes a file."""
    Path(path).write_text("done")


def test_what_the_machine_refuses_is_no_traceback(tmp_path, capsys):
    path = tmp_path / "missing" / "file"
    assert configuration.main(write, [f"--gin.write.path={path}"]) == 2
    assert capsys.readouterr().err == (
        f"error: cannot read or write: [Errno 2] No such file or directory: '{path}'\n"
    )


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--runner=Nope"], "Nope"),
        (["--direct_num_workers=many"], "invalid int value: 'many'"),
        (["--no_flag_of_beam"], "no_flag_of_beam"),
        (["stray"], "'stray' belongs to no flag"),
        (["--runner=FnApiRunner", "stray"], "'stray' belongs to no flag"),
    ],
)
def test_a_wrong_flag_of_beam_is_an_error_of_one_line(flags, complaint, capsys):
    with pytest.raises(InputError) as error:
        runner.pipeline(flags)
    assert complaint in str(error.value)
    assert capsys.readouterr().err == ""


def test_a_flag_and_its_value_may_be_two_words():
    runner.pipeline(["--runner", "FnApiRunner"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: WarmupStable(peak=0.0, warmup_steps=1),
        lambda: WarmupStable(peak=1.0, warmup_steps=-1),
        lambda: ExponentialDecay(peak=1.0, final=0.0, decay_steps=1),
        lambda: ExponentialDecay(peak=1.0, final=0.1, decay_steps=0),
        lambda: WarmupCosine(peak=1.0, warmup_steps=0, total_steps=0),
        lambda: AdamW(b1=1.0),
        lambda: AdamW(eps=0.0),
        lambda: AdamW(weight_decay=-0.1),
        lambda: require_at_least(1, size=0),
        lambda: require_positive(size=float("nan")),
    ],
)
def test_numbers_that_cannot_work_are_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 1, "job": "pack"}'])
def test_a_manifest_without_its_parts_is_damaged(tmp_path, content):
    (tmp_path / manifest.MANIFEST_NAME).write_text(content)
    with pytest.raises(manifest.ManifestError, match="is damaged"):
        manifest.read_manifest(tmp_path)


def test_another_jobs_folder_is_refused_without_a_list_of_settings(tmp_path):
    manifest.write_manifest(tmp_path, job="pack", config={"a": 1}, inputs={}, counts={})
    with pytest.raises(manifest.ManifestError) as error:
        manifest.already_done(tmp_path, job="train", config={"b": 2}, inputs={})
    assert str(error.value) == (
        f"{tmp_path} was made by another command (job: there pack, here train); choose another "
        "output folder"
    )


def test_an_exchanged_tokenizer_is_refused(tmp_path):
    (tmp_path / MODEL_NAME).write_bytes(b"one")
    manifest.write_manifest(tmp_path, job="train_tokenizer", config={}, inputs={}, counts={})
    (tmp_path / MODEL_NAME).write_bytes(b"another")
    with pytest.raises(ExchangedTokenizerError, match="was changed"):
        SentencePieceTokenizer(tmp_path)


def test_a_training_that_has_not_finished_is_no_model(tmp_path):
    (tmp_path / manifest.RUN_NAME).write_text("{}")
    with pytest.raises(InputError, match="its training has not finished"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (lambda folder: folder.rmdir(), "no such folder"),
        (lambda folder: None, "holds no shards"),
        (lambda folder: (folder / "documents-00000-of-00001.arrayrecord").touch(), "tokenizer"),
    ],
)
def test_packing_names_the_folder_that_it_cannot_use(tmp_path, prepare, complaint):
    folder = tmp_path / "corpus"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(InputError, match=complaint):
        pack_set(str(folder), str(tmp_path / "tokenizer"), str(tmp_path / "out"), 8, 1, 0.0)
    assert not (tmp_path / "out").exists()


def test_a_damaged_packed_record_is_named_with_its_set(tmp_path):
    folder = tmp_path / "refinecode"
    folder.mkdir()
    path = folder / "train-00000-of-00001.arrayrecord"
    noise = np.random.default_rng(0)
    shards.write_shard(path, [noise.bytes(100_000) for _ in range(3)])
    content = bytearray(path.read_bytes())
    content[150_000:160_000] = bytes(10_000)
    path.write_bytes(content)
    dataset = packed_dataset(PackedSet("refinecode", "train", (Shard(str(path), 3),), 8, "a", "b"))
    with pytest.raises(InputError, match=f"{path}: record 1 is damaged"):
        dataset[1]


def test_a_job_does_not_write_into_a_finished_folder(tmp_path):
    manifest.write_manifest(tmp_path, job="pack", config={}, inputs={}, counts={})
    refused = pytest.raises(InputError, match="another job's finished folder")
    with refused, runner.working_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [manifest.MANIFEST_NAME]
