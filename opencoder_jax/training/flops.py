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

# bf16 operations a second of one JAX device, by the beginning of `jax.Device.device_kind`, the
# longer ones first. Sources: cloud.google.com/tpu/docs (a v4, v5p or v6e chip is one device, a
# tpu7x chip two), NVIDIA's data sheets (dense, SXM). Devices that are not here have no MFU.
_PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 2307e12 / 2,
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
    """bf16 operations a second of one device; None where the table does not know it."""
    for kind in sorted(_PEAK_FLOPS, key=len, reverse=True):
        if device_kind.startswith(kind):
            return _PEAK_FLOPS[kind]
    return None


def mfu(flops: float, seconds: float, peak_flops: float) -> float:
    """Model FLOPs utilisation, 0 to 1: operations done in this time over those that could be.

    Args:
      flops: of the model, see `token_flops`.
      seconds: that they took.
      peak_flops: a second, of all devices that took part.
    """
    return flops / seconds / peak_flops
