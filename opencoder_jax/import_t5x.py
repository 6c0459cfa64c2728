"""`python -m opencoder_jax.import_t5x`: a T5X checkpoint of our model as a model directory.

What T5X trained (docs/t5x.md) becomes a model directory (`training/imported.py`). T5X stores
the parameters under `target`, as the very tree that we use, so nothing is renamed; T5X itself
is not needed. A checkpoint of any other model is refused.
"""

import sys
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import open_tokenizer_of
from opencoder_jax.model.transformer import Params, abstract_params
from opencoder_jax.sharding import param_name
from opencoder_jax.training.checkpoints import (
    CheckpointMetadata,
    CheckpointWriter,
    params_sha256,
)
from opencoder_jax.training.imported import write_model_directory


def import_t5x(
    checkpoint_dir: str, tokenizer_dir: str, model_dir: str, model: TransformerConfig
) -> None:
    """Writes a T5X checkpoint as `checkpoint_N` of a new model directory.

    Args:
      checkpoint_dir: a `checkpoint_N` folder that `t5x.train` wrote.
      tokenizer_dir: the tokenizer that it was trained with; it is copied.
      model_dir: a new folder.
      model: the dimensions that it was trained with.

    Raises:
      InputError: no T5X checkpoint, or one of another model or tokenizer.
    """
    tokenizer = open_tokenizer_of(tokenizer_dir, model)
    params = read_t5x_params(checkpoint_dir, model)

    def save(folder: Path, metadata: CheckpointMetadata) -> None:
        with CheckpointWriter(folder) as checkpoints:
            checkpoints.save(params, None, metadata)

    write_model_directory(
        model_dir,
        job="import_t5x",
        model=model,
        step=int(Path(checkpoint_dir).name.removeprefix("checkpoint_")),
        tokenizer=tokenizer,
        params_digest=params_sha256(params),
        save=save,
    )


def read_t5x_params(checkpoint_dir: str | Path, model: TransformerConfig) -> Params:
    """Parameters of a T5X checkpoint on the default device, without its optimizer's state.

    Raises:
      InputError: no T5X checkpoint, or one of another model.
    """
    state = Path(checkpoint_dir).absolute() / "state"
    if not (state / "_METADATA").is_file():
        raise InputError(
            f"{checkpoint_dir} is no T5X checkpoint: expected a `checkpoint_N` folder that "
            "t5x.train wrote, with `state/_METADATA` in it"
        )
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = abstract_params(model)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        _check_shapes(checkpoint_dir, checkpointer.metadata(state).item_metadata.tree, wanted)
        restored = checkpointer.restore(
            state,
            args=ocp.args.PyTreeRestore(
                item={"target": wanted},
                restore_args=jax.tree.map(
                    lambda leaf: ocp.ArrayRestoreArgs(sharding=device, dtype=leaf.dtype),
                    {"target": wanted},
                ),
                partial_restore=True,
            ),
        )
    return restored["target"]


def _check_shapes(checkpoint_dir: str | Path, stored: dict, wanted: Params) -> None:
    there = {
        param_name(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(stored.get("target", {}))
    }
    expected = {
        param_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(wanted)
    }
    differing = [
        f"{name}: checkpoint {there.get(name)}, model {expected.get(name)}"
        for name in sorted({*there, *expected})
        if there.get(name) != expected.get(name)
    ]
    if differing:
        raise InputError(
            f"{checkpoint_dir} is of another model than the dimensions given "
            f"(--gin_file=models/...):\n  " + "\n  ".join(differing[:5])
        )


if __name__ == "__main__":
    sys.exit(configuration.main(import_t5x, default_gin_files=["t5x/import.gin"]))
