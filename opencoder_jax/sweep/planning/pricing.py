"""What a planned sweep costs before a chip is taken: memory, chip-hours, money.

From the facts of each training stage (`training.facts`): a chip's memory at least, and hours at
an assumed MFU. With a topology every distinct program is compiled ahead of time besides
(`opencoder_jax.precompile`, in a process of its own, kept by program), so "fits" and the bound
are the TPU compiler's. Stages that several runs share are paid once. Next: `price_table`.
"""

import collections
import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.formats import manifest
from opencoder_jax.precompilation.chips import GIB, Chip, chips
from opencoder_jax.sweep.plan_file import TRAIN, Plan

# The status of `precompile` of such a step, and of `plan` of such a sweep.
DOES_NOT_FIT = 3
# Rooms whose code decides what is compiled, and how it is counted.
_COMPILED_FROM = ("data", "model", "precompilation", "sharding", "training")

Fits = Literal["yes", "no", "may", "unknown"]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What to price a sweep for.

    Attributes:
      topology: compile each distinct program for it: `v5e-256`, `v5p:4x4x4`.
      num_slices: slices of that shape.
      chip: without a topology, the kind of chip: `v5e`, `v5p`.
      price: of a chip for an hour, in any currency; None for no cost.
      mfu: what hours are counted at, 0 to 1.
      tokens_per_second: of a whole run, measured, e.g. on CPUs; in place of `mfu`.
    """

    topology: str | None = None
    num_slices: int = 1
    chip: str | None = None
    price: float | None = None
    mfu: float = 0.4
    tokens_per_second: float | None = None

    def __post_init__(self) -> None:
        require_at_least(1, num_slices=self.num_slices)
        require_positive(mfu=self.mfu)
        if self.mfu > 1:
            raise InputError(f"mfu is {self.mfu}, expected a share of at most 1")
        for name in ("price", "tokens_per_second"):
            value = getattr(self, name)
            if value is not None:
                require_positive(**{name: value})
        if self.topology and self.chip:
            raise InputError("topology and chip are both given: a topology names its chip")
        if self.num_slices > 1 and not self.topology:
            raise InputError("num_slices is of a topology: give that of one slice, e.g. v5e-256")
        if self.chip and self.chip not in chips():
            raise InputError(f"chip is {self.chip!r}, expected one of {', '.join(chips())}")
        if self.topology:
            self.where()

    def where(self) -> Any:
        """The `precompilation.topology.Topology`; None without one."""
        # JAX, seconds to import, is for those who compile.
        from opencoder_jax.precompilation import topology

        return topology.parse(self.topology, self.num_slices) if self.topology else None

    @property
    def kind(self) -> Chip | None:
        """What the sweep is priced on; None: on no TPU."""
        return self.where().chip if self.topology else chips()[self.chip] if self.chip else None


@dataclasses.dataclass(frozen=True)
class StagePrice:
    """What one training stage takes.

    Attributes:
      chips: that it runs on; None where its mesh takes as many as there are.
      memory: bytes of a device: the compiler's, or without it the least that there can be.
      compiled: whether `memory` and `least_chip_hours` are of the compiled program.
      fits: `may`: the least that it needs is there.
      misfit: why it does not, with the shortage; empty otherwise.
      hours: of the run, at the MFU or the speed asked for; None where neither can be applied.
      chip_hours: the same times chips.
      least_chip_hours: at the chip's published limits.
    """

    chips: int | None
    memory: int
    compiled: bool
    fits: Fits
    misfit: str = ""
    hours: float | None = None
    chip_hours: float | None = None
    least_chip_hours: float | None = None


@dataclasses.dataclass(frozen=True)
class Priced:
    """Prices of a plan's training stages by key."""

    plan: Plan
    wanted: Wanted
    stages: Mapping[str, StagePrice]

    @property
    def misfits(self) -> list[str]:
        """A line for each stage that does not fit, with the runs that have it."""
        by_line: dict[str, list[str]] = collections.defaultdict(list)
        for key, priced in self.stages.items():
            if priced.fits == "no":
                line = f"{self.plan.stages[key].stage}: {priced.misfit}"
                by_line[line] += [run.arm for run in self.plan.users(key)]
        return [
            f"arm {', '.join(dict.fromkeys(arms))}, stage {line}" for line, arms in by_line.items()
        ]


def price(
    plan: Plan,
    wanted: Wanted,
    programs: str | os.PathLike | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Priced:
    """Prices every training stage of a plan.

    Args:
      plan: whose stages have facts.
      wanted: what for.
      programs: folder in which results of compiling are kept, by program; None keeps none.
      say: gets a line before each program that is compiled now.

    Raises:
      InputError: libtpu is missing, or a stage has no facts.
    """
    training = {key: stage for key, stage in plan.stages.items() if stage.command == TRAIN}
    for key, stage in training.items():
        if "program" not in stage.facts:
            raise InputError(f"stage {key} of the plan has no facts to price: plan the sweep again")
    compiled: dict[str, Mapping[str, Any]] = {}
    if wanted.topology:
        distinct: dict[str, str] = {}
        for key, stage in training.items():
            distinct.setdefault(stage.facts["program"], key)
        for number, (program, key) in enumerate(distinct.items(), start=1):
            what = f"{training[key].stage} of {plan.users(key)[0].arm}"
            line = f"compiling program {number} of {len(distinct)} for {wanted.topology}: {what}"
            compiled[program] = _compiled(plan, key, wanted, programs, functools.partial(say, line))
    return Priced(
        plan,
        wanted,
        {
            key: _priced(stage.facts, wanted, compiled.get(stage.facts["program"]))
            for key, stage in training.items()
        },
    )


def _priced(
    facts: Mapping[str, Any], wanted: Wanted, compiled: Mapping[str, Any] | None
) -> StagePrice:
    chip = wanted.kind
    if chip is None:
        speed = wanted.tokens_per_second
        hours = facts["tokens"] / speed / 3600 if speed else None
        return StagePrice(facts["devices"], facts["least_bytes"], False, "unknown", hours=hours)
    memory = facts["least_bytes"]
    per_chip = chip.devices_per_chip
    num_chips = facts["devices"] and math.ceil(facts["devices"] / per_chip)
    # Seconds of a chip: the operations of the model at its peak, all of it.
    least = facts["flops"] / chip.bf16_flops
    fits: Fits
    misfit = ""
    if compiled is None:
        capacity = int((chip.usable_hbm_bytes or chip.hbm_bytes) / per_chip)
        fits = "may" if memory <= capacity else "unknown" if num_chips is None else "no"
        if fits == "no":
            misfit = (
                f"does not fit {chip.kind}: parameters, optimizer state and gradients alone are "
                f"{_gib(memory)} of a device's {_gib(capacity)}, {_gib(memory - capacity)} too much"
            )
    else:
        num_chips = wanted.where().num_chips
        misfit = compiled.get("misfit", "")
        memory = compiled.get("needed") or memory
        fits = "no" if misfit else "yes"
        if not misfit:
            memory = max(report["memory"]["peak"] for report in compiled["reports"])
            least = num_chips * sum(
                steps * report["bound"]["step_seconds"]
                for steps, size, length in facts["batches"]
                for report in compiled["reports"]
                if (report["batch_size"], report["sequence_length"]) == (size, length)
            )
    if wanted.tokens_per_second:
        hours = facts["tokens"] / wanted.tokens_per_second / 3600
        chip_hours = num_chips and hours * num_chips
    else:
        # No faster than the limits allow, whatever MFU was hoped for.
        chip_hours = max(facts["flops"] / (wanted.mfu * chip.bf16_flops), least) / 3600
        hours = num_chips and chip_hours / num_chips
    done = fits != "no"
    return StagePrice(
        chips=num_chips,
        memory=memory,
        compiled=compiled is not None and done,
        fits=fits,
        misfit=misfit,
        hours=hours if done else None,
        chip_hours=chip_hours if done else None,
        least_chip_hours=least / 3600 if done else None,
    )


def _compiled(
    plan: Plan,
    key: str,
    wanted: Wanted,
    programs: str | os.PathLike | None,
    beginning: Callable[[], None],
) -> Mapping[str, Any]:
    """`reports`, those of `precompile`, or `misfit`: why the program does not fit."""
    program = plan.stages[key].facts["program"]
    name = f"{program}-{manifest.fingerprint([str(wanted.where()), _compiler()])}.json"
    kept = Path(programs, name) if programs else None
    if kept and (read := _read(kept)):
        return read
    beginning()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        done = subprocess.run(
            [
                sys.executable,
                *("-m", "opencoder_jax.precompile", f"--topology={wanted.topology}"),
                *(f"--num_slices={wanted.num_slices}", f"--json_file={report}"),
                *plan.arguments(key),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        reports = json.loads(report.read_text()) if report.exists() else []
    if done.returncode not in (0, DOES_NOT_FIT):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if done.returncode != 2 or "libtpu" in last:
            raise InputError(f"stage {key} was not compiled for {wanted.topology}: {last}")
        # A mesh or a batch that the slice cannot take: another arm may fit, so all go on.
        return {"misfit": f"cannot run on {wanted.topology}: {last.removeprefix('error: ')}"}
    found: dict[str, Any] = {"reports": reports}
    if shortages := [r["shortage"] for r in reports if not r["fits"]]:
        found["misfit"] = _shortage(shortages[0], str(wanted.topology))
        found["needed"] = shortages[0]["needed"]
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_json(kept, found)
    return found


def _shortage(shortage: Mapping[str, Any], topology: str) -> str:
    needed, capacity = shortage["needed"], shortage["capacity"]
    if needed is None or capacity is None:
        return f"does not fit {topology}: {shortage['message']}"
    return (
        f"does not fit {topology}: its step needs {_gib(needed)} of a device's {_gib(capacity)}, "
        f"{_gib(needed - capacity)} too much"
    )


def _compiler() -> list[str]:
    """What a program's result depends on beside the program."""
    room = Path(__file__).parent.parent
    files = sorted(f for name in _COMPILED_FROM for f in (room / name).rglob("*.py"))
    versions = []
    for package in ("jax", "jaxlib", "libtpu"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return [*versions, *(manifest.file_sha256(file) for file in files)]


def _read(path: Path) -> Any:
    """JSON of a file; None where it is missing or damaged: then it is made again."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:,.2f} GiB"
