"""Checkpoints: written whole, verified when read, passed over when damaged.

A model directory holds `checkpoint_N/`, as T5X's does, with the Orbax items `params`,
`opt_state` and `metadata`; every phase of the project writes and reads this one format.
`writer` saves in the background and deletes what retention lets go, `reader` restores the
latest sound one on any mesh, `metadata` is what a checkpoint was made from and when it
counts as whole, `checksums` are what damage is found by: Orbax alone restores many damaged
files without complaint, as other numbers. docs/faults.md lists what can go wrong.
"""

from opencoder_jax.training.checkpoints.checksums import checksum, params_sha256
from opencoder_jax.training.checkpoints.metadata import (
    CheckpointError,
    CheckpointMetadata,
    RestoreCheckpointConfig,
    SaveCheckpointConfig,
    steps,
)
from opencoder_jax.training.checkpoints.reader import (
    Restored,
    read_metadata,
    restore,
    restore_latest,
    restore_params,
)
from opencoder_jax.training.checkpoints.writer import CheckpointWriter

__all__ = [
    "CheckpointError",
    "CheckpointMetadata",
    "CheckpointWriter",
    "RestoreCheckpointConfig",
    "Restored",
    "SaveCheckpointConfig",
    "checksum",
    "params_sha256",
    "read_metadata",
    "restore",
    "restore_latest",
    "restore_params",
    "steps",
]
