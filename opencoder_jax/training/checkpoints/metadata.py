"""What a checkpoint was made from, when it counts as whole, and what is asked of them.

A folder `checkpoint_N` is a checkpoint if it has the file that is written last. One without
is half written (on a store that cannot rename folders), half deleted or half copied, and
nothing takes it for a checkpoint. What the metadata says is protected by a hash of its own,
as the arrays are by their checksums.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.formats import manifest

# Orbax writes it when everything else is in place.
COMMIT_MARKER = "commit_success.txt"
_NAME = re.compile(r"checkpoint_(\d+)")


class CheckpointError(InputError):
    """No checkpoint that could be restored."""


@dataclasses.dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint was made from, stored in it as JSON.

    Attributes:
      step: training steps made, counted across pretraining and annealing.
      tokens_by_source: tokens of the sequences seen so far in all phases, by packed set.
      model: `TransformerConfig.to_json()`.
      tokenizer_fingerprint: of the tokenizer that the training data was made with.
      data: fingerprint of the phase's batches, see `opencoder_jax.data.batches`.
      phases: one object a phase so far, the current one last: its operative
        configuration, inputs and first step.
      spikes: `SpikeState.to_json()`; None where no step is skipped.
    """

    step: int
    tokens_by_source: dict[str, int]
    model: dict[str, Any]
    tokenizer_fingerprint: str
    data: dict[str, Any]
    phases: list[dict[str, Any]]
    spikes: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        value = {"spikes": None, **value}
        return cls(**{field.name: value[field.name] for field in dataclasses.fields(cls)})

    @classmethod
    def of_import(
        cls, step: int, model: dict[str, Any], tokenizer_fingerprint: str, inputs: dict[str, Any]
    ) -> Self:
        """Of parameters that were trained elsewhere.

        Args:
          step: what the checkpoint is called.
          model: `TransformerConfig.to_json()`.
          tokenizer_fingerprint: of the tokenizer that came with them.
          inputs: what they were imported from.
        """
        return cls(
            step=step,
            tokens_by_source={},
            model=model,
            tokenizer_fingerprint=tokenizer_fingerprint,
            data={},
            phases=[{"phase": "import", "inputs": inputs, "first_step": step}],
        )


@dataclasses.dataclass(frozen=True)
class SaveCheckpointConfig:
    """When to save and what to keep, with T5X's names.

    Attributes:
      period: steps between checkpoints, 0 for none; the last step of a run is always saved.
      period_minutes: minutes between checkpoints at most: one is also made after the step at
        which they are over. None for no such limit.
      keep: how many of the latest to keep; None keeps all.
      keep_period: of the older ones, those whose step is a multiple of this stay for good;
        None lets all of them go.
    """

    period: int
    keep: int | None = None
    keep_period: int | None = None
    period_minutes: float | None = None

    def __post_init__(self) -> None:
        require_at_least(0, **{"SaveCheckpointConfig.period": self.period})
        for name in ("keep", "keep_period"):
            if getattr(self, name) is not None:
                require_at_least(1, **{f"SaveCheckpointConfig.{name}": getattr(self, name)})
        if self.period_minutes is not None:
            require_positive(**{"SaveCheckpointConfig.period_minutes": self.period_minutes})


@dataclasses.dataclass(frozen=True)
class RestoreCheckpointConfig:
    """What a phase starts from.

    Attributes:
      path: a model directory (its latest checkpoint), or a `checkpoint_N` folder in one.
      restore_optimizer: go on with its optimizer state and step count; otherwise only the
        parameters are taken, and the phase counts from step 0.
    """

    path: str
    restore_optimizer: bool

    def locate(self) -> tuple[Path, int | None]:
        """Model directory and step; step None stands for the latest."""
        match = _NAME.fullmatch(Path(self.path).name)
        return (Path(self.path).parent, int(match[1])) if match else (Path(self.path), None)


def step_folder(model_dir: str | Path, step: int) -> Path:
    return Path(model_dir) / f"checkpoint_{step}"


def steps(model_dir: str | Path) -> list[int]:
    """Steps of the checkpoints of a model directory, ascending; whole ones only."""
    return [step for step, whole in _folders(model_dir) if whole]


def incomplete_steps(model_dir: str | Path) -> list[int]:
    """Steps of the folders that look like checkpoints and lack the file written last."""
    return [step for step, whole in _folders(model_dir) if not whole]


def _folders(model_dir: str | Path) -> list[tuple[int, bool]]:
    folder = Path(model_dir)
    paths = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    named = [(path, match) for path in paths if (match := _NAME.fullmatch(path.name))]
    return sorted((int(match[1]), (path / COMMIT_MARKER).exists()) for path, match in named)


def superseded(present: list[int], keep: int | None, keep_period: int | None = None) -> list[int]:
    """Which of the steps that are there retention lets go, see `SaveCheckpointConfig`."""
    if keep is None:
        return []
    return [step for step in sorted(present)[:-keep] if not keep_period or step % keep_period]


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content`, which has to be JSON, with a hash of itself."""
    return {**content, "fingerprint": manifest.fingerprint(dict(content))}


def broken_seal(sealed: Mapping[str, Any]) -> bool:
    """Whether something has changed since `seal`; what was never sealed counts as sound."""
    content = {name: value for name, value in sealed.items() if name != "fingerprint"}
    return sealed.get("fingerprint", manifest.fingerprint(content)) != manifest.fingerprint(content)
