"""Evaluates a model: bits per byte on held-out text, HumanEval, samples to read.

    python -m opencoder_jax.evaluate --gin_file=evaluate/demo.gin --gin.MODEL_DIR=runs/x/pretrain

The model is a model directory (its newest checkpoint, or `evaluate.step`) or a Hugging
Face folder. Each task writes `<MODEL_DIR>/evaluation/<task>/` with `results.json`, a
manifest that names the very parameters, and `timing.json`. A task that is done is not
done again; with another model or other settings in its place it is an error.
The tasks are in `opencoder_jax/evaluation`; docs/evaluation.md explains the numbers.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.task import Task
from opencoder_jax.formats.manifest import already_done, write_json, write_manifest
from opencoder_jax.formats.staging import staged_folder
from opencoder_jax.model.loading import LoadedModel, load_model
from opencoder_jax.timing import timed
from opencoder_jax.training import checkpoints

JOB = "evaluate"
RESULTS_NAME = "results.json"


def evaluate(
    model_dir: str | os.PathLike,
    tasks: Sequence[Task],
    step: int | None = None,
    output_dir: str | os.PathLike | None = None,
) -> dict[str, dict[str, Any]]:
    """Runs tasks on one model and prints a table of the results.

    Args:
      model_dir: a model directory or a Hugging Face folder.
      tasks: what to measure.
      step: of the checkpoint; None: the newest.
      output_dir: where results go; None: `<model_dir>/evaluation`.

    Returns:
      Task name to its results.

    Raises:
      InputError: no model there, an input of a task is missing or does not fit the
        model, or the output folder holds results of another model or other settings.
    """
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise InputError(f"tasks {names}: each may appear once; use another output_dir for more")
    # Before the model is loaded: a missing input should cost no minute of waiting.
    inputs = {task.name: task.inputs() for task in tasks}
    root = Path(output_dir) if output_dir else Path(model_dir) / "evaluation"
    model = load_model(model_dir, step=step)
    params = checkpoints.params_sha256(model.params)
    own = {"params": params, "tokenizer": model.tokenizer.fingerprint}
    work = [
        (task, root / task.name, _identity(task, model, own | inputs[task.name])) for task in tasks
    ]
    # All of them before the first runs: the second's mismatch should not cost the first's time.
    finished = [already_done(folder, **identity) for _, folder, identity in work]
    results = {}
    for (task, folder, identity), done in zip(work, finished, strict=True):
        if done:
            print(f"{folder} is finished: nothing to do", file=sys.stderr)
            results[task.name] = _read_results(folder)
        else:
            results[task.name] = _run_task(task, model, folder, identity)
    _print_results(model, tasks, results, root)
    return results


def _identity(task: Task, model: LoadedModel, inputs: Mapping[str, str]) -> dict[str, Any]:
    config = {"task": task.name, "step": model.step, **configuration.canonical(task.settings())}
    return {"job": JOB, "config": config, "inputs": inputs}


def _run_task(
    task: Task, model: LoadedModel, folder: Path, identity: Mapping[str, Any]
) -> dict[str, Any]:
    with staged_folder(folder) as work:
        with timed(work):
            results = task.run(model, work)
            write_json(work / RESULTS_NAME, results)
        configuration.write_config_gin(work)
        write_manifest(work, counts=dict(task.rows(results)), **identity)
    return results


def _read_results(folder: Path) -> dict[str, Any]:
    path = folder / RESULTS_NAME
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); remove {folder} and run again") from error


def _print_results(
    model: LoadedModel, tasks: Sequence[Task], results: Mapping[str, Mapping[str, Any]], root: Path
) -> None:
    table = Table(title=f"step {model.step}", title_justify="left")
    table.add_column("task")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for task in tasks:
        for measure, value in task.rows(results[task.name]):
            table.add_row(task.name, measure, value)
    Console().print(table)
    print(f"results in {root}")


if __name__ == "__main__":
    sys.exit(configuration.main(evaluate, default_gin_files=["evaluate/demo.gin"]))
