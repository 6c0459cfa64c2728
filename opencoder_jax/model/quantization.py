"""int8 products with the layers' matrices, through Qwix: training only.

Both operands of a product are rounded to int8 as it runs, with one scale for each token and
each output channel (the largest absolute value), and so are gradients on the way back. Sums are
int32 in the traced program; the TPU compiler gives products of int8 out in bfloat16. Master
weights, embeddings, unembedding, norms and attention keep their types.
Some TPUs (v5e, v6e) multiply int8 at twice the rate of bfloat16. What it does to a loss
curve, and why fp8 is not here, is measured in docs/model.md.
"""

from flax import linen as nn

from opencoder_jax.errors import InputError

# `transformer.Product`s of a layer, by the names of their modules.
_PRODUCTS = r"layers/(attention|mlp)/(query|key|value|out|gate|up|down)"


class QuantizationError(InputError):
    """Qwix, which quantization needs, is not installed."""


def quantized(decoder: nn.Module, quantization: str) -> nn.Module:
    """`decoder` with its layers' products in `int8`; `none` leaves it alone.

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
    rule = qwix.QtRule(
        module_path=_PRODUCTS,
        op_names=("einsum",),
        weight_qtype=quantization,
        act_qtype=quantization,
        bwd_qtype=quantization,
    )
    return qwix.quantize_model(decoder, qwix.QtProvider([rule]))
