"""How many steps a budget of tokens or operations gives each arm.

Steps depend on what the arm's model and batches are, and schedules depend on steps. So a
budgeted stage is resolved twice: with `probe`, more steps than any schedule has parts of, for
its facts (`training.facts`), and with the binding that `budget_bindings` makes of them.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import Budget, Sweep
from opencoder_jax.sweep.planning.expansion import spelled

Place = tuple[str, int, str]

_PROBE_STEPS = 10**9
# A budget is met to this share, or the rounding to whole steps is a warning.
_ROUNDING = 0.01


def probe(budget: Budget) -> str:
    """The binding to resolve a budgeted stage with for its facts; any schedule fits into it."""
    return f"{budget.binding}={_PROBE_STEPS}"


def budget_bindings(
    sweep: Sweep,
    facts: Mapping[Place, Mapping[str, Any]],
    changes: Mapping[str, Mapping[str, Sequence[str]]],
) -> tuple[dict[Place, str], list[str]]:
    """The steps of every budgeted stage.

    Args:
      sweep: whose `budget` it is.
      facts: by (arm, seed, stage), of stages resolved with `probe`.
      changes: arm to stage to lines, as the sweep's gin file has them.

    Returns:
      A binding for each of `facts`, and lines about the rounding to whole steps.

    Raises:
      InputError: a budget of a stage that is none or does not train, or an arm that sets the
        steps itself (in a gin file: `planner` tells); all of them in one message.
    """
    bindings: dict[Place, str] = {}
    arms_of_line: dict[str, list[str]] = collections.defaultdict(list)
    wrong = _misplaced(sweep, changes)
    for budget in sweep.budget:
        places = [place for place in facts if place[2] == budget.stage]
        for arm, seed, stage in places:
            probed = facts[arm, seed, stage]
            if not {"steps", "tokens", "flops"} <= set(probed):
                wrong.append(f"budget of {stage!r}: it is no stage of opencoder_jax.train")
                break
            if probed["steps"] != _PROBE_STEPS:
                wrong.append(
                    f"arm {arm!r} has {probed['steps']:,} steps of {stage!r} whatever "
                    f"{budget.binding} is, which the budget sets: leave out what sets them"
                )
                continue
            unit = "tokens" if budget.tokens is not None else "flops"
            wanted = budget.tokens if budget.tokens is not None else budget.flops
            assert wanted is not None
            of_step = probed[unit] / probed["steps"]
            steps = max(1, round(wanted / of_step))
            bindings[arm, seed, stage] = f"{budget.binding}={steps}"
            line = _rounded(stage, unit, wanted, of_step, steps)
            if arm not in arms_of_line[line]:
                arms_of_line[line].append(arm)
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return bindings, [f"{line} ({_some(arms)})" for line, arms in arms_of_line.items()]


def _misplaced(sweep: Sweep, changes: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    wrong = []
    names = [stage.name for stage in sweep.stages]
    for budget in sweep.budget:
        if budget.stage not in names:
            wrong.append(f"budget of {budget.stage!r}: stages are {', '.join(names)}")
        if sum(other.stage == budget.stage for other in sweep.budget) > 1:
            wrong.append(f"budget of {budget.stage!r}: the stage has several")
        wrong += [
            f"arm {arm!r} sets {budget.binding} of {budget.stage!r}, which the budget sets too: "
            "leave out one of them"
            for arm, stages in changes.items()
            if any(spelled(budget.binding, [_bound(x)]) for x in stages.get(budget.stage, ()))
        ]
    return wrong


def _rounded(stage: str, unit: str, wanted: float, of_step: float, steps: int) -> str:
    got = steps * of_step
    off = got / wanted - 1
    line = (
        f"{stage}: {wanted:.4g} {unit} are {wanted / of_step:,.2f} steps of {of_step:,.4g}; "
        f"{steps:,} steps, {off:+.3%}"
    )
    return f"WARNING: {line}" if abs(off) > _ROUNDING else line


def _bound(line: str) -> str:
    return line.partition("=")[0].strip()


def _some(arms: Sequence[str], number: int = 4) -> str:
    more = f" and {len(arms) - number} more arms" if len(arms) > number else ""
    return ", ".join(arms[:number]) + more
