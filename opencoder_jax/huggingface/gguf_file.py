"""A GGUF file of a Llama-family model: its dimensions, and its numbers under Hugging Face's names.

GGUF is llama.cpp's format: metadata, and tensors that are mostly quantized. The package
`gguf` reads and dequantizes them with numpy alone. llama.cpp's RoPE turns neighbours, ours
(and Hugging Face's) the two halves of a head, so the rows of its queries and keys come in
another order, which is undone here. Next: `gguf_tokenizer`; format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from opencoder_jax.errors import InputError
from opencoder_jax.huggingface.folder import ReadParameter
from opencoder_jax.huggingface.llama import Block, from_llama_config, tensor_specs
from opencoder_jax.model.config import TransformerConfig

# `llama.*` to what `config.json` calls it.
_DIMENSIONS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_OPTIONAL = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
}
# All of a head, or not of this family.
_HEAD_SIZES = ("attention.value_length", "rope.dimension_count")
_WITHOUT_MEANING = ("vocab_size", "tensor_data_layout")
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"


class GgufError(InputError):
    """A GGUF file that is damaged, or whose model is of another kind."""


class _Reader(gguf.GGUFReader):
    """gguf's own takes what is there where a file ends too early."""

    def _get(
        self, offset: int, dtype: npt.DTypeLike, count: int = 1, override_order: Any = None
    ) -> npt.NDArray[Any]:
        end = int(offset) + np.dtype(dtype).itemsize * int(count)
        if end > len(self.data):
            raise ValueError(f"it ends at byte {len(self.data):,} and goes on to {end:,}")
        return super()._get(offset, dtype, count, override_order)


class GgufFile:
    """A model in llama.cpp's format: tied or untied, any grouping of heads.

    Attributes:
      path: of the file.

    Raises:
      GgufError: it is damaged, cut short, or of another architecture.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        try:
            reader = _Reader(self.path)
            self._values = {name: field.contents() for name, field in reader.fields.items()}
        except (ValueError, IndexError, KeyError, OverflowError, RecursionError) as error:
            raise GgufError(f"{self.path} is no GGUF file that can be read: {error}") from error
        if reader.byte_order != "I":
            raise GgufError(f"{self.path} is of a machine with the other order of bytes")
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        architecture = self.value("general.architecture")
        if architecture != "llama":
            raise self.error(
                f"the model's architecture is {architecture!r}; only llama can be read"
            )

    def value(self, key: str, default: Any = None) -> Any:
        """Of the metadata."""
        return self._values.get(key, default)

    def error(self, what: str) -> GgufError:
        return GgufError(f"{self.path}: {what}")

    def read_config(self, param_dtype: str) -> TransformerConfig:
        """The model's dimensions.

        Raises:
          GgufError: one is missing, or the model has something that ours does not have.
        """
        values: dict[str, Any] = {"model_type": "llama", "tie_word_embeddings": True}
        for key, name in (_DIMENSIONS | _OPTIONAL).items():
            value = self.value(f"llama.{key}")
            if value is None and key in _OPTIONAL:
                continue
            if not isinstance(value, int | float):
                raise self.error(f"llama.{key} is {value!r}, expected a number")
            values[name] = value
        if _EMBEDDING not in self._tensors:
            raise self.error(f"no tensor {_EMBEDDING!r}")
        # Before anything is made for each of billions of layers of a damaged file.
        layers = {name.split(".")[1] for name in self._tensors if name.startswith("blk.")}
        if len(layers) != values["num_hidden_layers"]:
            raise self.error(
                f"llama.block_count is {values['num_hidden_layers']}, and there are tensors of "
                f"{len(layers)} layers"
            )
        values["vocab_size"] = self._shape(_EMBEDDING)[0]
        values["tie_word_embeddings"] = _OUTPUT not in self._tensors
        config = from_llama_config(values, param_dtype=param_dtype)
        self._refuse_other_features(config)
        return config

    def check(self, config: TransformerConfig) -> None:
        """Whether the tensors are those of a model of these dimensions and can be dequantized.

        Raises:
          GgufError: one is missing, of another shape, of an unknown type, or one too many.
        """
        names = _Names(config)
        specs = {names.of(spec.name): spec.shape for spec in tensor_specs(config)}
        for name, shape in specs.items():
            if name not in self._tensors:
                raise self.error(f"no tensor {name!r}")
            if self._shape(name) != shape:
                raise self.error(f"{name} has shape {self._shape(name)}, the metadata say {shape}")
            tensor = self._tensors[name]
            try:
                gguf.dequantize(tensor.data[:1], tensor.tensor_type)
            except NotImplementedError as error:
                raise self.error(
                    f"{name} is stored as {tensor.tensor_type.name}, which cannot be read"
                ) from error
        if unknown := sorted(self._tensors.keys() - specs.keys()):
            raise self.error(f"tensors of no parameter of this model: {unknown[:5]}")

    def parameters(self, config: TransformerConfig) -> ReadParameter:
        """Gives the model's parameters in float32, a block at a time; `check` comes first."""
        names = _Names(config)

        def read(path: tuple[str, ...], blocks: Sequence[Block]) -> Iterator[np.ndarray]:
            for block in blocks:
                tensor = self._tensors[names.of(block.name)]
                rows = gguf.dequantize(tensor.data[block.rows], tensor.tensor_type)
                if path[-2:] in (("query", "kernel"), ("key", "kernel")):
                    rows = _halves_apart(rows, config.head_dim)
                yield block.from_torch(rows)

        return read

    def _shape(self, name: str) -> tuple[int, ...]:
        """As torch has it: the axis whose numbers lie side by side comes last."""
        return tuple(self._tensors[name].shape.tolist()[::-1])

    def _refuse_other_features(self, config: TransformerConfig) -> None:
        for key in _HEAD_SIZES:
            size = self.value(f"llama.{key}", config.head_dim)
            if size != config.head_dim:
                raise self.error(f"llama.{key} is {size}, expected a head's {config.head_dim}")
        known = {*_DIMENSIONS, *_OPTIONAL, *_HEAD_SIZES, *_WITHOUT_MEANING}
        # Experts, RoPE scaling, sliding windows, ...: present and zero where there are none.
        other = {
            key: value
            for key, value in self._values.items()
            if key.startswith("llama.")
            and key.removeprefix("llama.") not in known
            and value
            and value != "none"
        }
        if other:
            raise self.error(f"{other} is not of this model family")


class _Names:
    """Hugging Face's names of tensors as llama.cpp's."""

    def __init__(self, config: TransformerConfig):
        self._map = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_layers)

    def of(self, name: str) -> str:
        found = self._map.get_name(name, try_suffixes=(".weight",))
        assert found, name
        return found


def _halves_apart(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of each head, [H * K, D]: 0, K/2, 1, K/2 + 1, ... back to 0, 1, 2, ..."""
    pairs = rows.reshape(-1, head_dim // 2, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
