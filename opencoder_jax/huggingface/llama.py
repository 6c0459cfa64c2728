"""Our model as `LlamaForCausalLM`: dimensions and parameters under its names, and back.

OpenCoder is released as Llama, so the mapping is exact: the same numbers under other
names and layouts. Torch stores a matrix as [outputs, inputs] and each layer for itself;
we store [inputs, outputs] with heads as axes of their own, all layers stacked. Both
directions read the one table below, as a sequence of `Block`s: a layer of a parameter, or
some rows of an embedding, so that nobody has to hold a whole model to convert it.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from opencoder_jax.errors import InputError
from opencoder_jax.huggingface.tensors import HuggingFaceError, TensorSpec
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import abstract_params


class _Entry(NamedTuple):
    """A parameter here and there.

    Attributes:
      path: in our tree.
      name: Hugging Face's; `{layer}` where each layer has one.
      input_axes: how many of our axes are inputs of the matrix; 0: stored as it is.
    """

    path: tuple[str, ...]
    name: str
    input_axes: int


NUMPY_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}

_LAYER = "model.layers.{layer}."
_TABLE = (
    _Entry(("token_embedder", "embedding"), "model.embed_tokens.weight", 0),
    _Entry(("layers", "pre_attention_norm", "scale"), _LAYER + "input_layernorm.weight", 0),
    _Entry(("layers", "attention", "query", "kernel"), _LAYER + "self_attn.q_proj.weight", 1),
    _Entry(("layers", "attention", "key", "kernel"), _LAYER + "self_attn.k_proj.weight", 1),
    _Entry(("layers", "attention", "value", "kernel"), _LAYER + "self_attn.v_proj.weight", 1),
    _Entry(("layers", "attention", "out", "kernel"), _LAYER + "self_attn.o_proj.weight", 2),
    _Entry(("layers", "pre_mlp_norm", "scale"), _LAYER + "post_attention_layernorm.weight", 0),
    _Entry(("layers", "mlp", "gate", "kernel"), _LAYER + "mlp.gate_proj.weight", 1),
    _Entry(("layers", "mlp", "up", "kernel"), _LAYER + "mlp.up_proj.weight", 1),
    _Entry(("layers", "mlp", "down", "kernel"), _LAYER + "mlp.down_proj.weight", 1),
    _Entry(("final_norm", "scale"), "model.norm.weight", 0),
    _Entry(("unembedding", "kernel"), "lm_head.weight", 1),
)


def to_llama_config(config: TransformerConfig, *, dtype: str) -> dict[str, Any]:
    """`config.json` without the tokenizer's ids; `dtype` is that of the tensors beside it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.emb_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        # transformers 4 reads these two, 5 reads them as the old form of rope_parameters.
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "max_position_embeddings": config.max_length,
        "rms_norm_eps": config.rms_norm_eps,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": dtype,
        "use_cache": True,
    }


def from_llama_config(values: Mapping[str, Any], *, param_dtype: str) -> TransformerConfig:
    """Dimensions in a Llama `config.json`; activations are of the parameters' type.

    Raises:
      HuggingFaceError: another architecture, or a feature that ours does not have.
    """
    if values.get("model_type") != "llama":
        raise HuggingFaceError(
            f"config.json: model_type {values.get('model_type')!r}; only llama can be read"
        )
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    refused = {
        "rope_scaling": rope_type if rope_type != "default" else None,
        "attention_bias": values.get("attention_bias"),
        "mlp_bias": values.get("mlp_bias"),
        "quantization_config": values.get("quantization_config"),
        "hidden_act": None if values.get("hidden_act", "silu") == "silu" else values["hidden_act"],
    }
    unsupported = {name: value for name, value in refused.items() if value}
    if unsupported:
        raise HuggingFaceError(f"config.json: {unsupported} is not of this model family")
    try:
        heads = values["num_attention_heads"]
        return TransformerConfig(
            vocab_size=values["vocab_size"],
            num_layers=values["num_hidden_layers"],
            emb_dim=values["hidden_size"],
            num_heads=heads,
            num_kv_heads=values.get("num_key_value_heads") or heads,
            head_dim=values.get("head_dim") or values["hidden_size"] // heads,
            mlp_dim=values["intermediate_size"],
            # transformers' default where a config.json names none.
            rope_theta=float(rope.get("rope_theta", values.get("rope_theta", 10000.0))),
            max_length=values["max_position_embeddings"],
            # From a GGUF it comes as float32's 9.999999747378752e-06: 1e-05 is meant.
            rms_norm_eps=float(str(np.float32(values["rms_norm_eps"]))),
            tie_embeddings=bool(values.get("tie_word_embeddings", False)),
            init_std=values.get("initializer_range", 0.02),
            dtype=param_dtype,
            param_dtype=param_dtype,
        )
    except KeyError as error:
        raise HuggingFaceError(f"config.json has no {error}") from error
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise HuggingFaceError(f"config.json has a value of another type: {error}") from error


# Rows of the embeddings in a block: 64 MB of float32 where D is 4,096.
_BLOCK_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a parameter here, and the same numbers there.

    Attributes:
      path: of our parameter.
      index: of the part in it, one slice for each axis.
      name: Hugging Face's tensor.
      rows: of that tensor, [outputs, inputs]; all of them but of embeddings.
      input_axes: how many of our axes are inputs of the matrix; 0: stored as it is.
    """

    path: tuple[str, ...]
    index: tuple[slice, ...]
    name: str
    rows: slice
    input_axes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of our part, a leading axis of one layer included."""
        return tuple(part.stop - part.start for part in self.index)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Our part as rows of the tensor (a view where it can be one)."""
        matrix = array.reshape(self._matrix_shape)
        return matrix.T if self.input_axes else matrix

    def from_torch(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the tensor as our part (a view where it can be one)."""
        return (rows.T if self.input_axes else rows).reshape(self.shape)

    @property
    def _matrix_shape(self) -> tuple[int, ...]:
        shape = self.shape[1:] if self.path[0] == "layers" else self.shape
        if not self.input_axes:
            return shape
        return math.prod(shape[: self.input_axes]), math.prod(shape[self.input_axes :])


def blocks(config: TransformerConfig) -> Iterator[Block]:
    """All parameters, each once: in the order of the table, of layers, of rows."""
    for entry, shape in _entries(config):
        whole = tuple(slice(0, size) for size in shape)
        if "{layer}" in entry.name:
            rows = slice(0, _torch_shape(shape[1:], entry.input_axes)[0])
            for layer in range(config.num_layers):
                index = (slice(layer, layer + 1), *whole[1:])
                name = entry.name.format(layer=layer)
                yield Block(entry.path, index, name, rows, entry.input_axes)
            continue
        outputs = shape[entry.input_axes]
        for start in range(0, outputs, _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, outputs))
            index = (*whole[: entry.input_axes], rows, *whole[entry.input_axes + 1 :])
            yield Block(entry.path, index, entry.name, rows, entry.input_axes)


def tensor_specs(config: TransformerConfig) -> list[TensorSpec]:
    """All tensors that a folder of this model has to hold, in the order of `blocks`."""
    specs = []
    for entry, shape in _entries(config):
        if "{layer}" in entry.name:
            names = [entry.name.format(layer=layer) for layer in range(config.num_layers)]
            shape = shape[1:]
        else:
            names = [entry.name]
        specs += [TensorSpec(name, _torch_shape(shape, entry.input_axes)) for name in names]
    return specs


def _entries(config: TransformerConfig) -> list[tuple[_Entry, tuple[int, ...]]]:
    """The rows of the table that this model has, each with our parameter's shape."""
    abstract = abstract_params(config)
    entries = []
    for entry in _TABLE:
        if not (config.tie_embeddings and entry.name == "lm_head.weight"):
            leaf: Any = abstract
            for key in entry.path:
                leaf = leaf[key]
            entries.append((entry, leaf.shape))
    return entries


def _torch_shape(shape: tuple[int, ...], input_axes: int) -> tuple[int, ...]:
    if not input_axes:
        return shape
    return math.prod(shape[input_axes:]), math.prod(shape[:input_axes])
