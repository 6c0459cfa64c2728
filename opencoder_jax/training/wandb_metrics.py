"""Metrics to Weights & Biases too, for those who have it (`pip install opencoder-jax[wandb]`).

The files of the model directory stay the record; W&B gets a copy of each line, under `train/`
and `heldout/`, at its step. A resumed run goes on under the same id; the lines between its
checkpoint and the kill, which it makes again and which are equal, W&B drops.
`mode='offline'` writes `MODEL_DIR/wandb/offline-run-*`, for `wandb sync` from elsewhere.
"""

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError

_MODES = ("online", "offline")


@dataclasses.dataclass(frozen=True)
class WandbConfig:
    """Where W&B shows a run.

    Attributes:
      project: name of the project.
      entity: user or team; None is the default of the one who is logged in.
      name: of the run; None is the model directory's.
      mode: `online`, or `offline` for machines that cannot reach W&B.
    """

    project: str
    entity: str | None = None
    name: str | None = None
    mode: str = "online"

    def __post_init__(self) -> None:
        if not self.project:
            raise InputError("WandbConfig.project is empty, expected the name of a W&B project")
        if self.mode not in _MODES:
            raise InputError(f"WandbConfig.mode is {self.mode!r}, expected one of {_MODES}")


class WandbRun:
    """One run; `write` may be given lines of several series."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Adds the figures of `step` to `train` or `heldout`."""
        # Of a step that it has already (made again after a kill) W&B keeps what it had.
        self._run.log({f"{series}/{name}": v for name, v in values.items()}, step=step)


def import_wandb() -> Any:
    """The package.

    Raises:
      InputError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise InputError(
            "train.wandb is set, but the package wandb is not installed: "
            f"`pip install opencoder-jax[wandb]`, or leave the setting out ({error})"
        ) from error
    return wandb


@contextlib.contextmanager
def open_wandb(
    config: WandbConfig, model_dir: str | Path, settings: Mapping[str, Any]
) -> Iterator[WandbRun]:
    """The run of this model directory, begun or gone on with.

    Args:
      config: where it is shown.
      model_dir: holds the run's id, and its files where it is offline.
      settings: shown as the run's config.

    Raises:
      InputError: the package is missing, nobody is logged in, or W&B cannot be reached.
    """
    wandb = import_wandb()
    try:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            name=config.name or Path(model_dir).name,
            id=_run_id(Path(model_dir)),
            resume="allow",
            mode=config.mode,
            dir=str(model_dir),
            config=dict(settings),
            settings=wandb.Settings(console="off", quiet=True),
        )
    except wandb.Error as error:
        raise InputError(
            f"W&B: {error}; `wandb login` once on this machine, or WandbConfig.mode = 'offline'"
        ) from error
    with run:
        yield WandbRun(run)


def _run_id(model_dir: Path) -> str:
    """Of the directory, drawn once: the same for all processes that train in it."""
    path = model_dir / "wandb" / "run-id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:16])
    return path.read_text()
