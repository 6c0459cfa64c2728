"""A model directory of parameters that were trained elsewhere: one checkpoint, no optimizer state.

`train` starts from it (`INITIAL_CHECKPOINT_PATH`), `evaluate`, `generate` and `export_hf` read
it. It holds the tokenizer, for `beam_pipelines.pack` to make training data with, and
`model.gin`, the dimensions as `train` wants them. Where the parameters come from is the
caller's matter: `opencoder_jax/import_hf.py`, `opencoder_jax/import_t5x.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.formats.manifest import already_done, file_sha256, write_manifest
from opencoder_jax.formats.staging import staged_folder
from opencoder_jax.formats.tokenizer import Tokenizer, copy_tokenizer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import TOKENIZER_FOLDER
from opencoder_jax.timing import timed
from opencoder_jax.training.checkpoints import CheckpointMetadata

MODEL_GIN = "model.gin"


def write_model_directory(
    model_dir: str,
    *,
    job: str,
    model: TransformerConfig,
    step: int,
    tokenizer: Tokenizer,
    params_digest: str,
    save: Callable[[Path, CheckpointMetadata], None],
) -> None:
    """Leaves the directory whole, or not at all; does nothing where it is there already.

    Args:
      model_dir: a new folder.
      job: the command that imports.
      model: dimensions.
      step: what the checkpoint is called.
      tokenizer: of the model; its folder's files are copied.
      params_digest: of the parameters; Orbax's own files differ from run to run.
      save: writes the checkpoint with this metadata into this folder.

    Raises:
      InputError: `model_dir` holds something else.
    """
    config = {"model": model.to_json(), "step": step}
    inputs = {"params": params_digest, "tokenizer": tokenizer.fingerprint}
    if already_done(model_dir, job=job, config=config, inputs=inputs):
        print(f"{model_dir} is finished: nothing to do", file=sys.stderr)
        return
    metadata = CheckpointMetadata.of_import(step, model.to_json(), tokenizer.fingerprint, inputs)
    with staged_folder(model_dir) as folder, timed(folder):
        copy = folder / TOKENIZER_FOLDER
        copy.mkdir()
        copy_tokenizer(tokenizer.path.parent, copy)
        save(folder, metadata)
        configuration.write_config_gin(folder)
        (folder / MODEL_GIN).write_text(_model_gin(model))
        tokenizer_files = {
            f"{copy.name}/{path.name}": file_sha256(path) for path in sorted(copy.iterdir())
        }
        write_manifest(
            folder,
            job=job,
            config=config,
            inputs=inputs,
            counts={"parameters": model.parameter_count()},
            files={"params": params_digest, **tokenizer_files},
        )
    print(f"imported {model.parameter_count():,} parameters to {model_dir}/checkpoint_{step}")


def _model_gin(model: TransformerConfig) -> str:
    """The dimensions as `gin_configs/models` has them, to train what was imported."""
    fields = "".join(f"  {name} = {value!r}\n" for name, value in model.to_json().items())
    return (
        "# The imported model, for `train`: --gin_file=<this file> after the phase's own.\n"
        "from __gin__ import dynamic_registration\n\n"
        "from opencoder_jax.model import config\n\n"
        "MODEL = @config.TransformerConfig()\n\n"
        f"config.TransformerConfig:\n{fields}"
    )
