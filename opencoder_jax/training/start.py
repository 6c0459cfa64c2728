"""Where a phase begins: nowhere, at another phase's checkpoint, or where it was interrupted."""

import dataclasses
from pathlib import Path
from typing import Any

from opencoder_jax import configuration
from opencoder_jax.data.fingerprints import check_fingerprint
from opencoder_jax.errors import InputError
from opencoder_jax.formats import manifest
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training import checkpoints, step
from opencoder_jax.training.checkpoints import CheckpointMetadata, RestoreCheckpointConfig
from opencoder_jax.training.optimizers import Optimizer
from opencoder_jax.training.spikes import SpikeState

# Of a model, how it is computed or was begun, not what it is: a phase may change these.
_COMPUTE_FIELDS = ("dtype", "remat_policy", "attention", "quantization", "max_length", "init_std")


@dataclasses.dataclass(frozen=True)
class PhaseStart:
    """Nowhere, or a checkpoint of another model directory."""

    model_dir: Path | None = None
    step: int | None = None
    restore_optimizer: bool = False
    first_step: int = 0
    tokens_by_source: dict[str, int] = dataclasses.field(default_factory=dict)
    phases: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    fingerprint: str = "none"
    data: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(
        cls,
        restore: RestoreCheckpointConfig | None,
        model: TransformerConfig,
        tokenizer: Tokenizer,
    ) -> "PhaseStart":
        """The start that a configuration asks for.

        Raises:
          InputError: its checkpoint is unfinished, damaged, or of another model or tokenizer.
        """
        if restore is None:
            return cls()
        model_dir, wanted = restore.locate()
        if wanted is None:
            manifest.refuse_unfinished_training(model_dir)
            wanted = max(checkpoints.steps(model_dir), default=None)
        metadata = checkpoints.read_metadata(model_dir, wanted)
        here = model.to_json()
        different = [
            f"{name}: there {metadata.model.get(name)!r}, here {value!r}"
            for name, value in here.items()
            if name not in _COMPUTE_FIELDS and metadata.model.get(name) != value
        ]
        if different:
            raise InputError(
                f"{restore.path} holds another model than MODEL:\n  " + "\n  ".join(different)
            )
        if metadata.tokenizer_fingerprint != tokenizer.fingerprint:
            raise InputError(
                f"{restore.path} was trained with tokenizer {metadata.tokenizer_fingerprint}, "
                f"{tokenizer.path} is {tokenizer.fingerprint}: its token ids mean other things"
            )
        return cls(
            model_dir=model_dir,
            step=metadata.step,
            restore_optimizer=restore.restore_optimizer,
            first_step=metadata.step if restore.restore_optimizer else 0,
            tokens_by_source=metadata.tokens_by_source,
            phases=metadata.phases,
            fingerprint=manifest.fingerprint(dataclasses.asdict(metadata)),
            data=metadata.data,
        )

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Refuses to go on with the state of another optimizer, which has another form.

        Raises:
          InputError: with what differs.
        """
        if not (self.restore_optimizer and self.phases):
            return
        there = self.phases[-1]["config"]
        here = manifest.flattened(configuration.canonical({"optimizer": optimizer}))
        different = [
            f"{name}: there {there[name]!r}, here {value!r}"
            for name, value in here.items()
            if name.endswith((".type", ".moment_dtype")) and there.get(name, value) != value
        ]
        if different:
            raise InputError(
                f"{self.model_dir} has the state of another optimizer than OPTIMIZER; take the "
                "same, or start with its parameters alone (restore_optimizer = False):\n  "
                + "\n  ".join(different)
            )


def restore_or_init(
    model_dir: str,
    config: step.StepConfig,
    placement: step.Placement,
    seed: int,
    start: PhaseStart,
    metadata: CheckpointMetadata,
) -> tuple[step.TrainState, CheckpointMetadata]:
    """The state to go on from: this directory's, the initial checkpoint's, or a fresh one."""
    abstract = step.abstract_state(config, placement)
    saved = checkpoints.restore_latest(model_dir, abstract.params, abstract.opt_state)
    if saved:
        check_fingerprint(saved.metadata.data, metadata.data)
        window = _window(config, saved.metadata)
        state = step.state_at(placement, saved.metadata.step, saved.params, saved.opt_state, window)
        return state, saved.metadata
    if start.model_dir is None:
        return step.init_state(config, placement, seed), metadata
    if start.restore_optimizer:
        initial = checkpoints.restore(
            start.model_dir, start.step, abstract.params, abstract.opt_state
        )
        # Other data has another loss: the window begins anew.
        window = _window(config, metadata)
        state = step.state_at(
            placement, config.first_step, initial.params, initial.opt_state, window
        )
        return state, metadata
    initial = checkpoints.restore(start.model_dir, start.step, abstract.params)
    return step.fresh_state(config, placement, initial.params), metadata


def _window(config: step.StepConfig, metadata: CheckpointMetadata) -> SpikeState | None:
    if config.spikes is None:
        return None
    if metadata.spikes is None:
        return SpikeState.fresh(config.spikes)
    return SpikeState.from_json(config.spikes, metadata.spikes)
