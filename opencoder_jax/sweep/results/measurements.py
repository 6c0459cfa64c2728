"""The figures of a sweep's runs, read from the folders of their stages.

A stage is read once, however many runs have it. Its figures are named `MEASURE` or `MEASURE:OF`:
`heldout_loss`, `bits_per_byte:refinecode`, `bits_per_byte:refinecode/python`, `pass@1:humaneval`;
with the stage before, `evaluate:pass@1:humaneval`, they are those of a run. A run may be at any
point: what is not finished has no figures yet. Next: `comparison` sets arms side by side.
"""

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.scores import PASSED, SKIPPED, pass_at_k
from opencoder_jax.formats.manifest import MANIFEST_NAME, RUN_NAME
from opencoder_jax.report.training_runs import METRICS_NAME
from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import (
    DONE_NAME,
    EVALUATE,
    FAILED_NAME,
    TRAIN,
    Plan,
    PlannedRun,
    PlannedStage,
)
from opencoder_jax.sweep.results.stage_files import (
    damaged,
    folders_of,
    number,
    read_json,
    read_lines,
    read_text,
)
from opencoder_jax.training import goodput

# They run on the accelerators.
_ON_DEVICES = (TRAIN, EVALUATE)
_LOSS = "loss_per_nonpadding_target_token"
MODEL_INFO_NAME = "model-info.txt"
_MESH = re.compile(r"^mesh: .*\((\d+) devices\)$", re.MULTILINE)
# The training loss of a stage is the mean over this share of its last lines.
LAST_SHARE = 0.02

State = Literal["finished", "failed", "unfinished"]
Curve = Sequence[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class StageFigures:
    """One stage, as far as it has come.

    Attributes:
      key: which one.
      stage: its name in the sweep.
      state: `failed` is what its workers gave up.
      values: its figures by name.
      intervals: 95 % intervals over problems, of those figures that have one.
      problems: of `pass@K:BENCHMARK`: the rate of each problem.
      curve, heldout: of training: (step, loss in nats a token).
      data: of training: what its batches and their order follow from.
      wall_seconds: of its processes, one after the other.
      cpu_seconds: processor time, where it was measured.
      devices: accelerators that it held; 0 where it needs none.
      code_version: of what made it, as its worker wrote down.
      failure: why it failed, the last lines of its log.
    """

    key: str
    stage: str
    state: State
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    problems: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    curve: Curve = ()
    heldout: Curve = ()
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    devices: int = 0
    code_version: str = ""
    failure: str = ""

    @property
    def device_seconds(self) -> float | None:
        return None if self.wall_seconds is None else self.devices * self.wall_seconds


@dataclasses.dataclass(frozen=True)
class RunFigures:
    """One arm with one seed; `stages` by name, in the order of need."""

    run: PlannedRun
    stages: Mapping[str, StageFigures]

    @property
    def state(self) -> State:
        states = {stage.state for stage in self.stages.values()}
        return "failed" if "failed" in states else _joint(states)

    @property
    def values(self) -> dict[str, float]:
        """`STAGE:MEASURE[:OF]` to value."""
        return {
            f"{name}:{figure}": value
            for name, stage in self.stages.items()
            for figure, value in stage.values.items()
        }

    def figure(self, metric: Metric) -> str | None:
        """The name in its stage's `values` of what a metric asks for; None: not there (yet)."""
        stage = self.stages.get(metric.stage)
        return None if stage is None else _figure(stage.values, metric)

    def value(self, metric: Metric) -> float | None:
        """None: not there (yet), or no number, e.g. the loss of a model that diverged."""
        name = self.figure(metric)
        value = None if name is None else self.stages[metric.stage].values[name]
        return value if value is not None and math.isfinite(value) else None

    def sum(self, name: str) -> float | None:
        """Of a `StageFigures` attribute over the stages; None where no stage has it."""
        found = [getattr(stage, name) for stage in self.stages.values()]
        found = [value for value in found if value is not None]
        return math.fsum(found) if found else None

    @property
    def training_flops(self) -> float | None:
        """Of all its training, as the plan counted them."""
        found = [s.values["flops"] for s in self.stages.values() if "flops" in s.values]
        return math.fsum(found) if found else None

    def last(self, figure: str) -> float | None:
        """A figure of the last stage that has it, e.g. `tokens`, which are of all phases so far."""
        found = [s.values[figure] for s in self.stages.values() if figure in s.values]
        return found[-1] if found else None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A sweep: its runs in the plan's order, and every stage once."""

    plan: Plan
    runs: Sequence[RunFigures]
    stages: Mapping[str, StageFigures]

    def of_arm(self, arm: str) -> list[RunFigures]:
        return [run for run in self.runs if run.run.arm == arm]


def measure(plan: Plan) -> Measured:
    """Reads all that the stages of a plan have left.

    Raises:
      InputError: a file is damaged, or a store cannot be read.
    """
    stages = {key: read_stage(plan, stage) for key, stage in plan.stages.items()}
    runs = [
        RunFigures(run, {name: stages[key] for name, key in run.stages.items()})
        for run in plan.runs
    ]
    return Measured(plan, runs, stages)


def read_stage(plan: Plan, stage: PlannedStage) -> StageFigures:
    """Raises: InputError: a file is damaged."""
    folder, records = plan.stage_folder(stage.key), plan.records_folder(stage.key)
    done = read_json(f"{records}/{DONE_NAME}")
    failed = None if done else read_json(f"{records}/{FAILED_NAME}")
    manifest = read_json(f"{folder}/{MANIFEST_NAME}")
    finished = done is not None or manifest is not None
    figures: dict[str, Any] = {}
    if stage.command == TRAIN:
        figures = _training(folder, stage, finished)
    elif stage.command == EVALUATE:
        figures = _evaluation(folder)
        # A stage of a printed script has no records.
        wanted = [metric for metric in plan.metrics if metric.stage == stage.stage]
        finished |= bool(wanted) and all(_figure(figures["values"], m) for m in wanted)
    else:
        figures = {"values": _counts(folder, manifest)}
    wall, cpu = _times(folder)
    if stage.command == TRAIN:
        wall = goodput.read_account(folder).alive or wall
    elif done and "wall_seconds" in done:
        wall = number(f"{records}/{DONE_NAME}", done, "wall_seconds")
    failure = "" if failed is None else _failure(failed)
    return StageFigures(
        key=stage.key,
        stage=stage.stage,
        state="finished" if finished else "unfinished" if failed is None else "failed",
        wall_seconds=wall,
        cpu_seconds=cpu,
        devices=_devices(folder, stage),
        code_version=str((done or {}).get("code_version", "")),
        failure=failure,
        **figures,
    )


def _failure(failed: Mapping[str, Any]) -> str:
    parts = (str(failed.get(name, "")) for name in ("reason", "log"))
    return "\n".join(filter(None, parts)) or f"exit status {failed.get('exit_status')}"


def _devices(folder: str, stage: PlannedStage) -> int:
    if stage.command not in _ON_DEVICES:
        return 0
    # The mesh may take whatever there is; the model directory says what it was.
    found = _MESH.search(read_text(f"{folder}/{MODEL_INFO_NAME}") or "")
    return int(found[1]) if found else int(stage.facts.get("devices") or 1)


def _figure(values: Iterable[str], metric: Metric) -> str | None:
    """The name of a metric among a stage's figures; without `of` its only set or benchmark."""
    if metric.of:
        name = f"{metric.measure}:{metric.of}"
        return name if name in values else None
    if metric.measure in values:
        return metric.measure
    begins = f"{metric.measure}:"
    found = [name for name in values if name.startswith(begins) and "/" not in name]
    return found[0] if len(found) == 1 else None


def _training(folder: str, stage: PlannedStage, finished: bool) -> dict[str, Any]:
    identity_place = f"{folder}/{RUN_NAME}"
    identity = read_json(identity_place) or {}
    place = f"{folder}/train/{METRICS_NAME}"
    # A step that was skipped because its loss was no number has a line without one.
    lines = [line for line in read_lines(place, whole=finished) if _LOSS in line]
    heldout_place = f"{folder}/heldout/{METRICS_NAME}"
    heldout = read_lines(heldout_place, whole=finished)
    values: dict[str, float] = {}
    curve = [(int(number(place, x, "step")), number(place, x, _LOSS)) for x in lines]
    heldout_curve = [
        (int(number(heldout_place, x, "step")), number(heldout_place, x, _LOSS)) for x in heldout
    ]
    for title, name in (
        ("tokens_per_second", "timing/target_tokens_per_second"),
        ("mfu", "timing/mfu"),
    ):
        rates = [number(place, line, name) for line in lines if name in line]
        if rates:
            # The median leaves out what else the machine did for a moment.
            values[title] = statistics.median(rates)
    if lines:
        first = _mapping(identity_place, identity.get("config", {})).get("first_step", 0)
        values["steps"] = curve[-1][0] - first
        if "tokens_seen" in lines[-1]:
            values["tokens"] = number(place, lines[-1], "tokens_seen")
        if "skipped_steps" in lines[-1]:
            values["skipped_steps"] = number(place, lines[-1], "skipped_steps")
    for name in ("parameters", "flops"):
        if name in stage.facts:
            values[name] = float(stage.facts[name])
    if finished and curve:
        last = curve[-max(1, round(LAST_SHARE * len(curve))) :]
        values["loss"] = math.fsum(loss for _, loss in last) / len(last)
    if finished and heldout:
        values["heldout_loss"] = heldout_curve[-1][1]
        for name in heldout[-1]:
            if name == "bits_per_byte" or name.startswith("bits_per_byte/"):
                values[f"heldout_{name}"] = number(heldout_place, heldout[-1], name)
    inputs = _mapping(identity_place, identity.get("inputs", {}))
    return {
        "values": values,
        "curve": curve,
        "heldout": heldout_curve,
        "data": {name: value for name, value in inputs.items() if name.startswith("data.")},
    }


def _evaluation(folder: str) -> dict[str, Any]:
    """Of the tasks that are finished."""
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    problems: dict[str, dict[str, float]] = {}
    for task, place in folders_of(folder):
        results = read_json(f"{place}/results.json")
        if results is None or not Path(place, MANIFEST_NAME).exists():
            continue
        path = f"{place}/results.json"
        for name, scores in _mapping(path, results.get("sets", {})).items():
            values |= _bits_per_byte(path, results, name, scores)
        if "verdicts" in results:
            by_language = _mapping(path, results.get("languages", {}))
            summaries = {task: results} | {f"{task}/{n}": s for n, s in by_language.items()}
            rows = read_lines(f"{place}/samples.jsonl", whole=True)
            for name, summary in summaries.items():
                language = name.partition("/")[2]
                counts = _judged(f"{place}/samples.jsonl", rows, language)
                for k in _ks(_mapping(path, summary)):
                    figure = f"pass@{k}:{name}"
                    values[figure] = number(path, summary, f"pass_at_{k}")
                    interval = summary.get(f"pass_at_{k}_interval")
                    if isinstance(interval, list) and len(interval) == 2:
                        intervals[figure] = (float(interval[0]), float(interval[1]))
                    problems[figure] = {
                        n: pass_at_k(all_, right, k)
                        for n, (all_, right) in counts.items()
                        if all_ >= k
                    }
    return {"values": values, "intervals": intervals, "problems": problems}


def _ks(summary: Mapping[str, Any]) -> list[int]:
    """Of pass@k."""
    return [int(k) for k in (name.removeprefix("pass_at_") for name in summary) if k.isdecimal()]


def _bits_per_byte(
    path: str, results: Mapping[str, Any], name: str, scores: Any
) -> dict[str, float]:
    values = {
        f"bits_per_byte:{name}": number(path, results, "sets", name, "total", "bits_per_byte")
    }
    for language, score in _mapping(path, _mapping(path, scores).get("languages", {})).items():
        # A language without a byte of text has no rate.
        if _mapping(path, score).get("bits_per_byte") is not None:
            values[f"bits_per_byte:{name}/{language}"] = number(path, score, "bits_per_byte")
    return values


def _judged(
    place: str, rows: Sequence[Mapping[str, Any]], language: str
) -> dict[str, tuple[int, int]]:
    """Problem to (answers that were judged, those that passed), of one language or, empty, all."""
    counts: dict[str, tuple[int, int]] = {}
    for line, row in enumerate(rows, start=1):
        try:
            name, verdict = row["task_id"], row["verdict"]
        except KeyError as error:
            raise damaged(f"{place}, line {line}", f"no {error}") from error
        if not language or row.get("language") == language:
            judged, passed = counts.get(name, (0, 0))
            counts[name] = judged + (verdict != SKIPPED), passed + (verdict == PASSED)
    return counts


def _counts(folder: str, manifest: Mapping[str, Any] | None) -> dict[str, float]:
    """What went into a data stage, what came out: of its folder, or of the sets in it."""
    if manifest is not None:
        return _manifest_counts(f"{folder}/{MANIFEST_NAME}", manifest)
    values: dict[str, float] = {}
    for name, place in folders_of(folder):
        path = f"{place}/{MANIFEST_NAME}"
        of_set = read_json(path)
        if of_set is not None:
            counts = _manifest_counts(path, of_set)
            values |= {f"{figure}:{name}": value for figure, value in counts.items()}
    return values


def _manifest_counts(path: str, manifest: Mapping[str, Any]) -> dict[str, float]:
    counts = _mapping(path, manifest.get("counts", {}))
    values: dict[str, float] = {}
    # `refinecode` counts documents, other jobs whatever they make.
    for group in ("documents", "accounting"):
        for end, title in (("input", "records in"), ("output", "records kept")):
            if isinstance(counts.get(group), Mapping) and end in counts[group]:
                values[title] = number(path, counts, group, end)
    if isinstance(counts.get("bytes"), Mapping) and "kept" in counts["bytes"]:
        values["bytes kept"] = number(path, counts, "bytes", "kept")
    for side in ("train", "heldout"):
        if isinstance(counts.get(side), Mapping) and "tokens" in counts[side]:
            values[f"{side} tokens"] = number(path, counts, side, "tokens")
    if "bytes_per_token" in counts:
        values["bytes a token"] = number(path, counts, "bytes_per_token")
    return values


def _times(folder: str) -> tuple[float | None, float | None]:
    """(wall, processor) seconds that a stage's commands measured of themselves."""
    places = [folder, *(place for _, place in folders_of(folder))]
    wall, cpu = [], []
    for place in places:
        path = f"{place}/timing.json"
        timing = read_json(path)
        if timing is not None:
            wall.append(number(path, timing, "wall_seconds"))
            cpu.append(number(path, timing, "cpu_seconds"))
    return (math.fsum(wall), math.fsum(cpu)) if wall else (None, None)


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{path} is damaged (no object where one was expected)")
    return value


def _joint(states: set[State]) -> State:
    return "finished" if states == {"finished"} else "unfinished"
