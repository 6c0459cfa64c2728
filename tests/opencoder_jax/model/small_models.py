"""Real models of a few thousand parameters, and a real tokenizer, for tests."""

import dataclasses
import functools
import inspect
import sysconfig
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from opencoder_jax.configuration import configure
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.model.transformer import Params, abstract_params
from opencoder_jax.train_tokenizer import train_model
from opencoder_jax.training.checkpoints import CheckpointMetadata, CheckpointWriter

# Grouped queries, untied; heads * head_dim is not emb_dim, as in no Llama but allowed.
GROUPED = TransformerConfig(
    vocab_size=640,
    num_layers=2,
    emb_dim=24,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=40,
    rope_theta=10000.0,
    max_length=192,
    init_std=0.2,  # Logits of order 1, so that a wrong one shows.
    dtype="float32",
)
TIED_MULTI_HEAD = dataclasses.replace(
    GROUPED, num_kv_heads=4, tie_embeddings=True, rope_theta=500000.0
)


def configured_model(name: str) -> TransformerConfig:
    """The model of `gin_configs/models/<name>.gin`."""
    bindings = ["model_of_file.model = %MODEL"]
    return configure(model_of_file, gin_files=[f"models/{name}.gin"], bindings=bindings)()


def model_of_file(model: TransformerConfig) -> TransformerConfig:
    return model


@functools.cache
def params_of(config: TransformerConfig) -> Params:
    """Random parameters; from numpy, because compiling `init_params` takes seconds."""
    generator = np.random.default_rng(7)

    def draw(path: tuple, array: jax.ShapeDtypeStruct) -> jax.Array:
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(
            around + config.init_std * generator.normal(size=array.shape), array.dtype
        )

    return jax.tree_util.tree_map_with_path(draw, abstract_params(config))


def standard_library_texts(count: int) -> list[str]:
    """Python files that every machine has, in a fixed order."""
    folder = Path(sysconfig.get_path("stdlib"))
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))[:count]]


def make_tokenizer(folder: Path, vocab_size: int = GROUPED.vocab_size) -> SentencePieceTokenizer:
    folder.mkdir(parents=True)
    sample = [text[:8000] for text in standard_library_texts(40)]
    model = train_model(sample, vocab_size=vocab_size, character_coverage=0.9995)
    (folder / "tokenizer.model").write_bytes(model)
    return SentencePieceTokenizer(folder)


def make_model_directory(folder: Path, config: TransformerConfig = GROUPED) -> LoadedModel:
    """A model directory as training leaves it, with random parameters."""
    tokenizer = make_tokenizer(folder / "tokenizer", config.vocab_size)
    params = params_of(config)
    metadata = CheckpointMetadata(
        **{
            **{name: {} for name in inspect.signature(CheckpointMetadata).parameters},
            "step": 3,
            "model": config.to_json(),
            "tokenizer_fingerprint": tokenizer.fingerprint,
            "phases": [],
        }
    )
    with CheckpointWriter(folder) as checkpoints:
        checkpoints.save(params, None, metadata)
    return LoadedModel(config, params, tokenizer, 3, (1,), (2, tokenizer.im_end))
