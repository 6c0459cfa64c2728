"""Our model as `LlamaForCausalLM`: dimensions and parameters under its names, and back.

OpenCoder is released as Llama, so the mapping is exact: the same numbers under other
names and layouts. Torch stores a matrix as [outputs, inputs] and each layer for itself;
we store [inputs, outputs] with heads as axes of their own, all layers stacked. Both
directions read the one table below.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np

from opencoder_jax.errors import InputError
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params, abstract_params


class HuggingFaceError(InputError):
    """A Hugging Face folder that is damaged or of another architecture."""


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
            rms_norm_eps=values["rms_norm_eps"],
            tie_embeddings=bool(values.get("tie_word_embeddings", False)),
            init_std=values.get("initializer_range", 0.02),
            dtype=param_dtype,
            param_dtype=param_dtype,
        )
    except KeyError as error:
        raise HuggingFaceError(f"config.json has no {error}") from error


class TensorSpec(NamedTuple):
    """A tensor before it is made: its size is known, its numbers can wait."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]


def to_llama_tensors(config: TransformerConfig, params: Params) -> Iterator[TensorSpec]:
    """The parameters as Hugging Face's tensors, each made when it is asked for."""
    for entry in _entries(config):
        stacked = _lookup(params, entry.path)
        if "{layer}" not in entry.name:
            yield _tensor_spec(entry.name, entry, stacked.shape, stacked, None)
            continue
        for layer in range(config.num_layers):
            name = entry.name.format(layer=layer)
            yield _tensor_spec(name, entry, stacked.shape[1:], stacked, layer)


def from_llama_tensors(
    config: TransformerConfig, read: Callable[[str], np.ndarray]
) -> dict[str, Any]:
    """Our parameter tree, as numpy arrays of `config.param_dtype`.

    Args:
      config: the dimensions, from the folder's `config.json`.
      read: the tensor of a name.

    Raises:
      HuggingFaceError: a tensor is missing or of another shape.
    """
    dtype = ml_dtypes.bfloat16 if config.param_dtype == "bfloat16" else np.float32
    tree: dict[str, Any] = {}
    abstract = abstract_params(config)
    for entry in _entries(config):
        array = np.empty(_lookup(abstract, entry.path).shape, dtype)
        if "{layer}" in entry.name:
            for layer in range(config.num_layers):
                _fill(array[layer], entry, entry.name.format(layer=layer), read)
        else:
            _fill(array, entry, entry.name, read)
        branch = tree
        for key in entry.path[:-1]:
            branch = branch.setdefault(key, {})
        branch[entry.path[-1]] = array
    return tree


def tensor_names(config: TransformerConfig) -> set[str]:
    """Names of all tensors that a folder of this model has to hold."""
    return {
        entry.name.format(layer=layer)
        for entry in _entries(config)
        for layer in range(config.num_layers)
    }


def _entries(config: TransformerConfig) -> list[_Entry]:
    return [e for e in _TABLE if not (config.tie_embeddings and e.name == "lm_head.weight")]


def _lookup(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _torch_shape(shape: tuple[int, ...], input_axes: int) -> tuple[int, ...]:
    if not input_axes:
        return shape
    return math.prod(shape[input_axes:]), math.prod(shape[:input_axes])


def _tensor_spec(
    name: str, entry: _Entry, shape: tuple[int, ...], stacked: Any, layer: int | None
) -> TensorSpec:
    outputs_inputs = _torch_shape(shape, entry.input_axes)

    def make() -> np.ndarray:
        array = np.asarray(jax.device_get(stacked if layer is None else stacked[layer]))
        if not entry.input_axes:
            return array
        # safetensors writes the memory as it lies: a transposed view would come out wrong.
        return np.ascontiguousarray(array.reshape(outputs_inputs[::-1]).T)

    return TensorSpec(name, outputs_inputs, make)


def _fill(target: np.ndarray, entry: _Entry, name: str, read: Callable[[str], np.ndarray]) -> None:
    tensor = read(name)
    expected = _torch_shape(target.shape, entry.input_axes)
    if tensor.shape != expected:
        raise HuggingFaceError(f"{name}: shape {tensor.shape}, config.json says {expected}")
    target[...] = tensor.T.reshape(target.shape) if entry.input_axes else tensor
