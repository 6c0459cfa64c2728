"""The mixture of a training phase, as its model directory tells: asked, planned, given so far."""

import dataclasses
import json
from pathlib import Path

from opencoder_jax.errors import InputError
from opencoder_jax.report.training_runs import METRICS_NAME, read_metrics_lines

# Written by `opencoder_jax/data/shares.py`, whose module asks for more than a report needs.
_MIXTURE_NAME = "mixture.json"


@dataclasses.dataclass(frozen=True, slots=True)
class MixtureRow:
    """One set; shares are of tokens.

    Attributes:
      name: of the set.
      wanted: what the rates ask for.
      planned: what the batches of the whole phase have.
      learned: of the tokens that the loss counts, planned; None where it is not known.
      given: what the batches had so far; None before the first line of metrics.
      sequences, repeats, epochs: planned, as in `SourceShare`.
    """

    name: str
    wanted: float
    planned: float
    learned: float | None
    given: float | None
    sequences: int
    repeats: float
    epochs: float


@dataclasses.dataclass(frozen=True, slots=True)
class Mixture:
    """Of one phase; `step` is the last one that its metrics tell of."""

    name: str
    step: int | None
    rows: tuple[MixtureRow, ...]


def read_mixture(model_dir: Path) -> Mixture:
    """What a phase takes from each of its sets.

    Raises:
      InputError: the folder is no model directory of this version.
    """
    path = model_dir / _MIXTURE_NAME
    if not path.exists():
        raise InputError(f"{path}: no such file; give the model directory of a training phase")
    try:
        planned = json.loads(path.read_text())
        lines = read_metrics_lines(model_dir / "train" / METRICS_NAME)
        seen = {
            name: int(lines[-1].get(f"tokens_seen/{name}", 0)) - share["tokens_before"]
            for name, share in planned.items()
            if lines
        }
        total = sum(seen.values())
        rows = tuple(
            MixtureRow(
                name=name,
                wanted=share["wanted"],
                planned=share["actual"],
                learned=share["learned"],
                given=seen[name] / total if total else None,
                sequences=share["sequences"],
                repeats=share["repeats"],
                epochs=share["epochs"],
            )
            for name, share in sorted(planned.items(), key=lambda pair: -pair[1]["wanted"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); start the training again") from error
    step = lines[-1]["step"] if lines else None
    return Mixture(model_dir.resolve().name, step, rows)
