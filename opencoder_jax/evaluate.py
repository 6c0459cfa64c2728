"""Evaluates a model: code benchmarks, bits per byte on held-out text, samples to read.

    python -m opencoder_jax.evaluate --model=runs/x/sft_stage2 --tasks=humaneval,mbpp
    python -m opencoder_jax.evaluate --gin_file=evaluate/demo.gin --gin.MODEL_DIR=runs/x/pretrain

Each task writes `<output>/<task>/` with `results.json`, a manifest that names the very
parameters, and `timing.json`; a benchmark keeps every answer in `samples.jsonl`. A task that is
done is not done again, a killed one goes on; with another model or other settings in its place
it is an error. A task is a gin file in `gin_configs/evaluate/tasks/` that names a class in
`opencoder_jax/evaluation`; docs/evaluation.md explains the numbers.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.compare import write_page
from opencoder_jax.decoding.native import prepare_process
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import Answerer
from opencoder_jax.evaluation.answerers.choice import (
    ModelSettings,
    as_chat,
    is_endpoint,
    open_answerer,
)
from opencoder_jax.evaluation.answerers.local import LocalModel
from opencoder_jax.evaluation.benchmark import Benchmark
from opencoder_jax.evaluation.harness import CodeTask
from opencoder_jax.evaluation.run_settings import RunSettings
from opencoder_jax.evaluation.task import Task
from opencoder_jax.evaluation.task_names import TASKS_HELP, gin_flags
from opencoder_jax.evaluation.training_data import check_training_data
from opencoder_jax.formats.manifest import already_done, write_json, write_manifest
from opencoder_jax.formats.staging import resumable_folder
from opencoder_jax.report.comparison import CONTAMINATION_NAME, read_evaluated, read_json
from opencoder_jax.timing import timed

JOB = "evaluate"
RESULTS_NAME = "results.json"
PAGE_NAME = "evaluation.html"


def evaluate(
    model: str,
    tasks: Sequence[Task | Benchmark],
    run: RunSettings | None = None,
    model_settings: ModelSettings | None = None,
    prompting: str = "auto",
    output_dir: str | None = None,
    training_data: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Runs tasks on one model and prints a table of the results.

    Args:
      model: a model directory, a Hugging Face folder, or the address of an OpenAI-compatible
        endpoint (`http://host:port/v1`); `transformers:FOLDER` runs Hugging Face's own
        implementation, to compare with.
      tasks: what to measure.
      run: how benchmarks are run; None: greedily, one answer each.
      model_settings: how the model is opened and kept busy; None: the newest checkpoint.
      prompting: `base` lets the model continue text, `chat` asks it; `auto`: a Hugging Face
        folder with a chat template is asked, another folder continues, an endpoint has to be told.
      output_dir: where results go; None: `<model>/evaluation`.
      training_data: folders, separated by commas, that are searched for the benchmarks' problems:
        documents, conversations, packed sets, or training runs for the sets that they saw.

    Returns:
      Task name to its results.

    Raises:
      InputError: no model there, an input of a task is missing or does not fit the
        model, or the output folder holds results of another model or other settings.
    """
    run = run or RunSettings()
    model = os.fspath(model)
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise InputError(f"tasks {names}: each may appear once; use another output_dir for more")
    if output_dir is None and is_endpoint(model):
        raise InputError(f"{model} has no folder for results: say --output_dir=FOLDER")
    root = Path(output_dir or Path(model.removeprefix("transformers:")) / "evaluation")
    # Before the model is loaded: a missing input should cost no minute of waiting.
    chosen = _ready_tasks(tasks, run, model, prompting)
    inputs = {task.name: task.inputs() for task in chosen}
    answerer = open_answerer(model, model_settings or ModelSettings())
    own = answerer.identity()
    work = [
        (task, root / task.name, _identity(task, answerer, own | inputs[task.name]))
        for task in chosen
    ]
    # All of them before the first runs: the second's mismatch should not cost the first's time.
    finished = [already_done(folder, **identity) for _, folder, identity in work]
    found = _check_training_data(chosen, training_data, answerer, root)
    results = {}
    for (task, folder, identity), done in zip(work, finished, strict=True):
        if done:
            print(f"{folder} is finished: nothing to do", file=sys.stderr)
            results[task.name] = read_results(folder)
        else:
            results[task.name] = _run_task(task, answerer, folder, identity)
    _print_results(answerer, chosen, results, found, root)
    if any(isinstance(task, CodeTask) for task in chosen):
        write_page([read_evaluated(root, answerer.title)], root / PAGE_NAME)
    return results


def read_results(folder: Path) -> dict[str, Any]:
    """`results.json` of a task's folder.

    Raises:
      InputError: it is damaged.
    """
    return read_json(folder / RESULTS_NAME)


def _ready_tasks(
    tasks: Sequence[Task | Benchmark], run: RunSettings, model: str, prompting: str
) -> list[Task | CodeTask]:
    if not any(isinstance(task, Benchmark) for task in tasks):
        return [task for task in tasks if not isinstance(task, Benchmark)]
    chat = as_chat(model, prompting)
    return [CodeTask(t, run, chat) if isinstance(t, Benchmark) else t for t in tasks]


def _identity(
    task: Task | CodeTask, answerer: Answerer, inputs: Mapping[str, str]
) -> dict[str, Any]:
    step = answerer.model.step if isinstance(answerer, LocalModel) else None
    config = {"task": task.name, "step": step, **configuration.canonical(task.settings())}
    return {"job": JOB, "config": config, "inputs": dict(inputs)}


def _run_task(
    task: Task | CodeTask, answerer: Answerer, folder: Path, identity: Mapping[str, Any]
) -> dict[str, Any]:
    with resumable_folder(folder, identity) as work:
        with timed(work):
            if isinstance(task, CodeTask):
                results = task.run(answerer, work)
            elif isinstance(answerer, LocalModel):
                results = task.run(answerer.model, work)
            else:
                raise InputError(f"{task.name} needs the model's own weights: give a folder")
            write_json(work / RESULTS_NAME, results)
        configuration.write_config_gin(work)
        write_manifest(work, counts=dict(task.rows(results)), **identity)
    return results


def _check_training_data(
    tasks: Sequence[Task | CodeTask], training_data: str | None, answerer: Answerer, root: Path
) -> dict[str, dict[str, Any]]:
    """Writes and returns what the training data share with the benchmarks."""
    code = [task for task in tasks if isinstance(task, CodeTask)]
    path = root / CONTAMINATION_NAME
    if training_data is None or not code:
        return {}
    folders = [Path(folder.strip()) for folder in training_data.split(",") if folder.strip()]
    if not folders:
        raise InputError("training_data names no folder")
    found = check_training_data(
        folders,
        [task.texts() for task in code],
        {task.name: task.kept_out() for task in code},
        [answerer.model.tokenizer] if isinstance(answerer, LocalModel) else [],
    )
    root.mkdir(parents=True, exist_ok=True)
    before = read_json(path) if path.exists() else {}
    write_json(path, before | found)
    return found


def _print_results(
    answerer: Answerer,
    tasks: Sequence[Task | CodeTask],
    results: Mapping[str, Mapping[str, Any]],
    contamination: Mapping[str, Mapping[str, Any]],
    root: Path,
) -> None:
    table = Table(title=answerer.title, title_justify="left")
    table.add_column("task")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for task in tasks:
        for measure, value in task.rows(results[task.name]):
            table.add_row(task.name, measure, value)
        if task.name in contamination:
            table.add_row(task.name, "training data", contamination[task.name]["state"])
    Console().print(table)
    print(f"results in {root}")


# What `--name=VALUE` sets, for people who do not know gin; the settings' fields are flags too.
_PLAIN_FLAGS = {
    "model": "MODEL_DIR",
    "allow_unisolated": "ALLOW_UNISOLATED",
    "prompting": "evaluate.prompting",
    "output_dir": "evaluate.output_dir",
    "training_data": "evaluate.training_data",
}

# How fast and by whom, not what.
_INCIDENTAL = (
    "BitsPerByte.batch_size",
    *("ModelSettings.batch_size", "ModelSettings.parallel", "ModelSettings.api_key_variable"),
    *("RunSettings.workers", "RunSettings.allow_unisolated"),
)

if __name__ == "__main__":
    prepare_process()
    sys.exit(
        configuration.main(
            evaluate,
            rewrite=gin_flags,
            default_gin_files=["evaluate/demo.gin"],
            flags=_PLAIN_FLAGS,
            settings=(RunSettings, ModelSettings),
            notes=TASKS_HELP,
            incidental=_INCIDENTAL,
        )
    )
