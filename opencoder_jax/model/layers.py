"""The mathematics of a layer outside attention, as pure functions of arrays.

Each is the Llama family's own definition, kept to the point where Hugging Face's
implementation gives the same float32 numbers (tests/opencoder_jax/model/test_parity.py):
norms and rotations are computed in float32 and rounded once, at the end.
Next: `attention`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def project(subscripts: str, x: Float[Array, "..."], weight: Float[Array, "..."]) -> Array:
    """`jnp.einsum(subscripts, x, weight)` whose gradients are einsums in their operands' axes.

    JAX's own gradient of `weight` is a product that is transposed afterwards. XLA's CPU
    compiler turns that into a strided pass over the larger operand, together with the
    activation's derivative where there is one (benchmarks.train_step).
    """
    return jnp.einsum(subscripts, x, weight)


def _project_forward(subscripts: str, x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return project(subscripts, x, weight), (x, weight)


def _project_backward(
    subscripts: str, operands: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, weight = operands
    inputs, out = subscripts.split("->")
    of_x, of_weight = inputs.split(",")
    return (
        jnp.einsum(f"{out},{of_weight}->{of_x}", cotangent, weight),
        jnp.einsum(f"{of_x},{out}->{of_weight}", x, cotangent),
    )


project.defvjp(_project_forward, _project_backward)


def rms_norm(x_BSD: Float[Array, "B S D"], scale_D: Float[Array, "D"], eps: float) -> Array:
    """`x / sqrt(mean(x^2) + eps) * scale`, in the dtype of `x_BSD` (arXiv 1910.07467)."""
    x = x_BSD.astype(jnp.float32)
    x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)
    return (x * scale_D.astype(jnp.float32)).astype(x_BSD.dtype)


class Rotation(NamedTuple):
    """Sine and cosine of the angle of each position and pair of dimensions, float32."""

    sin: Float[Array, "B S half"]
    cos: Float[Array, "B S half"]


def rotation(positions_BS: Int[Array, "B S"], head_dim: int, theta: float) -> Rotation:
    """The angles `position * theta^(-2i/h)` that `rope` rotates by, the same for all layers."""
    half = head_dim // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles_BSh = positions_BS[..., None].astype(jnp.float32) * frequencies
    return Rotation(jnp.sin(angles_BSh), jnp.cos(angles_BSh))


def rope(
    x_BSHh: Float[Array, "B S H h"], by: Rotation, scale: float = 1.0
) -> Float[Array, "B S H h"]:
    """Rotary position embedding (arXiv 2104.09864) in Llama's layout, times `scale`.

    Dimension i is paired with i + h/2. The other layout in use, pairs of neighbours, is
    another model for the same weights. Queries are scaled here, before the one rounding.
    """
    sin, cos = (scale * table[:, :, None] for table in by)
    first, second = jnp.split(x_BSHh.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BSHh.dtype)


def swiglu(gate_BSF: Float[Array, "B S F"], up_BSF: Float[Array, "B S F"]) -> Array:
    """`silu(gate) * up` (arXiv 2002.05202)."""
    return jax.nn.silu(gate_BSF) * up_BSF
