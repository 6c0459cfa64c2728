"""Where every stage of a sweep stands, from the plan and the records alone.

Workers choose by it what to do, `status` shows it. Next: `worker`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.plan_file import DONE_NAME, FAILED_NAME, Plan, PlannedStage
from opencoder_jax.sweep.running import leases
from opencoder_jax.sweep.running.records import Records, open_records

# `ready`: its inputs are finished. `waiting`: they are not yet. `blocked`: one of them failed.
Status = Literal["done", "running", "ready", "waiting", "failed", "blocked"]


@dataclasses.dataclass(frozen=True)
class StageState:
    """One look at a stage.

    Attributes:
      stage: as planned.
      status: see `Status`; `running` is also what a worker holds that may be gone, until its lease
        has lapsed.
      attempts: begun so far.
      latest: number of the latest attempt.
      holder: what the worker that runs it wrote of itself (`worker`, `host`, `started`, `at`).
      because: keys of the inputs that failed, or that their own failed inputs block.
    """

    stage: PlannedStage
    status: Status
    attempts: int = 0
    latest: int = 0
    holder: Mapping[str, Any] | None = None
    because: Sequence[str] = ()

    @property
    def settled(self) -> bool:
        """Whether nothing will happen to it by itself."""
        return self.status in ("done", "failed", "blocked")


class Board:
    """Looks at the stages of a plan again and again."""

    def __init__(
        self, plan: Plan, keys: Iterable[str] | None = None, records: Records | None = None
    ) -> None:
        """`keys`: with their inputs, what is looked at; None: all."""
        self.plan = plan
        self.records = records or open_records(plan.records_folder("").rstrip("/"))
        self.keys = with_inputs(plan, plan.stages if keys is None else keys)
        self._observer = leases.Observer(self.records)
        # Nothing makes them unfinished.
        self._done: dict[str, StageState] = {}

    def look(self) -> dict[str, StageState]:
        """State of every stage by its key, in the order of the plan.

        Raises:
          OSError: the records cannot be read.
        """
        names = self.records.names([key for key in self.keys if key not in self._done])
        states: dict[str, StageState] = {}
        for key in self.keys:
            states[key] = self._done.get(key) or self._state(key, names[key], states)
            if states[key].status == "done":
                self._done[key] = states[key]
        return states

    def _state(
        self, key: str, names: frozenset[str], before: Mapping[str, StageState]
    ) -> StageState:
        stage = self.plan.stages[key]
        made = leases.attempts(names)
        state = functools.partial(StageState, stage, attempts=len(made.numbers), latest=made.latest)
        if DONE_NAME in names:
            return state("done")
        if FAILED_NAME in names:
            return state("failed")
        # Also of a stage whose inputs are not finished: it may be another sweep's, or be held by
        # somebody who has seen more.
        if made.open:
            holder, alive = self._observer.look(key, made.latest)
            if alive:
                return state("running", holder=holder)
        inputs = [before[name] for name in stage.inputs]
        causes = [i.stage.key for i in inputs if i.status in ("failed", "blocked")]
        if causes:
            return state("blocked", because=causes)
        ready = all(i.status == "done" for i in inputs)
        return state("ready" if ready else "waiting")


def with_inputs(plan: Plan, keys: Iterable[str]) -> list[str]:
    """These stages and all that they need, in the order of the plan."""
    wanted: set[str] = set()
    pending = list(keys)
    while pending:
        key = pending.pop()
        if key not in wanted:
            wanted.add(key)
            pending.extend(plan.stages[key].inputs)
    return [key for key in plan.stages if key in wanted]


def chosen(plan: Plan, arms: str | None, seeds: str | None) -> list[str]:
    """Keys of the stages of some arms (`a,b`) and seeds (`0,1`), with their inputs.

    Raises:
      InputError: the plan has no such arm or seed.
    """
    wanted_arms = _listed(arms, plan.arms, "arm")
    wanted_seeds = _listed(seeds, [str(seed) for seed in plan.seeds], "seed")
    keys = [
        key
        for run in plan.runs
        if run.arm in wanted_arms and str(run.seed) in wanted_seeds
        for key in run.stages.values()
    ]
    return with_inputs(plan, keys)


def _listed(text: str | None, known: Sequence[str], what: str) -> Sequence[str]:
    if text is None:
        return known
    names = [name for name in str(text).split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            f"no {what} {', '.join(unknown) or repr(text)}; there are: {', '.join(known)}"
        )
    return names
