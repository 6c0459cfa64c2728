"""The action `plan`: checks a sweep, shows it, writes `plan.json`.

    python -m opencoder_jax.sweep plan --gin_file=sweeps/miniature/dedup_level.gin \
      --gin.SWEEP_DIR=runs/sweeps/dedup_level

Exit status: 0 planned, 3 planned and some stage does not fit its chips, 2 bad input.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from opencoder_jax import configuration
from opencoder_jax.data import stores
from opencoder_jax.sweep.definition import Sweep
from opencoder_jax.sweep.plan_file import PLAN_NAME, Plan, write_plan
from opencoder_jax.sweep.planning import planner, pricing
from opencoder_jax.sweep.planning.plan_table import print_plan
from opencoder_jax.sweep.planning.price_table import price_table
from opencoder_jax.sweep.planning.pricing import DOES_NOT_FIT, Wanted


def plan(
    sweep: Sweep,
    sweep_dir: str,
    outputs: str = "../stages",
    records: str = "../work",
    topology: str | None = None,
    num_slices: int = 1,
    chip: str | None = None,
    price: float | None = None,
    mfu: float = 0.4,
    tokens_per_second: float | None = None,
    dry_run: bool = False,
) -> None:
    """Says what a sweep would do and cost, and writes it down for `run`.

    Args:
      sweep: what to plan.
      sweep_dir: folder that gets `plan.json`, here or in a store.
      outputs: where stages write: relative to `sweep_dir`, absolute, or a url. Sweeps with the
        same place share what they have in common.
      records: where leases, logs and what is done are kept.
      topology: a slice, v5e-256 or v5p:4x4x4, for which the training steps are compiled ahead of
        time: whether they fit, and what they take at least. A minute or more each.
      num_slices: slices of that shape.
      chip: without a topology, the kind of chip, v5e or v5p: what certainly does not fit.
      price: of a chip for an hour.
      mfu: share of the chips' peak that training is taken to reach.
      tokens_per_second: speed of a run where it was measured, in place of `mfu`.
      dry_run: write nothing.

    Raises:
      InputError: with every mistake of every arm.
    """
    wanted = Wanted(topology, num_slices, chip, price, mfu, tokens_per_second)
    # Workers may start elsewhere.
    paths = [str(Path(path).absolute()) for path in configuration.search_paths()]
    planned = planner.make_plan(
        sweep, sweep_dir, outputs=outputs, records=records, search_paths=paths
    )
    console = Console()
    print_plan(planned, console)
    programs = None if dry_run or stores.is_remote(planned.folder) else _programs(planned)
    priced = pricing.price(planned, wanted, programs, say=_say)
    console.print(escape(price_table(priced)), soft_wrap=True, highlight=False)
    if dry_run:
        console.print("a dry run: nothing was written")
    else:
        console.print(f"plan: {escape(write_plan(planned))}", soft_wrap=True)
    for line in priced.misfits:
        console.print(f"[red]DOES NOT FIT[/red] {escape(line)}", soft_wrap=True)
    if priced.misfits:
        raise SystemExit(DOES_NOT_FIT)


def _programs(planned: Plan) -> str:
    """Where what was compiled is kept, for all sweeps side by side."""
    return os.path.normpath(os.path.join(planned.folder, "../programs"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    flags = {
        "sweep_dir": "SWEEP_DIR",
        "outputs": "plan.outputs",
        "records": "plan.records",
        **{field.name: f"plan.{field.name}" for field in dataclasses.fields(Wanted)},
    }
    return configuration.main(
        plan, argv, flags=flags, dry_run="dry_run", notes=f"Writes SWEEP_DIR/{PLAN_NAME}."
    )
