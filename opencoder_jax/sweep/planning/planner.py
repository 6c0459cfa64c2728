"""Makes the plan of a sweep: what each arm would really do, under which key, shared with whom.

Every stage of every arm and seed is resolved by its own command; the key of a stage is a hash
of its command and operative configuration, with the inputs' keys in place of their folders.
So two arms share a stage exactly where they do the same up to there, and settings that are
written differently and mean the same make no difference. Next: `plan` is the action.
"""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from opencoder_jax.command_flags import ConfigurationError
from opencoder_jax.configuration import CONFIG_FOLDER, read_gin
from opencoder_jax.data import stores
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.sweep.definition import GatheredSets, Stage, Sweep
from opencoder_jax.sweep.plan_file import DONE_NAME, Plan, PlannedRun, PlannedStage
from opencoder_jax.sweep.planning import budgets
from opencoder_jax.sweep.planning.expansion import (
    FILE,
    Arm,
    ArmStage,
    parse_line,
    some,
    sound_arms,
    spelled,
)
from opencoder_jax.sweep.planning.oddities import odd
from opencoder_jax.sweep.planning.resolution import Answer, Request, resolve

GATHER_COMMAND = "opencoder_jax.gather_sets"
_KEY_DIGITS = 12
_OWN = "<output>"
# A run of a plan: arm, seed, stage.
Place = tuple[str, int, str]


def make_plan(
    sweep: Sweep,
    sweep_dir: str,
    *,
    outputs: str = "../stages",
    records: str = "../work",
    search_paths: Sequence[str] = (),
) -> Plan:
    """Expands, checks and resolves a sweep; writes nothing.

    Args:
      sweep: as its gin file binds it.
      sweep_dir: its folder, for the plan's own places.
      outputs: where stages write, relative to `sweep_dir`, absolute, or a url.
      records: where what is known of them is kept.
      search_paths: of the gin files of stages and arms.

    Raises:
      InputError: with every mistake of every arm.
    """
    arms, told = sound_arms(sweep)
    mistakes = _Mistakes(told)
    of_budget = {budget.stage: budget.binding for budget in sweep.budget}
    for arm in arms:
        for name, stage in arm.stages.items():
            lines, steps = arm.changes.get(name, ()), of_budget.get(name)
            for text in _idle_files(stage, lines, search_paths, steps):
                mistakes.add(arm.name, name, text)
    answers, budgeted, notes = _resolve(sweep, arms, search_paths, mistakes)
    mistakes.raise_any()

    ranks = {stage.name: rank for rank, stage in enumerate(sweep.stages)}
    digests = {
        (arm.name, seed): _digests(arm, {n: answers[arm.name, seed, n] for n in arm.stages})
        for arm in arms
        for seed in sweep.seeds
    }
    keys = _keys(digests, ranks)
    stages: dict[str, PlannedStage] = {}
    runs: list[PlannedRun] = []
    warnings = list(notes)
    of_incidental: dict[str, list[str]] = collections.defaultdict(list)
    for arm in arms:
        for seed in sweep.seeds:
            of_run = {name: keys[digest] for name, digest in digests[arm.name, seed].items()}
            for name, key in of_run.items():
                answer = answers[arm.name, seed, name]
                if key not in stages:
                    extra = budgeted.get((arm.name, seed, name))
                    words = _words(arm.stages[name], seed, search_paths, extra, of_run)
                    stages[key] = _planned(key, arm.stages[name], words, answer, of_run)
                elif text := _other_incidental(stages[key], answer):
                    of_incidental[f"{key}: {text}"].append(arm.name)
            same = next((r.arm for r in runs if r.seed == seed and r.stages == of_run), None)
            runs.append(PlannedRun(arm.name, seed, of_run, arm.changes, same))
    warnings += [
        f"{some(list(dict.fromkeys(names)))} would run a shared stage otherwise, with the same "
        f"result; it is run as the first arm has it. {text}"
        for text, names in of_incidental.items()
    ]
    plan = Plan(
        folder=sweep_dir.rstrip("/"),
        name=sweep.name,
        title=sweep.title,
        expected=sweep.expected,
        baseline=arms[0].name,
        seeds=tuple(sweep.seeds),
        metrics=tuple(sweep.metrics),
        runs=tuple(runs),
        stages=stages,
        outputs=outputs,
        records=records,
    )
    return dataclasses.replace(plan, warnings=(*warnings, *odd(plan)))


def finished(plan: Plan) -> set[str]:
    """Keys of the stages that are done, by this sweep or another with the same records."""

    def is_done(key: str) -> bool:
        return stores.read_file(f"{plan.records_folder(key)}/{DONE_NAME}") is not None

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = pool.map(is_done, plan.stages)
        return {key for key, there in zip(plan.stages, done, strict=True) if there}


class _Mistakes:
    """What is wrong, once for all arms that have it."""

    def __init__(self, told: Sequence[str]) -> None:
        self.lines = list(told)
        self._arms: dict[tuple[str, str], list[str]] = collections.defaultdict(list)

    def add(self, arm: str, stage: str, text: str) -> None:
        of_it = self._arms[stage, text]
        if arm not in of_it:
            of_it.append(arm)

    def raise_any(self) -> None:
        lines = [f"{some(a)}, stage {s!r}: {text}" for (s, text), a in self._arms.items()]
        if self.lines or lines:
            raise InputError("\n".join([*self.lines, *lines]))


class _Resolved(NamedTuple):
    answers: dict[Place, Answer]
    budgeted: dict[Place, str]
    notes: list[str]


def _resolve(
    sweep: Sweep, arms: Sequence[Arm], search_paths: Sequence[str], mistakes: _Mistakes
) -> _Resolved:
    """What every stage of every run would be, and the steps that budgets give."""
    places = {
        (arm.name, seed, name): stage
        for arm in arms
        for seed in sweep.seeds
        for name, stage in arm.stages.items()
    }
    probes = {budget.stage: budgets.probe(budget) for budget in sweep.budget}

    def ask(extra: Mapping[Place, str]) -> dict[Place, Answer]:
        requests = {
            place: Request(
                stage.stage.command, tuple(_words(stage, place[1], search_paths, extra.get(place)))
            )
            for place, stage in places.items()
            if isinstance(stage.stage, Stage)
        }
        found = resolve([r for place, r in requests.items() if place not in answers])
        return {place: found[r] for place, r in requests.items() if r in found}

    answers: dict[Place, Answer] = {
        place: Answer(bindings={"gather_sets.sets": _gathered(stage)})
        for place, stage in places.items()
        if isinstance(stage.stage, GatheredSets)
    }
    probed = {place: probes[place[2]] for place in places if place[2] in probes}
    answers |= ask(probed)
    for (arm, _, name), answer in answers.items():
        if answer.error:
            mistakes.add(arm, name, answer.error)
    facts = {place: answers[place].facts for place in probed if not answers[place].error}
    run = {name for _, _, name in places}
    idle = [s.name for s in sweep.stages if s.name in probes and s.name not in run]
    mistakes.lines += [f"budget of {name!r}: no arm runs this stage" for name in idle]
    changes = {arm.name: arm.changes for arm in arms}
    budgeted: dict[Place, str] = {}
    notes: list[str] = []
    try:
        budgeted, notes = budgets.budget_bindings(sweep, facts, changes)
    except InputError as raised:
        mistakes.lines += str(raised).splitlines()
    for place in budgeted:
        del answers[place]
    if budgeted:
        answers |= ask(budgeted)
        for arm, seed, name in budgeted:
            if error := answers[arm, seed, name].error:
                mistakes.add(arm, name, error)
    return _Resolved(answers, budgeted, notes)


def _words(
    arm_stage: ArmStage,
    seed: int,
    search_paths: Sequence[str],
    last: str | None = None,
    keys: Mapping[str, str] | None = None,
) -> list[str]:
    """The command line of a stage.

    Args:
      arm_stage: which one.
      seed: of the run.
      search_paths: of gin files.
      last: a further binding.
      keys: stage to key: folders are `{key}`; None: they are `<stage>`, to be resolved.
    """
    stage = arm_stage.stage
    if isinstance(stage, GatheredSets):
        sets = sorted((name, _folder(place, keys)) for name, place in arm_stage.inputs.items())
        return ["--output={output}", *(f"{name}={folder}" for name, folder in sets)]
    paths = [f"--gin_search_paths={','.join(search_paths)}"] if search_paths else []
    files = [f"--gin_file={file}" for file in arm_stage.gin_files]
    own = "{output}" if keys else _OWN
    bindings = dict(arm_stage.bindings)
    bindings |= {n: f"'{_folder(place, keys)}'" for n, place in arm_stage.inputs.items()}
    bindings[stage.output] = f"'{own}'"
    if stage.seed:
        bindings[stage.seed] = str(seed)
    if last:
        name, _, value = last.partition("=")
        bindings[name] = value
    flags = [] if keys else list(stage.flags)
    return [*paths, *files, *(f"--gin.{n}={value}" for n, value in bindings.items()), *flags]


def _folder(place: str, keys: Mapping[str, str] | None) -> str:
    name, slash, below = place.partition("/")
    return (f"{{{keys[name]}}}" if keys else f"<{name}>") + slash + below


def _gathered(arm_stage: ArmStage) -> str:
    folders = sorted((name, _folder(place, None)) for name, place in arm_stage.inputs.items())
    return repr(dict(folders))


def _digests(arm: Arm, answers: Mapping[str, Answer]) -> dict[str, str]:
    """Stage to hash of what it is, with all that it is made from."""
    digests: dict[str, str] = {}
    for name, arm_stage in arm.stages.items():
        answer = answers[name]
        incidental = set(answer.incidental)
        operative = {}
        for setting, value in answer.bindings.items():
            if setting not in incidental:
                for needed in arm_stage.needs:
                    value = value.replace(f"<{needed}>", f"<{digests[needed]}>")
                operative[setting] = value
        digests[name] = fingerprint([_command(arm_stage), operative])[:_KEY_DIGITS]
    return digests


def _command(arm_stage: ArmStage) -> str:
    stage = arm_stage.stage
    return GATHER_COMMAND if isinstance(stage, GatheredSets) else stage.command


def _keys(
    digests: Mapping[tuple[str, int], Mapping[str, str]], ranks: Mapping[str, int]
) -> dict[str, str]:
    """Digest to key. What two stages have in common is called as the sweep's earlier one."""
    names: dict[str, str] = {}
    for of_run in digests.values():
        for name, digest in of_run.items():
            names[digest] = min(name, names.get(digest, name), key=ranks.__getitem__)
    return {digest: f"{name}-{digest}" for digest, name in names.items()}


def _planned(
    key: str, arm_stage: ArmStage, words: list[str], answer: Answer, keys: Mapping[str, str]
) -> PlannedStage:
    stage = arm_stage.stage
    bindings = dict(answer.bindings)
    for needed in arm_stage.needs:
        called = keys[needed][: -_KEY_DIGITS - 1]
        bindings = {n: v.replace(f"<{needed}>", f"<{called}>") for n, v in bindings.items()}
    return PlannedStage(
        key=key,
        stage=key[: -_KEY_DIGITS - 1],
        command=_command(arm_stage),
        words=words,
        flags=tuple(stage.flags) if isinstance(stage, Stage) else (),
        inputs=tuple(dict.fromkeys(keys[name] for name in arm_stage.needs)),
        pool=stage.pool if isinstance(stage, Stage) else "default",
        bindings=bindings,
        incidental=tuple(answer.incidental),
        facts=answer.facts,
    )


def _other_incidental(stage: PlannedStage, answer: Answer) -> str:
    """How an arm would run a stage that is planned already; empty: the same way."""
    before = {name: stage.bindings[name] for name in stage.incidental}
    now = {name: answer.bindings[name] for name in answer.incidental}
    return ", ".join(
        f"{name}: {before.get(name)}, not {now.get(name)}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    )


def _idle_files(
    arm_stage: ArmStage, lines: Sequence[str], search_paths: Sequence[str], budgeted: str | None
) -> list[str]:
    """What gin files of the arm set in vain: bindings, and `budgeted`, are read after files."""
    if isinstance(arm_stage.stage, GatheredSets):
        return []
    own = [parse_line(line) for line in lines]
    stage = arm_stage.stage
    bound = {*arm_stage.bindings, *arm_stage.inputs, stage.output, *filter(None, [stage.seed])}
    bound -= {spelled(line.name, bound) or "" for line in own if line.kind != FILE}
    found = []
    for file in (line.name for line in own if line.kind == FILE):
        try:
            written = read_gin(find_gin(file, search_paths), includes=False)
        except ConfigurationError:
            continue  # Resolving tells.
        names = [*written.macros]
        names += [
            f"{scope}/{selector}.{parameter}" if scope else f"{selector}.{parameter}"
            for (scope, selector), parameters in written.bindings.items()
            for parameter in parameters
        ]
        for name in names:
            if budgeted and spelled(name, [budgeted]):
                found.append(f"{file} sets {name}, as the budget does: leave out one of them")
            elif spelled(name, bound):
                found.append(
                    f"{file} sets {name}, which a binding of the stage sets after it: no effect; "
                    "make it a binding of the arm"
                )
    return found


def find_gin(file: str, search_paths: Sequence[str]) -> str:
    """The path of a gin file, as a command finds it; the name itself where there is none."""
    folders: list[str] = ["", *search_paths, str(CONFIG_FOLDER)]
    places = (Path(folder, file) for folder in folders)
    return str(next((path for path in places if path.is_file()), file))
