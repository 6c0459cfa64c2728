import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.evaluate import evaluate
from opencoder_jax.evaluation.answerers.choice import ModelSettings
from opencoder_jax.evaluation.bits_per_byte import BitsPerByte
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.evaluation.run_settings import RunSettings
from opencoder_jax.evaluation.samples import Samples
from opencoder_jax.evaluation.task_names import gin_flags
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.manifest import ManifestError, read_manifest, write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.formats.staging import resumable_folder
from tests.isolation import require_isolation
from tests.opencoder_jax.evaluation.task_of_gin import benchmark
from tests.opencoder_jax.evaluation.tiny_model import (
    heldout_sequences,
    write_model_dir,
    write_packed_set,
)

SAMPLES = Samples(
    openings={"A loop": "for i in"}, instructions={"A question": "Why?"}, max_new_tokens=4
)


@pytest.fixture
def model_dir(tmp_path):
    write_model_dir(tmp_path / "model")
    write_packed_set(tmp_path / "packed" / "refinecode", heldout_sequences())
    return tmp_path / "model"


def bits_task(model_dir) -> BitsPerByte:
    return BitsPerByte(packed_dir=str(model_dir.parent / "packed"), sets=["refinecode"])


def test_each_task_leaves_results_manifest_and_timing(model_dir):
    results = evaluate(model_dir, [bits_task(model_dir), SAMPLES])
    for task in ("bits_per_byte", "samples"):
        folder = model_dir / "evaluation" / task
        assert json.loads((folder / "results.json").read_text()) == results[task]
        assert read_manifest(folder)["config"]["step"] == 1
        assert (folder / "timing.json").exists()
    titles = [sample["title"] for sample in results["samples"]["samples"]]
    assert titles == ["A loop", "A question"]


def test_a_finished_task_is_not_done_again(model_dir):
    first = evaluate(model_dir, [bits_task(model_dir)])
    results = model_dir / "evaluation" / "bits_per_byte" / "results.json"
    written = results.stat().st_mtime_ns
    assert evaluate(model_dir, [bits_task(model_dir)]) == first
    assert results.stat().st_mtime_ns == written


def test_results_of_another_checkpoint_are_not_mixed_in(model_dir):
    evaluate(model_dir, [bits_task(model_dir)])
    write_model_dir(model_dir, seed=1)
    with pytest.raises(ManifestError, match="params"):
        evaluate(model_dir, [bits_task(model_dir)])
    evaluate(model_dir, [bits_task(model_dir)], output_dir=model_dir / "evaluation-2")


def test_what_another_version_left_unfinished_is_made_again(model_dir):
    unfinished = model_dir / "evaluation" / ".bits_per_byte.incomplete"
    unfinished.mkdir(parents=True)
    (unfinished / "results.json").write_text("{")
    evaluate(model_dir, [bits_task(model_dir)])
    assert not unfinished.exists()


def test_unfinished_work_of_another_checkpoint_is_not_gone_on_with(model_dir):
    class Killed(BitsPerByte):
        def run(self, model, folder):
            raise KeyboardInterrupt

    task = bits_task(model_dir)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model_dir, [Killed(task.packed_dir, task.sets)])
    write_model_dir(model_dir, seed=1)
    with pytest.raises(ManifestError, match="params"):
        evaluate(model_dir, [task])


def test_two_commands_do_not_do_the_same_work_at_once(tmp_path):
    work = {"job": "evaluate", "config": {}, "inputs": {}}
    with (
        resumable_folder(tmp_path / "task", work),
        pytest.raises(InputError, match="another command is at this work now"),
        resumable_folder(tmp_path / "task", work),
    ):
        pass


def test_tasks_are_named_on_the_command_line(tmp_path):
    flags = gin_flags(["--tasks=humaneval", "--model=x", "--tasks", "humaneval"])
    assert flags[:1] == ["--gin_file=evaluate/tasks/humaneval.gin"]
    assert flags[1:] == ["--gin_bindings=evaluate.tasks = [%HUMANEVAL]", "--model=x"]
    with pytest.raises(InputError, match="did you mean humaneval"):
        gin_flags(["--tasks=humanevil"])
    with pytest.raises(InputError, match="names no task"):
        gin_flags(["--tasks=", "--model=x"])
    own = tmp_path / "evaluate" / "tasks"
    own.mkdir(parents=True)
    (own / "mine.gin").write_text("# My own.\n")
    assert gin_flags(["--tasks=mine", f"--gin_search_paths={tmp_path}"])


def test_a_benchmark_leaves_answers_a_page_and_what_training_data_share(model_dir, capsys):
    require_isolation()
    corpus = model_dir.parent / "corpus"
    corpus.mkdir()
    problem = load_problems()[1]
    seen = Document(id="0" * 32, text=problem.prompt, repo="r", path="seen.py")
    write_shard(corpus / shard_name("documents", 0, 1), [encode_document(seen)])
    write_manifest(corpus, job="refinecode", config={}, inputs={}, counts={})
    run = RunSettings(limit=2, max_new_tokens=2)
    task = benchmark("humaneval")
    results = evaluate(str(model_dir), [task], run, training_data=str(corpus))
    folder = model_dir / "evaluation"
    assert results["humaneval"]["problems"] == 2
    assert len((folder / "humaneval" / "samples.jsonl").read_text().splitlines()) == 2
    assert "overlaps: 1 of 164 problems" in (folder / "evaluation.html").read_text()
    found = json.loads((folder / "contamination.json").read_text())["humaneval"]
    assert found["problems"]["HumanEval/1"]["example"] == "r/seen.py"
    assert "overlaps: 1 of 164" in capsys.readouterr().out
    # Done: nothing is asked again, and the manifest of it holds.
    assert evaluate(str(model_dir), [task], run, training_data=str(corpus)) == results
    with pytest.raises(InputError, match="training_data names no folder"):
        evaluate(str(model_dir), [task], run, training_data=" ,")
    with pytest.raises(ManifestError, match="max_new_tokens"):
        evaluate(str(model_dir), [task], RunSettings(limit=2, max_new_tokens=3))


def test_an_endpoint_or_settings_of_the_other_kind_are_refused(model_dir):
    with pytest.raises(InputError, match="output_dir"):
        evaluate("http://localhost:1/v1", [SAMPLES])
    with pytest.raises(InputError, match="only an endpoint"):
        evaluate(model_dir, [SAMPLES], model_settings=ModelSettings(model_name="x"))


def test_a_missing_packed_set_is_said_before_the_model_is_loaded(tmp_path):
    task = BitsPerByte(packed_dir=str(tmp_path), sets=["refinecode"])
    with pytest.raises(InputError, match="no such packed set"):
        evaluate(tmp_path / "no-model", [task])


def test_the_command_survives_a_kill_and_needs_no_tensorflow(model_dir):
    program = (
        "import sys\n"
        "from opencoder_jax import configuration, evaluate\n"
        "status = configuration.main(evaluate.evaluate, sys.argv[1:])\n"
        "assert not {'tensorflow', 'seqio', 'apache_beam'} & set(sys.modules)\n"
        "sys.exit(status)\n"
    )
    command = [
        *(sys.executable, "-c", program, "--gin_file=evaluate/demo.gin"),
        *(f"--gin.MODEL_DIR={model_dir}", f"--gin.PACKED_DIR={model_dir.parent / 'packed'}"),
    ]
    killed = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    # Its first line comes from inside a task.
    killed.stderr.readline()
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (model_dir / "evaluation" / "samples" / "manifest.json").exists()
    subprocess.run(command, check=True, timeout=120)
    for task in ("bits_per_byte", "samples"):
        read_manifest(model_dir / "evaluation" / task)


@pytest.mark.parametrize(
    "task", [["--tasks=humaneval,mbpp"], ["--gin_file=evaluate/demo.gin", "--gin.PACKED_DIR=p"]]
)
def test_every_setting_is_a_flag_of_the_command(task):
    values = {"prompting": "chat", "output_dir": "out", "training_data": "a,b"}
    for cls in (RunSettings, ModelSettings):
        for field in dataclasses.fields(cls):
            kind = getattr(field.type, "__name__", str(field.type)).split(" |")[0]
            values[field.name] = {"bool": True, "int": 3, "float": 0.5, "str": "x"}[kind]
    given = [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items()
    ]
    command = [sys.executable, "-m", "opencoder_jax.evaluate", *task, *given, "--model=x"]

    shown = subprocess.run([*command, "--dry_run"], capture_output=True, text=True, check=True)

    values["ALLOW_UNISOLATED"] = values.pop("allow_unisolated")
    for name, value in values.items():
        line = rf"^(\S+\.)?{name} = {re.escape(repr(value))}$"
        assert re.search(line, shown.stdout, re.MULTILINE), name
