"""Arithmetic of a training step, counted from the model, and the chips' peaks: MFU's two sides.

The convention (docs/training.md): a token costs 6 operations for each parameter of a matrix
product (2 forward, 4 backward; the unembedding is one, the embedding's lookup is none) and
causal attention over the whole sequence, halved for the mask. What is computed again in the
backward pass, the optimizer, norms and softmax do not count, nor does attention that the
borders of packed documents save. PaLM (App. B) and Google's published tables do not halve:
their MFU of the same speed is higher. MaxText halves since 2025.
Compiled programs' own figures are of no use here: XLA counts the body of a loop once.
"""

from typing import NamedTuple

from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.precompilation.chips import chips

# What `jax.Device.device_kind` begins with, the longer names before the shorter, to the kind in
# `precompilation/chips.json`; a device is a chip, of tpu7x half a chip.
_TPU_KINDS = {
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v4": "v4",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}
# bf16 operations a second, dense: NVIDIA's data sheets of the SXM modules.
_GPU_PEAK_FLOPS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


class TokenFlops(NamedTuple):
    """Operations for one token of a training step: forward, backward and their sum.

    Attributes:
      matmul: products with parameters.
      attention: scores and their product with the values, causal.
    """

    matmul: float
    attention: float

    @property
    def total(self) -> float:
        return self.matmul + self.attention


def matmul_parameters(model: TransformerConfig) -> int:
    """Parameters that a token is multiplied with: all but norm scales and the lookup table."""
    norms = (2 * model.num_layers + 1) * model.emb_dim
    # A tied table is used twice, as lookup and as product.
    lookup = 0 if model.tie_embeddings else model.vocab_size * model.emb_dim
    return model.parameter_count() - norms - lookup


def token_flops(model: TransformerConfig, sequence_length: int) -> TokenFlops:
    """Operations of training on one token of sequences of S = `sequence_length` tokens."""
    # Scores and mixing are 2 S H h each a layer and token, half of them masked; the backward
    # pass costs twice the forward one.
    scores = 2 * sequence_length * model.num_heads * model.head_dim
    return TokenFlops(
        matmul=6.0 * matmul_parameters(model),
        attention=3.0 * model.num_layers * scores,
    )


def peak_flops(device_kind: str) -> float | None:
    """bf16 operations a second of one JAX device; None for one that no table has."""
    for beginning, kind in _TPU_KINDS.items():
        if device_kind.startswith(beginning):
            chip = chips()[kind]
            return chip.bf16_flops / chip.devices_per_chip
    gpus = (peak for kind, peak in _GPU_PEAK_FLOPS.items() if device_kind.startswith(kind))
    return next(gpus, None)


def mfu(flops: float, seconds: float, peak_flops: float) -> float:
    """Model FLOPs utilisation, 0 to 1: operations done in this time over those that could be.

    Args:
      flops: of the model, see `token_flops`.
      seconds: that they took.
      peak_flops: a second, of all devices that took part.
    """
    return flops / seconds / peak_flops
