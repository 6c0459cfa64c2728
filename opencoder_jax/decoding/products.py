"""A product with a matrix of weights, however they are stored: the time of a decode step.

A `Matrix` has its rows contiguous, one for each output, in float32, bfloat16, or int8 with
a factor a row (absmax over 127, as in LLM.int8, arXiv 2208.07339). On one CPU the product
is `native`'s kernel, elsewhere XLA's, which widens the weights where it reads them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

WEIGHTS = ("float32", "bfloat16", "int8")
KERNELS = ("native", "xla")


class Matrix(NamedTuple):
    """Weights of a product.

    Attributes:
      values: [N, D]: N outputs of D inputs each.
      scales: [N], what row n of int8 `values` is to be multiplied with; [0] for others.
    """

    values: Float[Array, "N D"]
    scales: Float[Array, "N"]


def make_matrix(values_ND: Float[Array, "N D"], weights: str) -> Matrix:
    """Stores a matrix as one of `WEIGHTS`."""
    if weights != "int8":
        return Matrix(values_ND.astype(weights), jnp.zeros(0, jnp.float32))
    values_ND = values_ND.astype(jnp.float32)
    scales_N = jnp.max(jnp.abs(values_ND), axis=1) / 127
    rounded_ND = jnp.rint(values_ND / jnp.where(scales_N > 0, scales_N, 1)[:, None])
    return Matrix(rounded_ND.astype(jnp.int8), scales_N)


def multiply(
    x_RD: Float[Array, "R D"],
    matrix: Matrix,
    active_R: Bool[Array, "R"],
    dtype: str,
    kernels: str,
) -> Float[Array, "R N"]:
    """`x @ matrix.T` in float32; rows that are not active are anything.

    Args:
      x_RD: inputs.
      matrix: weights; with `xla` they may have more columns, of zeros.
      active_R: rows whose result somebody reads.
      dtype: what inputs are rounded to before.
      kernels: one of `KERNELS`.
    """
    x_RD = x_RD.astype(dtype)
    if kernels == "native":
        out = jax.ShapeDtypeStruct((x_RD.shape[0], matrix.values.shape[0]), jnp.float32)
        return jax.ffi.ffi_call("opencoder_linear", out)(x_RD, *matrix, active_R)
    x_RD = jnp.pad(x_RD, ((0, 0), (0, matrix.values.shape[1] - x_RD.shape[1])))
    product_RN = jnp.einsum(
        "RD,ND->RN", x_RD, matrix.values.astype(dtype), preferred_element_type=jnp.float32
    )
    return product_RN * matrix.scales if matrix.scales.size else product_RN
