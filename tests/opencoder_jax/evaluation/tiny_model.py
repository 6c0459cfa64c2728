"""A model of a few thousand parameters with a real tokenizer, and its held-out set."""

import functools
import tempfile
from pathlib import Path

import jax
import numpy as np

from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.packed import PackedSequence, encode_packed
from opencoder_jax.formats.sentencepiece_tokenizer import BOS, EOS, PAD, SentencePieceTokenizer
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.formats.tokenizer import MODEL_NAME
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.model.transformer import init_params
from opencoder_jax.train_tokenizer import train_model
from opencoder_jax.training.checkpoints import CheckpointMetadata, CheckpointWriter

SEQUENCE_LENGTH = 96
TEXTS = {
    "python": ("def add(a, b):\n    return a + b\n", "for i in range(3):\n    print(i)\n"),
    "c": ("int main(void) { return 0; }\n",),
    "markdown": ("# Überschrift\n\nEin kurzer Text.\n",),
}


@functools.cache
def tiny_model(seed: int = 0) -> LoadedModel:
    tokenizer = tiny_tokenizer()
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=2,
        emb_dim=16,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        mlp_dim=32,
        rope_theta=10_000.0,
        max_length=512,
        init_std=0.3,
        dtype="float32",
    )
    return LoadedModel(
        config=config,
        params=init_params(config, jax.random.key(seed)),
        tokenizer=tokenizer,
        step=seed,
        bos_ids=(BOS,),
        eos_ids=(EOS, tokenizer.im_end),
    )


@functools.cache
def tokenizer_folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    texts = [text for group in TEXTS.values() for text in group] * 40
    (folder / MODEL_NAME).write_bytes(train_model(texts, 320, 1.0))
    return folder


def tiny_tokenizer() -> SentencePieceTokenizer:
    return SentencePieceTokenizer(tokenizer_folder())


def heldout_sequences() -> list[PackedSequence]:
    """Each text once; the python texts share a sequence with the c one."""
    documents = [(language, text) for language, group in TEXTS.items() for text in group]
    return [_sequence(documents[:3]), _sequence(documents[3:])]


def _sequence(documents: list[tuple[str, str]]) -> PackedSequence:
    tokenizer = tiny_tokenizer()
    pieces = [[BOS, *tokenizer.encode(text), EOS] for _, text in documents]
    padding = SEQUENCE_LENGTH + 1 - sum(len(piece) for piece in pieces)
    numbers = range(1, len(pieces) + 1)
    return PackedSequence(
        tokens=_joined(pieces, [PAD] * padding),
        segment_ids=_joined(
            [[n] * len(piece) for n, piece in zip(numbers, pieces, strict=True)], [0] * padding
        ),
        positions=_joined([list(range(len(piece))) for piece in pieces], [0] * padding),
        loss_weights=_joined([[0] + [1] * (len(piece) - 1) for piece in pieces], [0] * padding),
        document_ids=tuple(f"{n:032x}" for n in numbers),
        document_languages=tuple(language for language, _ in documents),
        document_bytes=tuple(len(text.encode()) for _, text in documents),
    )


def _joined(pieces: list[list[int]], padding: list[int]) -> np.ndarray:
    return np.asarray([value for piece in pieces for value in piece] + padding, np.int32)


def write_packed_set(folder: Path, sequences: list[PackedSequence]) -> None:
    """As `beam_pipelines.pack` leaves a set, its training side empty."""
    folder.mkdir(parents=True)
    write_shard(folder / shard_name("train", 0, 1), [])
    write_shard(folder / shard_name("heldout", 0, 1), [encode_packed(s) for s in sequences])
    length = sequences[0].tokens.shape[0] - 1 if sequences else SEQUENCE_LENGTH
    write_manifest(
        folder,
        job="pack",
        config={"sequence_length": length},
        inputs={"tokenizer": tiny_tokenizer().fingerprint},
        counts={"train": {"sequences": 0}, "heldout": {"sequences": len(sequences)}},
    )


def write_model_dir(folder: Path, seed: int = 0) -> None:
    """As training leaves a model directory, as far as evaluation reads it."""
    model = tiny_model(seed)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = CheckpointMetadata(
        step=seed + 1,
        tokens_by_source={},
        model=model.config.to_json(),
        tokenizer_fingerprint=model.tokenizer.fingerprint,
        data={},
        phases=[],
    )
    with CheckpointWriter(folder) as writer:
        writer.save(model.params, None, metadata)
    (folder / "tokenizer").mkdir(exist_ok=True)
    model_file = tokenizer_folder() / MODEL_NAME
    (folder / "tokenizer" / MODEL_NAME).write_bytes(model_file.read_bytes())
