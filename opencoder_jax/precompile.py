"""Compiles a phase's training step for TPUs that are not there: does it fit, what does it cost?

    python -m opencoder_jax.precompile --topology=v5p-128 --gin_file=pretrain/opencoder_8b_4k.gin

The gin files are those of `opencoder_jax.train`, for `train` here has its parameters, and the
step is its step, compiled by the TPU's own compiler (libtpu) on any CPU. Data, tokenizer,
model directory and checkpoints need not exist. Exit status: 0 the step fits, 3 it does not,
2 bad input. docs/precompile.md explains the report; next: `precompilation.program`.
"""

import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opencoder_jax import configuration, sharding
from opencoder_jax.data.batches import DatasetPlan, plan_shapes
from opencoder_jax.errors import InputError
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.precompilation import report
from opencoder_jax.precompilation import topology as topologies
from opencoder_jax.precompilation.program import precompile
from opencoder_jax.training import step

DOES_NOT_FIT = 3
# Macros of the training gin files that say where things lie, not what the step is.
PLACES = (
    "MODEL_DIR",
    "TOKENIZER_DIR",
    "PACKED_DIR",
    "INITIAL_CHECKPOINT_PATH",
    "MIXTURE_OR_TASK_NAME",
    "HELDOUT_TASK_NAME",
)


def train(
    *,
    topology: str,
    num_slices: int = 1,
    json_file: str | None = None,
    hlo_file: str | None = None,
    model: TransformerConfig,
    train_dataset_cfg: DatasetPlan,
    mesh: sharding.MeshConfig,
    num_microbatches: int = 1,
    loss_chunk_length: int = 512,
    **of_train: Any,
) -> None:
    """Compiles the training step of a phase for a topology and reports what it costs.

    Prints memory of a chip by kind, operations, collectives, kernels, and the time that a step
    needs at least at the chip's limits. Exits with 0 where the step fits into the chips'
    memory, with 3 where it does not, with 2 on bad input.

    Args:
      topology: a slice by shape or Cloud's name: v5e:16x16, v5p:4x4x4, v6e-256, v5p-128.
      num_slices: slices of that shape.
      json_file: also write the report there, as JSON: a list with one entry for each shape of
        batch, most often one.
      hlo_file: also write the compiled program there, as text.
      model: dimensions of the model.
      train_dataset_cfg: its batch sizes and sequence lengths, each compiled; no data is read.
      mesh: how the devices are laid out.
      num_microbatches: parts of a batch, one after the other.
      loss_chunk_length: positions whose logits are in memory at a time.
      of_train: further parameters of `opencoder_jax.train`; optimizer, schedule and whatever
        else `training.step.StepConfig` has are a part of the step.

    Raises:
      InputError: no such topology, or a mesh, batch or model that does not fit it.
    """
    _check_names(of_train)
    parts = {"num_microbatches": num_microbatches, "loss_chunk_length": loss_chunk_length}
    config = step.StepConfig.of_training({**of_train, "model": model, **parts})
    where = topologies.parse(topology, num_slices)
    results = []
    for batch_size, sequence_length in dict.fromkeys(plan_shapes(train_dataset_cfg)):
        result = precompile(
            config, mesh, where, batch_size=batch_size, sequence_length=sequence_length
        )
        print(report.to_text(result), end="", flush=True)
        results.append(result)
    if json_file:
        reports = [report.to_json(result) for result in results]
        Path(json_file).write_text(json.dumps(reports, indent=1) + "\n")
    if hlo_file:
        Path(hlo_file).write_text("\n".join(result.hlo for result in results))
    if not all(result.fits for result in results):
        raise SystemExit(DOES_NOT_FIT)


def _check_names(of_train: dict[str, Any]) -> None:
    """Refuses what `opencoder_jax.train` would refuse."""
    from opencoder_jax.train import train as real_train  # grain, orbax: seconds

    unknown = sorted(set(of_train) - set(inspect.signature(real_train).parameters))
    if unknown:
        raise InputError(f"train has no parameter {', '.join(unknown)}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see `configuration.main`."""
    names = ("topology", "num_slices", "json_file", "hlo_file")
    return configuration.main(
        train, argv, flags={name: f"train.{name}" for name in names}, unread_macros=PLACES
    )


if __name__ == "__main__":
    sys.exit(main())
