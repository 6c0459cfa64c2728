"""The action `diff`: the operative settings in which two arms differ, and nothing else.

python -m opencoder_jax.sweep diff runs/sweeps/dedup_level file file+chunk
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, PlannedStage, read_plan

# The folder of an input in a binding.
_PLACE = re.compile(r"<([\w.+-]+)>")
# Longer values stand below each other.
_WIDTH = 100


class Difference(NamedTuple):
    """One setting.

    Attributes:
      stage: whose it is.
      setting: its name; empty where only one arm has the stage.
      one, other: its value in gin; None: that arm has no such setting.
      incidental: whether it changes nothing about the result.
    """

    stage: str
    setting: str
    one: str | None
    other: str | None
    incidental: bool = False


def diff(words: Sequence[str] = (), seed: int | None = None) -> list[Difference]:
    """Prints where two arms differ.

    Args:
      words: the sweep's folder and two arms, `ARM` or `ARM/SEED`.
      seed: of both; None: the sweep's first.

    Raises:
      InputError: there is no plan, no such arm, or no such seed.
    """
    if len(words) != 3:
        raise InputError("expected SWEEP_DIR ARM ARM")
    plan = read_plan(words[0])
    runs = [find_run(plan, word, seed) for word in words[1:]]
    found = list(differences(plan, *runs))
    print("\n".join(_lines(runs, found)))
    return found


def _lines(runs: Sequence[PlannedRun], found: Sequence[Difference]) -> Iterator[str]:
    one, other = (run.name for run in runs)
    yield f"{one} and {other} are the same" if not found else f"- {one}\n+ {other}"
    stage = ""
    for row in found:
        if row.stage != stage:
            yield f"\n{row.stage}"
            stage = row.stage
        note = " (changes no result)" if row.incidental else ""
        if not row.setting:
            yield f"  only {one if row.one else other} has this stage"
            continue
        before, after = ("(unset)" if v is None else v for v in (row.one, row.other))
        if len(line := f"  {row.setting}{note}: {before} -> {after}") <= _WIDTH:
            yield line
        else:
            yield f"  {row.setting}{note}\n  - {before}\n  + {after}"


def find_run(plan: Plan, word: str, seed: int | None) -> PlannedRun:
    """The run that `ARM` or `ARM/SEED` means.

    Raises:
      InputError: there is none.
    """
    arm, slash, number = word.rpartition("/")
    if slash and arm in plan.arms:
        try:
            seed = int(number)
        except ValueError as error:
            raise InputError(f"{word}: expected ARM/SEED with a number as seed") from error
        return plan.run(arm, seed)
    return plan.run(word, plan.seeds[0] if seed is None else seed)


def differences(plan: Plan, one: PlannedRun, other: PlannedRun) -> Iterator[Difference]:
    """Of each stage that either has, in the order of need; nothing where both share it."""
    for name in dict.fromkeys([*one.stages, *other.stages]):
        keys = one.stages.get(name), other.stages.get(name)
        if keys[0] == keys[1]:
            continue
        if keys[0] is None or keys[1] is None:
            has = ("has it" if keys[0] else None), ("has it" if keys[1] else None)
            yield Difference(name, "", *has)
            continue
        stages = [plan.stages[key] for key in keys if key is not None]
        if stages[0].command != stages[1].command:
            yield Difference(name, "command", stages[0].command, stages[1].command)
        aside = {*stages[0].incidental, *stages[1].incidental}
        for setting in dict.fromkeys([*stages[0].bindings, *stages[1].bindings]):
            values = [stage.bindings.get(setting) for stage in stages]
            if not _equal(*(_parts(*of) for of in zip(values, stages, (one, other), strict=True))):
                yield Difference(name, setting, values[0], values[1], setting in aside)


def _parts(value: str | None, stage: PlannedStage, run: PlannedRun) -> list[str | set[str]] | None:
    """Text and, for the folder of an input, all that the run calls that stage."""
    if value is None:
        return None
    parts: list[str | set[str]] = []
    for number, text in enumerate(_PLACE.split(value)):
        keys = [key for key in stage.inputs if key.rpartition("-")[0] == text]
        names = {name for name, key in run.stages.items() if key in keys}
        parts.append(names or text if number % 2 else text)
    return parts


def _equal(one: list[str | set[str]] | None, other: list[str | set[str]] | None) -> bool:
    """Whether they say the same; a stage that two names mean is either."""
    if one is None or other is None or len(one) != len(other):
        return one == other
    return all(
        bool(a & b) if isinstance(a, set) and isinstance(b, set) else a == b
        for a, b in zip(one, other, strict=True)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    return configuration.main(diff, argv, flags={"seed": "diff.seed"}, words="words")
