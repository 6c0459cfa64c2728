"""`python -m opencoder_jax.export_hf`: a model directory as a Hugging Face folder.

The folder loads with `transformers` (`LlamaForCausalLM`, no custom code), vLLM and whatever
else reads its format: safetensors, `config.json`, `tokenizer.json`, a chat template. Our
own tokenizer is kept as SentencePiece too, so that `import_hf` and `evaluate` take it as it
is; a foreign one comes out with the files that it came in with.

The checkpoint is read and the files are written a block at a time: an export needs the
memory of a part of one shard, whatever the size of the model. docs/huggingface.md has
the figures, `opencoder_jax/huggingface` the mapping.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.manifest import already_done, fingerprint, write_manifest
from opencoder_jax.formats.staging import staged_folder
from opencoder_jax.huggingface import verification
from opencoder_jax.huggingface.folder import HuggingFaceFolder, ReadParameter, write_folder
from opencoder_jax.huggingface.llama import Block
from opencoder_jax.model.config import DTYPES, TransformerConfig
from opencoder_jax.model.loading import find_step, read_own_tokenizer
from opencoder_jax.timing import timed
from opencoder_jax.training import checkpoints
from opencoder_jax.training.checkpoint_parts import PartReader

_JOB = "export_hf"


def export_hf(
    model_dir: str,
    output_dir: str,
    step: int | None = None,
    dtype: str = "float32",
    max_shard_bytes: int = 5_000_000_000,
    verify: bool = True,
    max_parameters_of_logits: int = 500_000_000,
) -> None:
    """Writes the model of `model_dir` to `output_dir` as a Hugging Face folder.

    Args:
      model_dir: a model directory of this project.
      output_dir: a new folder.
      step: which checkpoint; None takes the latest.
      dtype: of the tensors, `float32` or `bfloat16`.
      max_shard_bytes: weights beyond it are split into several files; a fifth of it is read
        of a checkpoint together.
      verify: read the folder back and compare every parameter; where torch and
        transformers are installed, compare their logits with ours too.
      max_parameters_of_logits: larger models are not run for that, which takes 12 bytes of
        memory a parameter.

    Raises:
      InputError: there is no such model, it is damaged, or the output is of another.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}")
    require_at_least(1, max_shard_bytes=max_shard_bytes)
    if HuggingFaceFolder.is_one(model_dir):
        raise InputError(
            f"{model_dir} is a Hugging Face folder already: expected a model directory"
        )
    metadata = checkpoints.read_metadata(model_dir, find_step(model_dir, step))
    tokenizer = read_own_tokenizer(model_dir, metadata.tokenizer_fingerprint)
    parts = PartReader(model_dir, metadata.step, group_bytes=max_shard_bytes // 5)
    config = {"dtype": dtype, "max_shard_bytes": max_shard_bytes, "step": metadata.step}
    checkpoint = {**dataclasses.asdict(metadata), "checksums": parts.checksums}
    inputs = {"checkpoint": fingerprint(checkpoint), "tokenizer": tokenizer.fingerprint}
    if already_done(output_dir, job=_JOB, config=config, inputs=inputs):
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return
    model = TransformerConfig.from_json(metadata.model)
    read = _reading(parts)
    with staged_folder(output_dir) as folder, timed(folder):
        write_folder(folder, model, read, tokenizer, dtype=dtype, max_shard_bytes=max_shard_bytes)
        if verify:
            _verify(folder, model, read, dtype, max_parameters_of_logits)
        configuration.write_config_gin(folder)
        counts = {"parameters": model.parameter_count()}
        write_manifest(folder, job=_JOB, config=config, inputs=inputs, counts=counts)
    print(f"exported step {metadata.step} of {model_dir} to {output_dir}")


def _reading(parts: PartReader) -> ReadParameter:
    def read(path: tuple[str, ...], blocks: Sequence[Block]) -> Iterator[np.ndarray]:
        for part in parts.read(path, [block.index for block in blocks]):
            yield part.block

    return read


def _verify(
    folder: Path, model: TransformerConfig, read: ReadParameter, dtype: str, max_parameters: int
) -> None:
    verification.check_params_equal(folder, model, read, dtype)
    print("verified: our importer reads the same parameters, bit for bit")
    if not verification.transformers_is_installed():
        print("torch and transformers are not installed: their logits were not compared")
        return
    if model.parameter_count() > max_parameters:
        print(f"more than {max_parameters:,} parameters: logits were not compared")
        return
    source = HuggingFaceFolder(folder)
    difference = verification.logits_difference(folder, source.read_config(), source.read_params())
    print(f"verified: largest difference of logits to transformers' {difference:.2e}")


if __name__ == "__main__":
    sys.exit(configuration.main(export_hf, default_gin_files=["export/demo.gin"]))
