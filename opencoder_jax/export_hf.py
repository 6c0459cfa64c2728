"""`python -m opencoder_jax.export_hf`: a model directory as a Hugging Face folder.

The folder loads with `transformers` (`LlamaForCausalLM`, no custom code) and whatever
reads its format: safetensors, `config.json`, `tokenizer.json`, a ChatML template. It also
keeps the SentencePiece model, so that `import_hf` and `evaluate` take it as it is.
The mapping is in `opencoder_jax/huggingface`; see docs/model.md.
"""

import sys
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.manifest import already_done, write_manifest
from opencoder_jax.formats.staging import staged_folder
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.huggingface import verification
from opencoder_jax.huggingface.folder import HuggingFaceFolder, write_folder
from opencoder_jax.model.config import DTYPES
from opencoder_jax.model.loading import LoadedModel, load_model
from opencoder_jax.timing import timed
from opencoder_jax.training.checkpoints import params_sha256

_JOB = "export_hf"


def export_hf(
    model_dir: str,
    output_dir: str,
    step: int | None = None,
    dtype: str = "float32",
    max_shard_bytes: int = 5_000_000_000,
    verify: bool = True,
) -> None:
    """Writes the model of `model_dir` to `output_dir` as a Hugging Face folder.

    Args:
      model_dir: a model directory of this project.
      output_dir: a new folder.
      step: which checkpoint; None takes the latest.
      dtype: of the tensors, `float32` or `bfloat16`.
      max_shard_bytes: weights beyond it are split into several files.
      verify: read the folder back and compare every parameter; where torch and
        transformers are installed, compare their logits with ours too.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}")
    require_at_least(1, max_shard_bytes=max_shard_bytes)
    model = load_model(model_dir, step)
    if not isinstance(model.tokenizer, Tokenizer):
        raise InputError(f"{model_dir} has no tokenizer of this project to export")
    config = {"dtype": dtype, "max_shard_bytes": max_shard_bytes, "step": model.step}
    inputs = {
        "params": params_sha256(model.params),
        "tokenizer": model.tokenizer.fingerprint,
    }
    if already_done(output_dir, job=_JOB, config=config, inputs=inputs):
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return
    with staged_folder(output_dir) as folder, timed(folder):
        write_folder(
            folder,
            model.config,
            model.params,
            model.tokenizer,
            dtype=dtype,
            max_shard_bytes=max_shard_bytes,
        )
        if verify:
            _verify(folder, model, dtype)
        configuration.write_config_gin(folder)
        counts = {"parameters": model.config.parameter_count()}
        write_manifest(folder, job=_JOB, config=config, inputs=inputs, counts=counts)
    print(f"exported step {model.step} of {model_dir} to {output_dir}")


def _verify(folder: Path, model: LoadedModel, dtype: str) -> None:
    verification.check_params_equal(folder, model.params, dtype)
    print("verified: our importer reads the same parameters, bit for bit")
    if not verification.transformers_is_installed():
        print("torch and transformers are not installed: their logits were not compared")
        return
    source = HuggingFaceFolder(folder)
    difference = verification.logits_difference(folder, source.read_config(), source.read_params())
    print(f"verified: largest difference of logits to transformers' {difference:.2e}")


if __name__ == "__main__":
    sys.exit(configuration.main(export_hf, default_gin_files=["export/demo.gin"]))
