"""Small GGUF files, written as llama.cpp's converter writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import pre_tokenizers

from opencoder_jax.huggingface.folder import by_parameter
from opencoder_jax.model.config import TransformerConfig
from tests.opencoder_jax.model.small_models import params_of

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("1 2", "12 3", "123 4", "Ġ Ġ")
# `xyz` comes of no merge.
WORDS = (*sorted(pre_tokenizers.ByteLevel.alphabet()), "12", "123", "1234", "ĠĠ", "xyz")
TOKENS = (*SPECIAL, *WORDS, "<think>")
TYPES = (*[3] * len(SPECIAL), *[1] * len(WORDS), 4)
TEMPLATE = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
# Rows are whole blocks of Q8_0 (32), those of `down` of the K types (256).
MODEL = TransformerConfig(
    vocab_size=len(TOKENS),
    num_layers=2,
    emb_dim=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=256,
    rope_theta=10000.0,
    max_length=64,
    init_std=0.2,
    tie_embeddings=True,
    dtype="float32",
)
Q8_0 = "blk.1.ffn_gate.weight"


def metadata(config: TransformerConfig = MODEL) -> dict[str, Any]:
    return {
        "llama.block_count": config.num_layers,
        "llama.context_length": config.max_length,
        "llama.embedding_length": config.emb_dim,
        "llama.feed_forward_length": config.mlp_dim,
        "llama.attention.head_count": config.num_heads,
        "llama.attention.head_count_kv": config.num_kv_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.freq_base": config.rope_theta,
        "llama.rope.dimension_count": config.head_dim,
        "llama.vocab_size": config.vocab_size,
        "llama.expert_count": 0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": list(TOKENS),
        "tokenizer.ggml.token_type": list(TYPES),
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    }


def tensors(config: TransformerConfig = MODEL) -> dict[str, np.ndarray]:
    """The parameters of `params_of(config)`, float32, under llama.cpp's names."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_layers)
    rows: dict[str, list[np.ndarray]] = {}
    for path, blocks in by_parameter(config):
        array = params_of(config)
        for key in path:
            array = array[key]
        for block in blocks:
            part = block.to_torch(np.asarray(array[block.index]))
            if path[-2] in ("query", "key"):
                # As `LlamaModel.permute` of convert_hf_to_gguf.py.
                heads = len(part) // config.head_dim
                halves = part.reshape(heads, 2, config.head_dim // 2, -1)
                part = halves.swapaxes(1, 2).reshape(part.shape)
            name = names.get_name(block.name, try_suffixes=(".weight",))
            rows.setdefault(name, []).append(part)
    return {name: np.ascontiguousarray(np.concatenate(parts)) for name, parts in rows.items()}


def write(
    path: Path,
    *,
    config: TransformerConfig = MODEL,
    architecture: str = "llama",
    values: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, np.ndarray]], None] | None = None,
    types: Mapping[str, gguf.GGMLQuantizationType] | None = None,
) -> Path:
    """A model of `config`, `Q8_0` quantized.

    Args:
      path: of the file.
      config: the dimensions.
      architecture: as the file calls it.
      values: of the metadata, changed; None leaves one out.
      change: changes the tensors.
      types: of tensors given as bytes.
    """
    writer = gguf.GGUFWriter(path, architecture)
    add = {str: writer.add_string, bool: writer.add_bool, float: writer.add_float32}
    for key, value in (metadata(config) | dict(values or {})).items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            add.get(type(value), writer.add_uint32)(key, value)
    arrays = tensors(config)
    if change:
        change(arrays)
    for name, array in arrays.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if name == Q8_0 else (types or {}).get(name)
        data = gguf.quantize(array, kind) if name == Q8_0 else array
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
