"""From a sweep's gin file to its arms: which stages each runs, and with what.

Arms, axes and their combinations become a flat list of named changes. The changes applied to
the stages give, for each arm, the stages that its metrics need, inputs before their users.
Mistakes are collected, so one look tells all of them. Next: `planner`.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import (
    Arms,
    ArmSource,
    Axis,
    Chain,
    GatheredSets,
    Product,
    Search,
    Stage,
    Sweep,
    Value,
    check_name,
    last_part,
)

Changes = Mapping[str, Sequence[str]]
_INPUT = re.compile(r"([\w./]+)\s*<-\s*(\S*)")
_BINDING = re.compile(r"([\w./]+)\s*=\s*(\S.*)", re.DOTALL)
# What the text of an axis' value may have in an arm's name.
_NOT_IN_NAMES = re.compile(r"[^\w.+=-]+")


class Line(NamedTuple):
    """One line of a change.

    Attributes:
      kind: what it is.
      name: the gin file; what is bound.
      value: in gin; of an input, `stage` or `stage/folder`, or empty where the stage loses it.
    """

    kind: str
    name: str
    value: str = ""


FILE, BINDING, INPUT = "file", "binding", "input"


@dataclasses.dataclass(frozen=True)
class ArmStage:
    """A stage as one arm has it.

    Attributes:
      stage: as the sweep has it.
      gin_files: of all, in the order in which they are read.
      bindings: what is bound to which value, in gin.
      inputs: what is bound to the folder of which stage, `stage` or `stage/folder`.
    """

    stage: Stage | GatheredSets
    gin_files: tuple[str, ...]
    bindings: Mapping[str, str]
    inputs: Mapping[str, str]

    @property
    def needs(self) -> list[str]:
        """Names of the stages whose folders it reads."""
        return list(dict.fromkeys(place.partition("/")[0] for place in self.inputs.values()))


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      name: of it.
      changes: stage to lines.
      stages: what it runs, by name, inputs before their users.
    """

    name: str
    changes: Changes
    stages: Mapping[str, ArmStage]


def sound_arms(sweep: Sweep) -> tuple[list[Arm], list[str]]:
    """The arms without mistakes, the baseline first; and lines on the others.

    Mistakes of an arm are changes of stages that it does not run, inputs in a circle and the like.

    Raises:
      InputError: names are twice or missing, or sources do not fit together.
    """
    changes = _changes(sweep.arms)
    names = [name for name, _ in changes]
    mistakes = [f"arm {n!r} is there {names.count(n)} times" for n in dict.fromkeys(names)]
    mistakes = [line for line in mistakes if not line.endswith(" 1 times")]
    for name in names:
        try:
            check_name("arm", name)
        except InputError as error:
            mistakes.append(str(error))
    baseline = sweep.baseline or names[0]
    if baseline not in names:
        mistakes.append(f"baseline {baseline!r} is no arm; arms: {', '.join(names)}")
    stages = {stage.name: stage for stage in sweep.stages}
    goals = list(dict.fromkeys([*(m.stage for m in sweep.metrics), *sweep.keep]))
    for goal in goals:
        if goal not in stages:
            of = "keep" if goal in sweep.keep else "a metric"
            mistakes.append(f"{of} names stage {goal!r}; stages: {', '.join(stages)}")
        elif isinstance(stages[goal], GatheredSets):
            mistakes.append(f"stage {goal!r} has no metrics: it gathers sets")
    if mistakes:
        raise InputError("\n".join(mistakes))
    arms = []
    of_arms: dict[str, list[str]] = collections.defaultdict(list)
    for name, change in sorted(changes, key=lambda item: item[0] != baseline):
        arm, wrong = _arm(name, change, stages, goals)
        for line in wrong:
            of_arms[line].append(name)
        if not wrong:
            arms.append(arm)
    return arms, [f"{some(names)}: {text}" for text, names in of_arms.items()]


def some(arms: Sequence[str], number: int = 4) -> str:
    """The first names of a list, for messages."""
    more = f" and {len(arms) - number} more" if len(arms) > number else ""
    return f"arm{'s' * (len(arms) > 1)} {', '.join(arms[:number])}{more}"


def parse_line(line: str) -> Line:
    """What a line of a change is.

    Raises:
      InputError: it is neither a gin file, nor a binding, nor an input.
    """
    text = line.strip()
    if match := _INPUT.fullmatch(text):
        return Line(INPUT, match[1], match[2].rstrip("/"))
    if match := _BINDING.fullmatch(text):
        return Line(BINDING, match[1], match[2].strip())
    if text.endswith(".gin") and not re.search(r"[\s=]", text):
        return Line(FILE, text)
    raise InputError(
        f"line {line!r}: expected a gin file (x.gin), a binding (NAME=VALUE), or an input "
        "(NAME <- stage)"
    )


def spelled(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that binds what `name` does: gin takes `peak`'s class with its module and
    without, `schedules.WarmupStable.peak` and `WarmupStable.peak`."""
    return next((other for other in names if _same_setting(name, other)), None)


def _same_setting(one: str, other: str) -> bool:
    """A part of a name names something only where it is the only one that ends so."""
    (scope, _, one), (other_scope, _, other) = one.rpartition("/"), other.rpartition("/")
    short, long = sorted((one, other), key=len)
    # Macros have no dots.
    is_end = "." in short and long.endswith(f".{short}")
    return scope == other_scope and (short == long or is_end)


def gin_text(value: Value) -> str:
    """A value as a binding has it: references and macros as they are, the rest as literals."""
    if isinstance(value, str) and value.startswith(("@", "%")):
        return value
    return repr(value)


def _changes(source: ArmSource) -> list[tuple[str, dict[str, list[str]]]]:
    """Name and change of each arm of a source, in order."""
    if isinstance(source, Arms):
        found = []
        for name, change in source.arms.items():
            found.append((name, {stage: list(lines) for stage, lines in change.items()}))
    elif isinstance(source, Axis):
        found = list(_points(source))
    elif isinstance(source, Chain):
        found = [arm for part in source.of for arm in _changes(part)]
    elif isinstance(source, Product):
        found = [("", {})] if source.of else []
        for part in source.of:
            found = [_together(one, other) for one in found for other in _changes(part)]
    elif isinstance(source, Search):
        raise InputError(
            "the arms of a Search follow from results: it is planned and run by "
            "`python -m opencoder_jax.sweep search`, and is no part of other sources but a Chain"
        )
    else:
        parts = [_changes(part) for part in source.of]
        counts = [len(part) for part in parts]
        if len(set(counts)) > 1:
            raise InputError(f"Zip of {counts} arms, expected equally many of each")
        found = []
        for row in zip(*parts, strict=True):
            arm: tuple[str, dict[str, list[str]]] = ("", {})
            for other in row:
                arm = _together(arm, other)
            found.append(arm)
    if not found:
        raise InputError(f"{type(source).__name__} has no arms, expected one at least")
    return found


def _points(axis: Axis) -> Iterator[tuple[str, dict[str, list[str]]]]:
    title = axis.name or last_part(axis.binding)
    named = axis.values if isinstance(axis.values, Mapping) else {_short(v): v for v in axis.values}
    if len(named) != len(axis.values):
        raise InputError(f"Axis of {axis.binding!r}: values {list(axis.values)} are not different")
    for name, value in named.items():
        yield f"{title}={name}", {axis.stage: [f"{axis.binding}={gin_text(value)}"]}


def _short(value: Value) -> str:
    return _NOT_IN_NAMES.sub("_", str(value)).strip("_") or "empty"


def _together(
    one: tuple[str, dict[str, list[str]]], other: tuple[str, dict[str, list[str]]]
) -> tuple[str, dict[str, list[str]]]:
    """Both changes, under both names."""
    name = "+".join(filter(None, (one[0], other[0])))
    both = {stage: list(lines) for stage, lines in one[1].items()}
    for stage, lines in other[1].items():
        before = [parse_line(line).name for line in both.get(stage, ())]
        twice = sorted({n for line in lines if spelled(n := parse_line(line).name, before)})
        if twice:
            raise InputError(
                f"arm {name!r}: both parts change {', '.join(twice)} of stage {stage!r}"
            )
        both.setdefault(stage, []).extend(lines)
    return name, both


def _arm(
    name: str,
    changes: Changes,
    stages: Mapping[str, Stage | GatheredSets],
    goals: Sequence[str],
) -> tuple[Arm, list[str]]:
    """The arm, and what is wrong with it."""
    mistakes = [
        f"stage {stage!r} is none of the sweep's; stages: {', '.join(stages)}"
        for stage in changes
        if stage not in stages
    ]
    changed: dict[str, ArmStage] = {}
    for stage in stages.values():
        changed[stage.name], wrong = _changed(stage, changes.get(stage.name, ()))
        mistakes += [f"stage {stage.name!r}: {text}" for text in wrong]
    ordered, wrong = _in_order(changed, goals)
    mistakes += wrong
    if not wrong:
        mistakes += [
            f"changes stage {stage!r}, which it does not run: none of its metrics needs it"
            for stage in changes
            if stage in stages and stage not in ordered
        ]
    return Arm(name, changes, {stage: changed[stage] for stage in ordered}), mistakes


def _changed(stage: Stage | GatheredSets, lines: Sequence[str]) -> tuple[ArmStage, list[str]]:
    """The stage after `lines`, and what is wrong with them."""
    if isinstance(stage, GatheredSets):
        own, files, inputs = [], [], dict(stage.sets)
        set_by_sweep: dict[str, str] = {}
    else:
        own, files, inputs = list(stage.bindings), list(stage.gin_files), dict(stage.inputs)
        set_by_sweep = {stage.output: "output"} | ({stage.seed: "seed"} if stage.seed else {})
    bindings: dict[str, str] = {}
    changed: list[str] = []
    mistakes = []
    for position, text in enumerate([*own, *lines]):
        try:
            kind, name, value = parse_line(text)
        except InputError as error:
            mistakes.append(str(error))
            continue
        if position >= len(own) and spelled(name, changed):
            mistakes.append(f"{text!r}: another line changes {name}, too")
        elif isinstance(stage, GatheredSets) and kind != INPUT:
            mistakes.append(f"{text!r}: it gathers sets, expected lines SET <- stage")
        elif same := spelled(name, set_by_sweep):
            of = set_by_sweep[same]
            mistakes.append(f"{text!r}: {name} is the stage's {of}, which the sweep sets")
        elif kind == FILE:
            files.append(name)
        elif kind == BINDING and position < len(own) and spelled(name, inputs):
            mistakes.append(f"{text!r}: {name} is an input of the stage, too")
        elif kind == BINDING:
            _forget(name, inputs)
            # The last one counts, for the order too.
            _forget(name, bindings)
            bindings[name] = value
        elif value:
            _forget(name, bindings)
            _forget(name, inputs)
            inputs[name] = value
        elif not _forget(name, inputs):
            mistakes.append(f"{text!r}: the stage has no input {name}")
        if position >= len(own):
            changed.append(name)
    return ArmStage(stage, tuple(files), bindings, inputs), mistakes


def _forget(name: str, bound: dict[str, str]) -> bool:
    """Takes a setting out, however it is spelled; False: it is not there."""
    same = spelled(name, bound)
    return same is not None and bound.pop(same) is not None


def _in_order(stages: Mapping[str, ArmStage], goals: Sequence[str]) -> tuple[list[str], list[str]]:
    """What `goals` need, inputs first in the sweep's order of stages; and what is wrong."""
    order: list[str] = []
    mistakes: list[str] = []

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circle = " <- ".join([*way[way.index(name) :], name])
            mistakes.append(f"inputs go in a circle: {circle}")
        elif name not in stages:
            mistakes.append(
                f"stage {way[-1]!r} has input {name!r}, which is no stage; stages: "
                + ", ".join(stages)
            )
        elif name not in order:
            for needed in stages[name].needs:
                visit(needed, (*way, name))
            order.append(name)

    for goal in goals:
        visit(goal, ())
    needed = set(order)
    # A valid order that is the same for arms with the same stages.
    ranked = {name: rank for rank, name in enumerate(stages)}
    done: list[str] = []
    while not mistakes and len(done) < len(needed):
        ready = [n for n in needed - set(done) if set(stages[n].needs) <= set(done)]
        done.append(min(ready, key=ranked.__getitem__))
    return done, list(dict.fromkeys(mistakes))
