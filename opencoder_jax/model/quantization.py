"""int8 and fp8 products with the layers' matrices, through Qwix: training only.

Both operands of a product are rounded to the narrow type as it runs, with one scale for each
token and each output channel (the largest absolute value), and so are gradients on the way
back; sums are int32 or float32. Master weights, embeddings, unembedding, norms and attention
keep their types. TPUs since v5e multiply int8 at twice the rate of bfloat16 (v7x: fp8).
What it does to a loss curve is measured in docs/model.md.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from opencoder_jax.errors import InputError

# Types of operands and, on the way back, of gradients: e5m2 trades a bit for range.
_TYPES: dict[str, tuple[Any, Any]] = {
    "int8": (jnp.int8, jnp.int8),
    "fp8": (jnp.float8_e4m3fn, jnp.float8_e5m2),
}
# `transformer.Product`s of a layer, by the names of their modules.
_PRODUCTS = r"layers/(attention|mlp)/(query|key|value|out|gate|up|down)"


class QuantizationError(InputError):
    """Qwix, which quantization needs, is not installed."""


def quantized(decoder: nn.Module, quantization: str) -> nn.Module:
    """`decoder` with its layers' products in a narrow type; `none` leaves it alone.

    Raises:
      QuantizationError: Qwix is not installed.
    """
    if quantization == "none":
        return decoder
    try:
        import qwix  # Only who trains this way needs it.
    except ImportError as error:
        raise QuantizationError(
            f"quantization={quantization!r} needs the package qwix: install opencoder-jax[train]"
        ) from error
    operands, gradients = _TYPES[quantization]
    rule = qwix.QtRule(
        module_path=_PRODUCTS,
        op_names=("einsum",),
        weight_qtype=operands,
        act_qtype=operands,
        bwd_qtype=gradients,
    )
    return qwix.quantize_model(decoder, qwix.QtProvider([rule]))
