"""The action `plan`: checks a sweep, shows it, writes `plan.json`.

    python -m opencoder_jax.sweep plan --gin_file=sweeps/miniature/dedup_level.gin \
      --gin.SWEEP_DIR=runs/sweeps/dedup_level
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from opencoder_jax import configuration
from opencoder_jax.sweep import planning
from opencoder_jax.sweep.definition import Sweep
from opencoder_jax.sweep.plan_file import PLAN_NAME, write_plan
from opencoder_jax.sweep.plan_table import print_plan


def plan(
    sweep: Sweep,
    sweep_dir: str,
    outputs: str = "../stages",
    records: str = "../work",
    dry_run: bool = False,
) -> None:
    """Says what a sweep would do, and writes it down for `run`.

    Args:
      sweep: what to plan.
      sweep_dir: folder that gets `plan.json`, here or in a store.
      outputs: where stages write: relative to `sweep_dir`, absolute, or a url. Sweeps with the
        same place share what they have in common.
      records: where leases, logs and what is done are kept.
      dry_run: write nothing.

    Raises:
      InputError: with every mistake of every arm.
    """
    # Workers may start elsewhere.
    paths = [str(Path(path).absolute()) for path in configuration.search_paths()]
    planned = planning.make_plan(
        sweep, sweep_dir, outputs=outputs, records=records, search_paths=paths
    )
    console = Console()
    print_plan(planned, console)
    if dry_run:
        console.print("a dry run: nothing was written")
    else:
        console.print(f"plan: {escape(write_plan(planned))}", soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    flags = {
        "sweep_dir": "SWEEP_DIR",
        "outputs": "plan.outputs",
        "records": "plan.records",
    }
    return configuration.main(
        plan, argv, flags=flags, dry_run="dry_run", notes=f"Writes SWEEP_DIR/{PLAN_NAME}."
    )
