"""`plan.json`: a sweep with everything resolved, all that its workers and reports read.

Written by `planning`; whoever reads it needs neither gin nor the commands' modules, so a
worker starts in a moment. A stage is known by its key, `NAME-` and a hash of what the stage
would really do: two arms that have a key in common share that stage's output.
"""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from opencoder_jax.data import stores
from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import Metric

PLAN_NAME = "plan.json"
# In a stage's records: finished, and given up.
DONE_NAME, FAILED_NAME = "done.json", "failed.json"
# Commands that the parts of a sweep know something about.
TRAIN, EVALUATE = "opencoder_jax.train", "opencoder_jax.evaluate"
FORMAT_VERSION = 1
# In a stage's words: its own folder, or by a key another stage's.
_PLACE = re.compile(r"\{([A-Za-z0-9][\w.+-]*)\}")
_OWN_PLACE = "output"


class PlanError(InputError):
    """A sweep folder has no plan that can be used."""


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """One thing to do.

    Attributes:
      key: which one; the name of its folder.
      stage: its name in the sweep.
      command: the module that `python -m` runs.
      words: its arguments, with `{output}` and `{KEY}` for folders (`Plan.arguments`).
      flags: more of them, that do not change the result.
      inputs: keys that have to be finished before.
      pool: the kind of worker that runs it.
      bindings: the operative configuration, `scope/name.parameter` to its value in gin; folders
        of other stages are `<stage>`.
      incidental: those of `bindings` that are no part of the key.
      facts: what the command says of itself before it runs, e.g. `tokens`.
    """

    key: str
    stage: str
    command: str
    words: Sequence[str] = ()
    flags: Sequence[str] = ()
    inputs: Sequence[str] = ()
    pool: str = "default"
    bindings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    incidental: Sequence[str] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One arm with one seed.

    Attributes:
      arm: its name.
      seed: of the sweep's seeds.
      stages: stage to key, inputs before their users.
      changes: what the arm changes: stage to lines, as in the sweep's gin file.
      same_as: the earlier arm that does the very same with this seed; None: there is none.
    """

    arm: str
    seed: int
    stages: Mapping[str, str]
    changes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    same_as: str | None = None

    @property
    def name(self) -> str:
        return f"{self.arm}/{self.seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A planned sweep.

    Attributes:
      folder: that `plan.json` lies in.
      name, title, expected, baseline, seeds, metrics: as in `definition.Sweep`; `baseline` is an
        arm in any case.
      runs: one for each arm and seed, in order: the baseline's first.
      stages: by key, inputs before their users.
      outputs: where the stages' folders are, relative to `folder`, absolute, or a url.
      records: where the leases and logs of stages are; as `outputs`.
      warnings: what the planner found odd.
    """

    folder: str
    name: str
    title: str
    baseline: str
    seeds: Sequence[int]
    metrics: Sequence[Metric]
    runs: Sequence[PlannedRun]
    stages: Mapping[str, PlannedStage]
    outputs: str = "../stages"
    records: str = "../work"
    expected: str = ""
    warnings: Sequence[str] = ()

    @functools.cached_property
    def arms(self) -> list[str]:
        """Names, in order."""
        return list(dict.fromkeys(run.arm for run in self.runs))

    def run(self, arm: str, seed: int) -> PlannedRun:
        """Raises: PlanError: there is no such run."""
        found = [run for run in self.runs if (run.arm, run.seed) == (arm, seed)]
        if not found:
            raise PlanError(
                f"{self.folder}: no run {arm}/{seed}; arms: {', '.join(self.arms)}; seeds: "
                + ", ".join(map(str, self.seeds))
            )
        return found[0]

    def stage_folder(self, key: str) -> str:
        """Where stage `key` writes."""
        return f"{self._place(self.outputs)}/{key}"

    def records_folder(self, key: str) -> str:
        """Where its leases, logs and `done.json` are."""
        return f"{self._place(self.records)}/{key}"

    def arguments(self, key: str) -> list[str]:
        """What follows `python -m COMMAND`, with the folders filled in."""
        stage = self.stages[key]

        def folder(match: re.Match[str]) -> str:
            name = key if match[1] == _OWN_PLACE else match[1]
            return self.stage_folder(name) if name in self.stages else match[0]

        return [_PLACE.sub(folder, word) for word in (*stage.words, *stage.flags)]

    def users(self, key: str) -> list[PlannedRun]:
        """The runs that stage `key` is a part of."""
        return [run for run in self.runs if key in run.stages.values()]

    def _place(self, place: str) -> str:
        if stores.is_remote(place) or os.path.isabs(place):
            return place.rstrip("/")
        if stores.is_remote(self.folder):
            return _joined_url(self.folder, place)
        return os.path.normpath(os.path.join(self.folder, place))


def read_plan(sweep_dir: str | os.PathLike) -> Plan:
    """The plan in a sweep's folder, on this machine or in a store.

    Raises:
      PlanError: there is none, it is damaged, or of another format.
    """
    folder = os.fspath(sweep_dir).rstrip("/") or "/"
    place = f"{folder}/{PLAN_NAME}"
    content = stores.read_file(place)
    if content is None:
        raise PlanError(
            f"{folder} has no {PLAN_NAME}: no sweep was planned there "
            "(python -m opencoder_jax.sweep plan --gin_file=... --gin.SWEEP_DIR=...)"
        )
    try:
        value = json.loads(content)
        version = value["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(place, error) from error
    if version != FORMAT_VERSION:
        raise PlanError(f"{place} has format {version}, this code reads {FORMAT_VERSION}")
    try:
        plan = _plan(folder, value)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(place, error) from error
    for run in plan.runs:
        for key in run.stages.values():
            if key not in plan.stages:
                raise _damaged(place, f"run {run.name} has stage {key}, which is not there")
    for stage in plan.stages.values():
        for key in stage.inputs:
            if key not in plan.stages:
                raise _damaged(place, f"stage {stage.key} reads {key}, which is not there")
    return plan


def write_plan(plan: Plan) -> str:
    """Writes `plan.json` into `plan.folder`, whole or not at all; returns its place."""
    place = f"{plan.folder}/{PLAN_NAME}"
    # Not `manifest.write_json`, which sorts: the order of runs and stages means something.
    content = json.dumps(as_json(plan), indent=1, ensure_ascii=False).encode() + b"\n"
    stores.write_file(place, content)
    return place


def as_json(plan: Plan) -> dict[str, Any]:
    """What `plan.json` holds."""
    return {
        "format_version": FORMAT_VERSION,
        "name": plan.name,
        "title": plan.title,
        "expected": plan.expected,
        "baseline": plan.baseline,
        "seeds": list(plan.seeds),
        "outputs": plan.outputs,
        "records": plan.records,
        "metrics": [
            {
                "stage": metric.stage,
                "measure": metric.measure,
                "of": metric.of,
                "title": metric.title,
                "better": metric.better,
            }
            for metric in plan.metrics
        ],
        "runs": [dataclasses.asdict(run) for run in plan.runs],
        "stages": {
            key: {name: item for name, item in dataclasses.asdict(stage).items() if name != "key"}
            for key, stage in plan.stages.items()
        },
        "warnings": list(plan.warnings),
    }


def _plan(folder: str, value: Mapping[str, Any]) -> Plan:
    return Plan(
        folder=folder,
        name=value["name"],
        title=value["title"],
        expected=value["expected"],
        baseline=value["baseline"],
        seeds=tuple(value["seeds"]),
        outputs=value["outputs"],
        records=value["records"],
        metrics=tuple(
            Metric(m["stage"], m["measure"], m.get("of"), m["title"]) for m in value["metrics"]
        ),
        runs=tuple(PlannedRun(**run) for run in value["runs"]),
        stages={key: PlannedStage(key, **stage) for key, stage in value["stages"].items()},
        warnings=tuple(value["warnings"]),
    )


def _joined_url(folder: str, place: str) -> str:
    scheme, _, path = folder.partition("://")
    bucket, _, rest = path.partition("/")
    return f"{scheme}://{bucket}/" + os.path.normpath(f"/{rest}/{place}").lstrip("/")


def _damaged(place: str, error: Any) -> PlanError:
    return PlanError(f"{place} is damaged ({error}); plan the sweep again")
