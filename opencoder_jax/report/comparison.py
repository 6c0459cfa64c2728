"""One HTML page of code benchmarks: every answer of one model, or of several side by side.

Reads the folders that `opencoder_jax.evaluate` leaves (`results.json`, `samples.jsonl`) and lays
them out as one file that needs nothing else: rates in a table, and a list of problems with the
verdict of each model, to be filtered, searched and opened. Prompts stand in the file once, however
many models answered. Texts are put in as text by `comparison.js`: what a model wrote may be HTML.
Next: `comparison.html.j2`.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.kept_rows import read_rows
from opencoder_jax.report import formatting
from opencoder_jax.report.environment import template

CONTAMINATION_NAME = "contamination.json"
_FOLDER = Path(__file__).parent
_KEYS = ("task_id", "sample", "prompt", "completion", "program", "verdict", "reason")


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluated:
    """What one model did.

    Attributes:
      title: for people, unlike any other's on the page.
      results: task to its `results.json`.
      samples: task to its answers.
      contamination: task to what its training data share with it, where that was looked for.
    """

    title: str
    results: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    contamination: Mapping[str, Mapping[str, Any]]


def read_evaluated(folder: Path, title: str) -> Evaluated:
    """The finished code benchmarks of an evaluation folder, or of a model directory's.

    Raises:
      InputError: there are none, or they are damaged.
    """
    if (folder / "evaluation").is_dir():
        folder = folder / "evaluation"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give what opencoder_jax.evaluate wrote")
    results, samples = {}, {}
    for path in sorted(folder.glob("*/samples.jsonl")):
        task = path.parent
        if task.name.startswith(".") or not (task / "manifest.json").exists():
            continue
        rows = read_rows(path)
        lacking = [key for row in rows for key in _KEYS if key not in row]
        if lacking:
            raise InputError(
                f"{path} has answers without {lacking[0]}: an older version made it; evaluate again"
            )
        samples[task.name] = rows
        results[task.name] = read_json(task / "results.json")
    if not samples:
        raise InputError(f"{folder} has no finished code benchmark (no samples.jsonl)")
    note = folder / CONTAMINATION_NAME
    return Evaluated(title, results, samples, read_json(note) if note.exists() else {})


def read_json(path: Path) -> dict[str, Any]:
    """An object that evaluation wrote.

    Raises:
      InputError: it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error}); remove {path.parent} and evaluate again"
        ) from error


def render_comparison(models: Sequence[Evaluated]) -> str:
    """The page as HTML."""
    tasks = list(dict.fromkeys(task for model in models for task in model.results))
    return template("comparison.html.j2").render(
        models=models,
        tasks=tasks,
        rates=[_rates(task, models) for task in tasks],
        pairs=[pair for task in tasks for pair in _pairs(task, models)],
        count=sum(len(rows) for model in models for rows in model.samples.values()),
        data=formatting.json_for_script(_data(tasks, models)),
        style=(_FOLDER / "style.css").read_text() + (_FOLDER / "comparison.css").read_text(),
        script="".join((_FOLDER / n).read_text() for n in ("line_diff.js", "comparison.js")),
    )


def _rates(task: str, models: Sequence[Evaluated]) -> dict[str, Any]:
    """A task's row of the first table: (rate, low, high, notes) of each model, or None."""
    cells: list[dict[str, Any] | None] = []
    for model in models:
        found = model.results.get(task)
        if found is None:
            cells.append(None)
            continue
        ks = sorted(int(k.removeprefix("pass_at_")) for k in found if _is_rate(k))
        rates = [(k, found[f"pass_at_{k}"], *found[f"pass_at_{k}_interval"]) for k in ks]
        notes = [f"{count} {verdict}" for verdict, count in found["verdicts"].items()]
        contamination = model.contamination.get(task, {}).get("state", "not checked")
        cells.append({"rates": rates, "notes": ", ".join(notes), "contamination": contamination})
    return {"task": task, "cells": cells}


def _is_rate(key: str) -> bool:
    return key.startswith("pass_at_") and key.removeprefix("pass_at_").isdigit()


def _pairs(task: str, models: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """What the first model passes and each other does not, and the reverse, by problem."""
    passed = [
        {r["task_id"] for r in model.samples.get(task, ()) if r["verdict"] == "passed"}
        for model in models
    ]
    asked = [{r["task_id"] for r in model.samples.get(task, ())} for model in models]
    return [
        {
            "task": task,
            "first": models[0].title,
            "other": models[number].title,
            "both": len(passed[0] & passed[number]),
            "only_first": len((passed[0] - passed[number]) & asked[number]),
            "only_other": len((passed[number] - passed[0]) & asked[0]),
        }
        for number in range(1, len(models))
        if asked[0] and asked[number]
    ]


def _data(tasks: Sequence[str], models: Sequence[Evaluated]) -> dict[str, Any]:
    """For the script: problems in order, each with the answers of every model."""
    problems: list[dict[str, Any]] = []
    for task in tasks:
        by_key: dict[tuple[str, int], dict[str, Any]] = {}
        for number, model in enumerate(models):
            for row in model.samples.get(task, ()):
                key = (row["task_id"], row["sample"])
                problem = by_key.setdefault(key, _problem(task, row, len(models)))
                problem["answers"][number] = {
                    "text": row["completion"],
                    "program": row["program"],
                    "verdict": row["verdict"],
                    "reason": row["reason"],
                    "end": row.get("finish_reason", ""),
                    "tokens": row.get("tokens"),
                    "seconds": row.get("seconds"),
                    "trained": model.contamination.get(task, {})
                    .get("problems", {})
                    .get(row["task_id"]),
                    # Where models were asked in different ways.
                    "prompt": None if row["prompt"] == problem["prompt"] else row["prompt"],
                }
        problems += by_key.values()
    return {"models": [model.title for model in models], "problems": problems}


def _problem(task: str, row: Mapping[str, Any], models: int) -> dict[str, Any]:
    return {
        "task": task,
        "id": row["task_id"],
        "sample": row["sample"],
        "language": row.get("language", ""),
        "subset": row.get("subset", ""),
        "prompt": row["prompt"],
        "suffix": row.get("suffix"),
        "answers": [None] * models,
    }
