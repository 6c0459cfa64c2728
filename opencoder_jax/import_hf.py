"""`python -m opencoder_jax.import_hf`: a Hugging Face folder as a model directory.

Takes any model of the Llama family (tied or untied, any grouping of heads): an exported
one of this project, the released OpenCoder weights, or another. What comes out:
`training/imported.py`.

The files are read twice, a block at a time: once to see that they are sound and for the
checksums that the checkpoint carries, once to write it. No model is held in memory.
"""

import functools
import hashlib
import sys
from collections.abc import Iterator, Mapping

import numpy as np

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.huggingface.folder import HuggingFaceFolder, by_parameter
from opencoder_jax.huggingface.llama import NUMPY_DTYPES, Block
from opencoder_jax.model.config import DTYPES, TransformerConfig
from opencoder_jax.model.loading import open_tokenizer_of
from opencoder_jax.training import checkpoint_parts
from opencoder_jax.training.checkpoint_parts import Part, StreamedArray, part_checksum
from opencoder_jax.training.imported import write_model_directory


def import_hf(
    input_dir: str,
    model_dir: str,
    step: int = 0,
    dtype: str = "bfloat16",
    param_dtype: str = "float32",
    max_length: int | None = None,
) -> None:
    """Writes the model of a Hugging Face folder as `checkpoint_<step>` of a new directory.

    Args:
      input_dir: a folder with `config.json` and safetensors.
      model_dir: a new folder.
      step: what the checkpoint is called.
      dtype: of activations from now on.
      param_dtype: of the stored parameters; float32 holds bfloat16 exactly.
      max_length: context to run with; None keeps the folder's.
    """
    for name, value in (("dtype", dtype), ("param_dtype", param_dtype)):
        if value not in DTYPES:
            raise InputError(f"{name}={value!r}: expected one of {', '.join(DTYPES)}")
    if not HuggingFaceFolder.is_one(input_dir):
        raise InputError(f"{input_dir} is no Hugging Face folder: it has no config.json")
    source = HuggingFaceFolder(input_dir)
    model = source.read_config().replace(dtype=dtype, param_dtype=param_dtype)
    if max_length is not None:
        model = model.replace(max_length=max_length)
    source.check(model)
    tokenizer = open_tokenizer_of(input_dir, model)
    arrays = _arrays(source, model)
    checksums, digest = _survey(arrays)
    write_model_directory(
        model_dir,
        job="import_hf",
        model=model,
        step=step,
        tokenizer=tokenizer,
        params_digest=digest,
        save=lambda folder, metadata: checkpoint_parts.save(folder, arrays, checksums, metadata),
    )


def _arrays(
    source: HuggingFaceFolder, model: TransformerConfig
) -> dict[tuple[str, ...], StreamedArray]:
    def parts(blocks: list[Block]) -> Iterator[Part]:
        for block in blocks:
            yield Part(block.index, source.read_block(block, model.param_dtype))

    return {
        path: StreamedArray(
            shape=tuple(axis.stop for axis in blocks[-1].index),
            dtype=NUMPY_DTYPES[model.param_dtype],
            parts=functools.partial(parts, blocks),
        )
        for path, blocks in by_parameter(model)
    }


def _survey(
    arrays: Mapping[tuple[str, ...], StreamedArray],
) -> tuple[dict[tuple[str, ...], int], str]:
    """The checksum of each array, and a SHA-256 of all numbers and their places."""
    checksums = {}
    digest = hashlib.sha256()
    for path, array in arrays.items():
        digest.update(f"{path} {array.dtype} {array.shape}\n".encode())
        checksums[path] = 0
        for part in array.parts():
            checksums[path] += part_checksum(part, array.shape)
            digest.update(np.ascontiguousarray(part.block).reshape(-1).view(np.uint8).data)
        checksums[path] %= 2**32
    return checksums, digest.hexdigest()


if __name__ == "__main__":
    sys.exit(configuration.main(import_hf, default_gin_files=["export/import.gin"]))
