"""A whole Hugging Face folder: what `from_pretrained` reads, out and in.

Writing is `write_folder`. Reading is in parts: `HuggingFaceFolder` has the model, because
importing may want another numeric type than running; `read_tokenizer` has the tokenizer,
because a model directory may hold one of either kind.
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from opencoder_jax.formats.manifest import write_json
from opencoder_jax.formats.tokenizer import BOS, EOS, MODEL_NAME, PAD, Tokenizer, TokenizerError
from opencoder_jax.huggingface.llama import (
    NUMPY_DTYPES,
    Block,
    blocks,
    from_llama_config,
    tensor_specs,
    to_llama_config,
)
from opencoder_jax.huggingface.tensors import HuggingFaceError, TensorReader, TensorWriter
from opencoder_jax.huggingface.tokenizer import (
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    HuggingFaceTokenizer,
    write_tokenizer,
)
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params, abstract_params

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
TOKENIZER_FILES = (
    MODEL_NAME,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    GENERATION_CONFIG_FILE,
)

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
    eos_ids = [EOS, tokenizer.im_end]
    ids = {"bos_token_id": BOS, "eos_token_id": eos_ids, "pad_token_id": PAD}
    write_json(folder / CONFIG_FILE, {**to_llama_config(config, dtype=dtype), **ids})
    write_json(folder / GENERATION_CONFIG_FILE, {**ids, "do_sample": False})
    write_tokenizer(folder, tokenizer, config.max_length)
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


class TextEnds(NamedTuple):
    """A tokenizer, what stands before a text, and the tokens that end one."""

    tokenizer: Tokenizer | HuggingFaceTokenizer
    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]


def read_tokenizer(folder: str | os.PathLike) -> TextEnds:
    """The tokenizer in a folder: ours (`tokenizer.model`), or any `tokenizer.json`.

    Raises:
      InputError: there is none that can be read.
    """
    folder = Path(folder)
    try:
        ours = Tokenizer(folder)
        return TextEnds(ours, (BOS,), (EOS, ours.im_end))
    except TokenizerError:
        # A folder of another family may have a SentencePiece model that is not ours.
        if not (folder / TOKENIZER_FILE).exists():
            raise
    tokenizer = HuggingFaceTokenizer(folder)
    eos = _read_json_object(folder / GENERATION_CONFIG_FILE).get("eos_token_id")
    if eos is None:
        eos = _read_json_object(folder / CONFIG_FILE).get("eos_token_id")
    eos_ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
    return TextEnds(tokenizer, tokenizer.adds_at_start(), tuple(eos_ids))


def copy_tokenizer(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies what `read_tokenizer` needs."""
    for name in TOKENIZER_FILES:
        if (Path(source) / name).exists():
            shutil.copyfile(Path(source) / name, Path(target) / name)


class HuggingFaceFolder:
    """A Llama-family model in Hugging Face's layout: tied or untied, any grouping of heads."""

    @staticmethod
    def is_one(folder: str | os.PathLike) -> bool:
        return (Path(folder) / CONFIG_FILE).is_file()

    def __init__(self, folder: str | os.PathLike):
        self._folder = Path(folder)
        self._values = _read_json_object(self._folder / CONFIG_FILE)
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


def _read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object; empty where there is no file."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise HuggingFaceError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise HuggingFaceError(f"{path}: expected a JSON object")
    return value
