"""A whole Hugging Face folder: what `from_pretrained` reads, out and in.

Writing is `write_folder`; reading is `HuggingFaceFolder`, which has the model alone, because
importing may want another numeric type than running. The tokenizer of a folder is opened
by `opencoder_jax.formats.tokenizer`, for a model directory may hold one of either kind.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from opencoder_jax.formats.manifest import write_json
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.tokenizer import (
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    SPECIAL_ID_KEYS,
    Tokenizer,
    copy_tokenizer,
    read_json_object,
)
from opencoder_jax.huggingface.llama import (
    NUMPY_DTYPES,
    Block,
    blocks,
    from_llama_config,
    tensor_specs,
    to_llama_config,
)
from opencoder_jax.huggingface.tensors import HuggingFaceError, TensorReader, TensorWriter
from opencoder_jax.huggingface.tokenizer import write_tokenizer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params, abstract_params

# Path of a parameter and its blocks, to each block's numbers in their order.
ReadParameter = Callable[[tuple[str, ...], Sequence[Block]], Iterator[np.ndarray]]


def write_folder(
    folder: str | os.PathLike,
    config: TransformerConfig,
    read: ReadParameter,
    tokenizer: Tokenizer,
    *,
    dtype: str,
    max_shard_bytes: int,
) -> None:
    """Writes weights, configuration and tokenizer.

    Args:
      folder: where to; it exists.
      config: the model's dimensions.
      read: gives the model's parameters, a block at a time.
      tokenizer: the model's tokenizer.
      dtype: `float32` or `bfloat16`, of the tensors in the files.
      max_shard_bytes: weights beyond it are split into several files.
    """
    folder = Path(folder)
    if isinstance(tokenizer, SentencePieceTokenizer):
        write_tokenizer(folder, tokenizer, config.max_length)
    else:
        copy_tokenizer(tokenizer.path.parent, folder)
    ids = _special_ids(folder, tokenizer)
    write_json(folder / CONFIG_FILE, {**to_llama_config(config, dtype=dtype), **ids})
    if not (folder / GENERATION_CONFIG_FILE).exists():
        write_json(folder / GENERATION_CONFIG_FILE, {**ids, "do_sample": False})
    with TensorWriter(
        folder, tensor_specs(config), dtype=NUMPY_DTYPES[dtype], max_shard_bytes=max_shard_bytes
    ) as writer:
        for path, parts in by_parameter(config):
            for block, array in zip(parts, read(path, parts), strict=True):
                writer.write(block.name, block.to_torch(array))


def by_parameter(config: TransformerConfig) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    """Each parameter's path and its blocks."""
    for path, parts in itertools.groupby(blocks(config), lambda block: block.path):
        yield path, list(parts)


def _special_ids(folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """`bos_token_id` and so on, as the checkpoint's own generation config had them."""
    kept = read_json_object(folder / GENERATION_CONFIG_FILE)
    ids = {name: kept[name] for name in SPECIAL_ID_KEYS if kept.get(name) is not None}
    eos_ids = list(tokenizer.eos_ids)
    return {
        "bos_token_id": tokenizer.document_start,
        "eos_token_id": eos_ids[0] if len(eos_ids) == 1 else eos_ids,
        "pad_token_id": tokenizer.pad,
        **ids,
    }


class HuggingFaceFolder:
    """A Llama-family model in Hugging Face's layout: tied or untied, any grouping of heads."""

    @staticmethod
    def is_one(folder: str | os.PathLike) -> bool:
        return (Path(folder) / CONFIG_FILE).is_file()

    def __init__(self, folder: str | os.PathLike):
        self._folder = Path(folder)
        self._values = read_json_object(self._folder / CONFIG_FILE)
        self._tensors = TensorReader(self._folder)

    def read_config(self) -> TransformerConfig:
        """The model's dimensions; parameters of the type that most tensors are stored in.

        Raises:
          HuggingFaceError: another architecture.
        """
        bfloat16 = self._tensors.dtypes() == {"BF16"}
        return from_llama_config(self._values, param_dtype="bfloat16" if bfloat16 else "float32")

    def check(self, config: TransformerConfig) -> None:
        """Whether the tensors are those of a model of these dimensions.

        Raises:
          HuggingFaceError: one is missing, of another shape, or one too many.
        """
        specs = tensor_specs(config)
        for name, shape in specs:
            found = self._tensors.shape(name)
            if found != shape:
                raise HuggingFaceError(
                    f"{self._folder}: {name} has shape {found}, config.json says {shape}"
                )
        unknown = {
            name
            for name in self._tensors.names.difference(spec.name for spec in specs)
            # Old files keep RoPE's frequencies; tied ones may store the shared matrix twice.
            if not name.endswith("rotary_emb.inv_freq") and name != "lm_head.weight"
        }
        if unknown:
            raise HuggingFaceError(
                f"{self._folder}: tensors of no parameter of this model: {sorted(unknown)[:5]}"
            )

    def read_block(self, block: Block, dtype: str) -> np.ndarray:
        """A block of our parameters, as `dtype`; `check` comes first."""
        rows = self._tensors.read(block.name, block.rows)
        return block.from_torch(rows).astype(NUMPY_DTYPES[dtype], copy=False)

    def read_params(self, config: TransformerConfig | None = None) -> Params:
        """The parameters, as arrays on the default device.

        Args:
          config: `read_config()`, or that with another `param_dtype`.

        Raises:
          HuggingFaceError: a tensor is missing, damaged, of another shape, or one too many.
        """
        config = config or self.read_config()
        self.check(config)
        dtype = config.param_dtype

        def read(abstract: jax.ShapeDtypeStruct, parts: list[Block]) -> jax.Array:
            array = np.empty(abstract.shape, abstract.dtype)
            for block in parts:
                array[block.index] = self.read_block(block, dtype)
            return jax.device_put(array)

        parts = dict(by_parameter(config))
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: read(leaf, parts[tuple(key.key for key in path)]),
            abstract_params(config),
        )
