"""`python -m opencoder_jax.import_gguf`: a GGUF file as a Hugging Face folder.

That is what `serve`, `generate`, `evaluate` and `pack` open as it is, what `import_hf` makes
a model directory of to train on, and what other programs read. The file's quantized numbers
are written out; none of its blocks is in memory for longer than that takes.
"""

import sys
import tempfile

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.manifest import already_done, file_sha256, write_manifest
from opencoder_jax.formats.staging import staged_folder
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.huggingface.folder import write_folder
from opencoder_jax.huggingface.gguf_file import GgufFile
from opencoder_jax.huggingface.gguf_tokenizer import write_tokenizer
from opencoder_jax.model.config import DTYPES
from opencoder_jax.timing import timed

_JOB = "import_gguf"


def import_gguf(
    input_file: str,
    output_dir: str,
    dtype: str = "bfloat16",
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Writes the model of a GGUF file to `output_dir` as a Hugging Face folder.

    Args:
      input_file: of the architecture llama, with a byte-level tokenizer.
      output_dir: a new folder.
      dtype: of the tensors: bfloat16, or float32, which holds what the file stands for exactly.
      max_shard_bytes: weights beyond it are split into several files.

    Raises:
      InputError: the file is damaged, or its model or tokenizer is of another kind.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}")
    require_at_least(1, max_shard_bytes=max_shard_bytes)
    source = GgufFile(input_file)
    model = source.read_config(dtype)
    source.check(model)
    config = {"dtype": dtype, "max_shard_bytes": max_shard_bytes}
    inputs = {"file": file_sha256(input_file)}
    if already_done(output_dir, job=_JOB, config=config, inputs=inputs):
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return
    with (
        staged_folder(output_dir) as folder,
        timed(folder),
        tempfile.TemporaryDirectory() as scratch,
    ):
        write_tokenizer(scratch, source)
        write_folder(
            folder,
            model,
            source.parameters(model),
            open_tokenizer(scratch),
            dtype=dtype,
            max_shard_bytes=max_shard_bytes,
        )
        configuration.write_config_gin(folder)
        counts = {"parameters": model.parameter_count()}
        write_manifest(folder, job=_JOB, config=config, inputs=inputs, counts=counts)
    print(f"imported {input_file} to {output_dir}")


if __name__ == "__main__":
    sys.exit(configuration.main(import_gguf, default_gin_files=["export/import_gguf.gin"]))
