"""What `opencoder_jax.evaluate` left in each phase's `evaluation/` folder.

A task whose folder has no manifest is still running or was killed and counts as absent.
Of HumanEval's answers a few are kept to be read, those that passed first.
Next: `evaluation_tables` puts the phases side by side; docs/evaluation.md has the files.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.report.training_runs import Phase

_SHOWN_PROBLEMS = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One HumanEval problem as one model answered it."""

    task_id: str
    prompt: str
    completion: str
    verdict: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Continuation:
    """What one model wrote after one opening."""

    title: str
    prompt: str
    completion: str


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """All results of one model.

    Attributes:
      phase: title of the phase that made the model.
      bits_per_byte: set name to `{"total": score, "languages": {language: score}}`.
      humaneval: the results of the HumanEval task, or None.
      problems: a few of its problems, those that passed first.
      continuations: greedy continuations of fixed openings.
    """

    phase: str
    bits_per_byte: Mapping[str, Mapping[str, Any]]
    humaneval: Mapping[str, Any] | None
    problems: tuple[Problem, ...]
    continuations: tuple[Continuation, ...]


def read_evaluations(run_dir: Path, phases: Sequence[Phase]) -> tuple[Evaluation, ...]:
    """The evaluations of those phases that have any."""
    found = (_read_evaluation(run_dir / phase.name / "evaluation", phase) for phase in phases)
    return tuple(evaluation for evaluation in found if evaluation is not None)


def _read_evaluation(folder: Path, phase: Phase) -> Evaluation | None:
    bits = _results(folder / "bits_per_byte")
    humaneval = _results(folder / "humaneval")
    samples = _results(folder / "samples")
    if not (bits or humaneval or samples):
        return None
    return Evaluation(
        phase=phase.title,
        bits_per_byte=bits["sets"] if bits else {},
        humaneval=humaneval,
        problems=_problems(folder / "humaneval" / "samples.jsonl") if humaneval else (),
        continuations=tuple(
            Continuation(sample["title"], sample["prompt"], sample["completion"])
            for sample in (samples or {"samples": ()})["samples"]
        ),
    )


def _results(folder: Path) -> dict[str, Any] | None:
    """`results.json` of a finished task."""
    path = folder / "results.json"
    if not (folder / "manifest.json").exists() or not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove {folder} and evaluate again") from (
            error
        )


def _problems(path: Path) -> tuple[Problem, ...]:
    """Those that passed, then the first of those that did not."""
    problems = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], start=1):
        try:
            sample = json.loads(line)
            problems.append(
                Problem(
                    task_id=sample["task_id"],
                    prompt=sample["prompt"],
                    completion=sample["completion"],
                    verdict=sample["verdict"],
                    reason=sample["reason"],
                )
            )
        except (ValueError, KeyError) as error:
            raise InputError(f"{path}, line {number}: {error!r}; evaluate again") from error
    problems.sort(key=lambda problem: problem.verdict != "passed")
    return tuple(problems[:_SHOWN_PROBLEMS])
