"""What evaluations say of a model, for the run browser: measures, and a few answers to read.

As `evaluations`, but for any task and any number of models, and a damaged file is told in place
of the results: it is one of many. Next: `run_folders` finds whose they are.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS_NAME = "results.json"
# Of a text on the page.
_CHARACTERS = 4000


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One text that a model wrote; all parts but `completion` may be empty."""

    title: str
    prompt: str
    completion: str
    verdict: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Results:
    """One task's folder.

    Attributes:
      folder: the task's.
      task: its name.
      step: of the checkpoint, where it is known.
      params: SHA-256 of the parameters that were evaluated; empty where it is not known.
      figures: measure to value, e.g. `bits_per_byte/refinecode/python`, `pass@1/humaneval`.
      intervals: measure to the ends of its 95 % interval, where it has one.
      answers: some, to be read.
      count: of all answers.
      problems: what is wrong with the folder.
    """

    folder: Path
    task: str
    step: int | None
    params: str
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    answers: tuple[Answer, ...]
    count: int
    problems: tuple[str, ...]


def read_object(path: Path) -> tuple[dict[str, Any], str]:
    """The JSON object in a file, and what is wrong; an empty one where it is not there."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        return {}, f"is damaged: {str(error)[:200]}"
    return (value, "") if isinstance(value, dict) else ({}, "is damaged: no JSON object")


def read_results(folder: Path, manifest: Mapping[str, Any], answers: int) -> Results:
    """A finished task.

    Args:
      folder: of the task.
      manifest: its manifest.
      answers: how many are read of each kind: the first ones, and the first that passed.
    """
    results, problem = read_object(folder / RESULTS_NAME)
    problems = [f"{RESULTS_NAME} {problem}"] if problem else []
    config, inputs = as_object(manifest.get("config")), as_object(manifest.get("inputs"))
    step = config.get("step")
    figures: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name, value, interval in _measures(folder.name, results):
        if (number := finite(value)) is not None:
            figures[name] = number
            ends = [end for end in map(finite, as_list(interval)) if end is not None]
            if len(ends) == 2:
                intervals[name] = (ends[0], ends[1])
    shown, count = _continuations(results), 0
    if not shown:
        shown, count, problem = _judged(folder / "samples.jsonl", answers)
        problems += [f"samples.jsonl {problem}"] if problem else []
    return Results(
        folder=folder,
        task=folder.name,
        step=step if isinstance(step, int) else None,
        params=str(inputs.get("params", "")),
        figures=figures,
        intervals=intervals,
        answers=tuple(shown),
        count=max(count, len(shown)),
        problems=tuple(problems),
    )


def as_object(value: Any) -> Mapping[str, Any]:
    """`value`, or an empty object in place of anything else."""
    return value if isinstance(value, dict) else {}


def finite(value: Any) -> float | None:
    """`value` as a float; None in place of all but finite numbers."""
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        # JSON has whole numbers of any length.
        return None
    return number if math.isfinite(number) else None


def as_list(value: Any) -> list[Any]:
    """`value`, or an empty list in place of anything else."""
    return value if isinstance(value, list) else []


def _measures(task: str, results: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(measure, value, interval): rates of benchmarks, bits per byte of sets."""
    for part, found in ((task, results), *_below(task, results, "languages")):
        for name, value in found.items():
            k = name.removeprefix("pass_at_")
            if k != name and k.isdigit():
                yield f"pass@{k}/{part}", value, found.get(f"{name}_interval")
    for name, found in as_object(results.get("sets")).items():
        total = as_object(as_object(found).get("total"))
        yield f"bits_per_byte/{name}", total.get("bits_per_byte"), None
        for part, score in _below(name, as_object(found), "languages"):
            yield f"bits_per_byte/{part}", score.get("bits_per_byte"), None


def _below(
    name: str, found: Mapping[str, Any], key: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part, value in as_object(found.get(key)).items():
        yield f"{name}/{part}", as_object(value)


def _continuations(results: Mapping[str, Any]) -> list[Answer]:
    """Of the task `samples`."""
    return [_answer(sample, "title") for sample in as_list(results.get("samples"))]


def _answer(row: Any, title: str) -> Answer:
    row = as_object(row)
    parts = [_cut(row.get(name)) for name in (title, "prompt", "completion", "verdict", "reason")]
    # Of several answers to one problem, which.
    sample = row.get("sample")
    if isinstance(sample, int) and sample > 0:
        parts[0] += f" · {sample + 1}"
    return Answer(*parts)


def _cut(value: Any) -> str:
    text = "" if value is None else str(value)
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]}\n… {len(text) - _CHARACTERS} more characters"


def _judged(path: Path, most: int) -> tuple[list[Answer], int, str]:
    """Some answers to a benchmark, the number of all, and what is wrong with the file."""
    first: list[Answer] = []
    passed: list[Answer] = []
    count = 0
    try:
        with path.open("rb") as file:
            for line in file:
                row = json.loads(line)
                count += 1
                if count <= most:
                    first.append(_answer(row, "task_id"))
                elif len(passed) < most and as_object(row).get("verdict") == "passed":
                    passed.append(_answer(row, "task_id"))
    except FileNotFoundError:
        pass
    except OSError as error:
        return first + passed, count, f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return first + passed, count, f"line {count + 1} is damaged"
    return first + passed, count, ""
