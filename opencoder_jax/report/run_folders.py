"""Finds model directories below some folders, and reads each as far as it can be read.

A run that is damaged or half written is one of many, and the one that a reader looks for: what
is wrong with it stands in `problems`, nothing raises. Where plans of sweeps lie in the folders,
the runs that they name are read too, wherever those are. docs/training.md lists the files of a
model directory. Next: `run_curves` and `run_results` read its parts, `run_browser` lays them out.
"""

import contextlib
import dataclasses
import datetime
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME, RUN_NAME, fingerprint, flattened
from opencoder_jax.report.run_curves import Lines, curves, read_lines
from opencoder_jax.report.run_results import (
    RESULTS_NAME,
    Results,
    as_object,
    finite,
    read_object,
    read_results,
)
from opencoder_jax.report.training_runs import METRICS_NAME, model_of
from opencoder_jax.sweep.plan_file import FAILED_NAME, PLAN_NAME, Plan, read_plan
from opencoder_jax.training import goodput

# Of a model directory; nothing below is a run.
_PARTS = ("train", "heldout", "tokenizer", "compilation_cache")
_LOSS = "loss_per_nonpadding_target_token"
# Of a curve, at least and at most, and of one curve of each run together: the page's size.
_BUCKETS = 60, 400
_ALL_BUCKETS = 33_000
_INITIAL = re.compile(r"^INITIAL_CHECKPOINT_PATH = (['\"])(.+)\1$", re.MULTILINE)
# What names a checkpoint for the phase that starts from it (`training.checkpoints`).
_METADATA = ("step", "tokens_by_source", "model", "tokenizer_fingerprint", "data", "phases")


@dataclasses.dataclass(slots=True)
class RunFolder:
    """One model directory.

    Attributes:
      title: its path below the folder that was given.
      folder: where it is.
      state: `finished`, `unfinished` or `failed`.
      problems: what is wrong with its files.
      figures: what came out: name to number.
      settings: what it was made with, flat, as `run.json` has it.
      inputs: fingerprints and mixture, the same.
      written: when its metrics were last written, UTC.
      gin: text of `config.gin`.
      curves: of training and of held-out losses (`run_curves.curves`).
      files: (name, bytes) at its top; None for a folder.
      checkpoints: step to what names it for a phase that starts from it.
      initial: path that its configuration starts from; empty where there is none.
      params: SHA-256 of the parameters that came out.
      results: of its evaluations.
      sweeps, stages, arms, seeds: of the plans that have it as a stage.
      changes: lines of the sweep's file that make its arms what they are.
    """

    title: str
    folder: Path
    state: str = "unfinished"
    problems: list[str] = dataclasses.field(default_factory=list)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: dict[str, Any] = dataclasses.field(default_factory=dict)
    written: str = ""
    gin: str = ""
    curves: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    files: list[tuple[str, int | None]] = dataclasses.field(default_factory=list)
    checkpoints: dict[int, str] = dataclasses.field(default_factory=dict)
    initial: str = ""
    params: set[str] = dataclasses.field(default_factory=set)
    results: list[Results] = dataclasses.field(default_factory=list)
    sweeps: list[str] = dataclasses.field(default_factory=list)
    stages: list[str] = dataclasses.field(default_factory=list)
    arms: list[str] = dataclasses.field(default_factory=list)
    seeds: list[int] = dataclasses.field(default_factory=list)
    changes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Found:
    """Everything below the folders.

    Attributes:
      runs: in the order of their paths, those of plans last.
      notes: for the reader: what could not be read, what belongs to no run.
    """

    runs: list[RunFolder] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def read_runs(roots: Sequence[tuple[str, Path]], answers: int) -> Found:
    """All runs below some folders.

    Args:
      roots: title (may be empty) and path of each.
      answers: see `run_results.read_results`.
    """
    found = Found()
    places: dict[Path, tuple[str, Path]] = {}
    results: dict[Path, Results] = {}
    plans: list[Plan] = []
    walked: set[Path] = set()

    def walk(title: str, root: Path) -> None:
        for folder, folders, files in _folders(root, walked, found.notes):
            below = folder.relative_to(root)
            name = "/".join(filter(None, (title, *below.parts))) or root.resolve().name
            if PLAN_NAME in files:
                try:
                    plans.append(read_plan(folder))
                except (InputError, OSError) as error:
                    found.notes.append(str(error))
            if RESULTS_NAME in files and MANIFEST_NAME in files:
                made, problem = read_object(folder / MANIFEST_NAME)
                if problem:
                    found.notes.append(f"{name}/{MANIFEST_NAME} {problem}")
                elif made.get("job") == "evaluate":
                    results[folder.resolve()] = read_results(folder, made, answers)
                    folders.clear()
                    continue
            if _is_run(folder, folders, files):
                places[folder.resolve()] = name, folder
                folders[:] = [f for f in folders if f not in _PARTS]

    for title, root in roots:
        walk(title, root)
    for plan in plans:
        with _damage_told(plan, found.notes):
            for title, stage in _stage_folders(plan, found.notes):
                if stage.is_dir():
                    walk(title, stage)
    few, many = _BUCKETS
    buckets = max(few, min(many, _ALL_BUCKETS // max(len(places), 1)))
    by_path = {path: read_run(*place, buckets) for path, place in places.items()}
    owners: dict[Path, Path] = {}
    for plan in plans:
        with _damage_told(plan, found.notes):
            _take_plan(plan, by_path, owners)
    found.runs = list(by_path.values())
    _give_results(results, by_path, owners, found.notes)
    return found


def _folders(
    root: Path, walked: set[Path], notes: list[str]
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As `os.walk`, links followed, each folder once, without hidden ones and checkpoints."""

    def unreadable(error: OSError) -> None:
        notes.append(f"{error.filename} cannot be read: {error.strerror}")

    for name, folders, files in os.walk(root, followlinks=True, onerror=unreadable):
        folder = Path(name)
        real = folder.resolve()
        if real in walked:
            folders.clear()
            continue
        walked.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "checkpoint_")))
        yield folder, folders, files


def _is_run(folder: Path, folders: Sequence[str], files: Sequence[str]) -> bool:
    # Not `Path.is_file`, which raises where a folder cannot be entered.
    if RUN_NAME in files or (
        "train" in folders and os.path.isfile(folder / "train" / METRICS_NAME)
    ):
        return True
    return MANIFEST_NAME in files and read_object(folder / MANIFEST_NAME)[0].get("job") == "train"


def read_run(title: str, folder: Path, buckets: int) -> RunFolder:
    """What a model directory says of itself; `buckets` as in `run_curves.curves`."""
    run = RunFolder(title, folder)

    def read(name: str) -> dict[str, Any]:
        value, problem = read_object(folder / name)
        if problem:
            run.problems.append(f"{name} {problem}")
        return value

    manifest, said, timing = read(MANIFEST_NAME), read(RUN_NAME), read("timing.json")
    run.state = "finished" if manifest else "unfinished"
    identity = manifest if "config" in manifest else said
    if not identity and not run.problems:
        run.problems.append(f"{RUN_NAME} is missing")
    run.settings = flattened(as_object(identity.get("config")))
    run.inputs = flattened(as_object(identity.get("inputs")))
    run.params = {
        str(digest)
        for name, digest in as_object(manifest.get("files")).items()
        if name.endswith("/params")
    }
    try:
        run.gin = (folder / "config.gin").read_text("utf-8", errors="replace")
    except FileNotFoundError:
        run.problems.append("config.gin is missing")
    except OSError as error:
        run.problems.append(f"config.gin cannot be read: {error.strerror}")
    initial = _INITIAL.search(run.gin)
    run.initial = initial[2] if initial else ""
    train, heldout = (read_lines(folder / part / METRICS_NAME) for part in ("train", "heldout"))
    for part, lines in (("train", train), ("heldout", heldout)):
        if lines.problem:
            run.problems.append(f"{part}/{METRICS_NAME}: {lines.problem}")
    if not train.steps.size:
        run.problems.append("no step has been recorded")
    run.curves = [curves(train, buckets), curves(heldout, buckets, "heldout_")]
    run.written = _written(folder)
    run.files = _top(folder, run.problems)
    run.checkpoints = dict(_checkpoints(folder))
    run.figures = _figures(train, heldout, as_object(manifest.get("counts")), timing)
    try:
        account = goodput.read_account(folder)
        if alive := finite(account.alive):
            # Of all processes; the timing is of the last one.
            run.figures |= {"wall_seconds": alive, "goodput": account.goodput or 0.0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        run.problems.append(f"{goodput.FILE_NAME} is damaged: {error!r}")
    with contextlib.suppress(InputError, TypeError, ValueError):
        if model := model_of(run.settings):
            run.figures["parameters"] = float(model.parameter_count())
    return run


def _figures(
    train: Lines, heldout: Lines, counts: Mapping[str, Any], timing: Mapping[str, Any]
) -> dict[str, float]:
    figures = {
        "step": train.last("step"),
        "tokens": train.last("tokens_seen"),
        "loss": train.last(_LOSS),
        "heldout_loss": heldout.last(_LOSS),
        "heldout_bits_per_byte": heldout.last("bits_per_byte"),
        "skipped_steps": counts.get("skipped_steps", train.last("skipped_steps")),
        "tokens_per_second": train.median("timing/target_tokens_per_second"),
        "mfu": train.median("timing/mfu"),
        "goodput": train.last("timing/goodput"),
        "wall_seconds": timing.get("wall_seconds"),
        "peak_memory_bytes": timing.get("peak_memory_bytes"),
    }
    numbers = {name: finite(value) for name, value in figures.items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _written(folder: Path) -> str:
    """When the run last wrote a figure, in UTC."""
    try:
        seconds = (folder / "train" / METRICS_NAME).stat().st_mtime
    except OSError:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _top(folder: Path, problems: list[str]) -> list[tuple[str, int | None]]:
    try:
        with os.scandir(folder) as entries:
            listed = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        problems.append(f"its files cannot be listed: {error.strerror}")
        return []
    found = []
    for entry in sorted(listed, key=lambda entry: entry.name):
        # A link may lead nowhere, and a running program removes files.
        with contextlib.suppress(OSError):
            found.append((entry.name, None if entry.is_dir() else entry.stat().st_size))
    return found


def _checkpoints(folder: Path) -> Iterator[tuple[int, str]]:
    for path in sorted(folder.glob("checkpoint_*/metadata/metadata")):
        metadata, _ = read_object(path)
        if set(_METADATA) <= metadata.keys() and isinstance(metadata["step"], int):
            named = {name: metadata[name] for name in _METADATA}
            named["spikes"] = metadata.get("spikes")
            yield metadata["step"], fingerprint(named)


@contextlib.contextmanager
def _damage_told(plan: Plan, notes: list[str]) -> Iterator[None]:
    """A plan whose values are of other kinds than a plan's is a note, not an end."""
    try:
        yield
    except (OSError, TypeError, ValueError, AttributeError, KeyError) as error:
        note = f"{plan.folder}/{PLAN_NAME} is damaged ({error!r})"
        if note not in notes:
            notes.append(note)


def _stage_folders(plan: Plan, notes: list[str]) -> Iterator[tuple[str, Path]]:
    """(key, path) of the folder of each stage of a plan."""
    for key in plan.stages:
        place = plan.stage_folder(key)
        if "://" in place:
            notes.append(f"{plan.name}: its stages lie in {place}, and only local ones are read")
            return
        yield key, Path(place)


def _take_plan(plan: Plan, by_path: Mapping[Path, RunFolder], owners: dict[Path, Path]) -> None:
    """Tells runs their sweep, arm and seed, and whose evaluations are whose."""
    places = {key: Path(plan.stage_folder(key)).resolve() for key in plan.stages}
    for key, stage in plan.stages.items():
        models = [places[i] for i in stage.inputs if places[i] in by_path]
        if len(models) == 1:
            owners[places[key]] = models[0]
        run = by_path.get(places[key])
        if run is None:
            continue
        _add(run.sweeps, str(plan.name))
        _add(run.stages, str(stage.stage))
        for user in plan.users(key):
            _add(run.arms, str(user.arm))
            _add(run.seeds, user.seed)
            for name, lines in user.changes.items():
                _add(run.changes, f"{user.arm}: {name}: {', '.join(lines)}")
        for name in ("parameters", "flops"):
            if (value := finite(stage.facts.get(name))) is not None:
                run.figures.setdefault(name, value)
        failed, _ = read_object(Path(plan.records_folder(key)) / FAILED_NAME)
        if failed and run.state != "finished":
            run.state = "failed"
            log = str(failed.get("log", ""))[-2000:]
            run.problems.append(f"failed with exit status {failed.get('exit_status')}: {log}")


def _add(values: list[Any], value: Any) -> None:
    if value not in values:
        values.append(value)


def _give_results(
    results: Mapping[Path, Results],
    by_path: Mapping[Path, RunFolder],
    owners: Mapping[Path, Path],
    notes: list[str],
) -> None:
    """Results lie below their model, or the plan says whose, or the parameters do."""
    by_params: dict[str, list[RunFolder]] = {}
    for run in by_path.values():
        for digest in run.params:
            by_params.setdefault(digest, []).append(run)
    for path, result in results.items():
        above = [path, *path.parents]
        model = next((p for p in above if p in by_path), None) or next(
            (owners[p] for p in above if p in owners), None
        )
        runs = [by_path[model]] if model else by_params.get(result.params, [])
        if not runs:
            notes.append(f"{result.folder}: results of a model that is not on this page")
        for run in runs:
            run.results.append(result)
            run.problems += [f"{result.task}/{problem}" for problem in result.problems]
