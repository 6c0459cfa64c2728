"""A command that makes a folder with one file out of other folders, for tests of sweeps."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Recipe:
    rate: float = 0.5
    words: Sequence[str] = ("a", "b")
    workers: int = 1


def tiny(
    output_dir: str,
    recipe: Recipe,
    input_dir: str | None = None,
    seed: int = 0,
    steps: int = 10,
    verbose: bool = False,
) -> None:
    """Writes `made.json`: the settings, and what its input was made with."""
    if recipe.rate > 1:
        raise InputError(f"rate is {recipe.rate}, expected at most 1")
    before = json.loads((Path(input_dir) / "made.json").read_text()) if input_dir else None
    made = {"rate": recipe.rate, "seed": seed, "steps": steps, "before": before}
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    (Path(output_dir) / "made.json").write_text(json.dumps(made))


def facts(recipe: Recipe, steps: int) -> dict[str, float]:
    if steps < 1:
        raise InputError(f"steps is {steps}, expected at least 1")
    return {"steps": steps, "tokens": 100 * steps, "flops": 1e6 * steps}


if __name__ == "__main__":
    raise SystemExit(
        configuration.main(tiny, incidental=("verbose", "Recipe.workers"), facts=facts)
    )
