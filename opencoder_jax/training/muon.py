"""Muon's update: the nearest orthogonal matrix to the momentum, by Newton-Schulz iterations.

Keller Jordan's Muon (kellerjordan.github.io/posts/muon), with the update scaled as Moonlight
does (arXiv 2502.16982 §2.2): times `update_rms` sqrt(max(rows, columns)), so that its elements
have the size of AdamW's and learning rate and weight decay carry over. Every weight of a layer
is one matrix of `embed` by all its other axes: the query's [D, H, h] is the D x (H h) matrix of
all heads, the output's [H, h, D] its transpose; the stacked layers are matrices of their own.
optax.contrib.muon computes the same in float32; here iterations are in bfloat16, as Jordan's
are, and each device takes some of the layers, not a part of every matrix. Next: `optimizers`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

# Of Jordan's quintic: five iterations bring singular values from 0.01 to 1 near 1 (0.7 to 1.2).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_FSDP_AXIS = "fsdp"


def is_layer_matrix(axes: Sequence[str]) -> bool:
    """Whether these are the logical axes of a weight that Muon is for: matrices inside layers.

    Embedding and unembedding are lookups of single rows and columns; they stay with AdamW.
    """
    return "layers" in axes and "embed" in axes and len(axes) > 2


def orthogonalized(
    update: Float[Array, "..."], axes: Sequence[str], iterations: int
) -> Float[Array, "..."]:
    """The matrices in `update`, each with its singular values brought near 1.

    Args:
      update: one weight of all layers.
      axes: its logical axes; see `is_layer_matrix`.
      iterations: of Newton-Schulz.
    """
    front = (axes.index("layers"), axes.index("embed"))
    moved = jnp.moveaxis(update, front, (0, 1))
    matrices_LDN = moved.reshape(*moved.shape[:2], -1)
    result_LDN = newton_schulz(_one_layer_a_device(matrices_LDN), iterations)
    return jnp.moveaxis(result_LDN.reshape(moved.shape), (0, 1), front).astype(update.dtype)


def rms_scale(shape: Sequence[int], axes: Sequence[str], update_rms: float) -> float:
    """What an orthogonal matrix is multiplied with for elements of this root mean square."""
    rows = shape[axes.index("embed")]
    columns = 1
    for size, axis in zip(shape, axes, strict=True):
        columns *= 1 if axis in ("layers", "embed") else size
    return update_rms * max(rows, columns) ** 0.5


def newton_schulz(
    matrices: Float[Array, "L R C"],
    iterations: int,
    dtype: jax.typing.DTypeLike = jnp.bfloat16,
) -> Float[Array, "L R C"]:
    """U V^T of each matrix U S V^T, roughly: singular values between 0.7 and 1.2.

    Args:
      matrices: any scale; a matrix of zeros stays one.
      iterations: five are usual.
      dtype: of the iterations.
    """
    # Singular values have to be below 1 at first; the product of the short sides is cheaper.
    norms = jnp.linalg.norm(matrices.astype(jnp.float32), axis=(1, 2), keepdims=True)
    x = (matrices / jnp.maximum(norms, 1e-30)).astype(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.swapaxes(1, 2)
    a, b, c = _COEFFICIENTS
    for _ in range(iterations):
        gram = jnp.einsum("LRC,LQC->LRQ", x, x)
        polynomial = b * gram + c * jnp.einsum("LRQ,LQP->LRP", gram, gram)
        x = a * x + jnp.einsum("LRQ,LQC->LRC", polynomial, x)
    return x.swapaxes(1, 2) if tall else x


def _one_layer_a_device(matrices_LDN: Float[Array, "L D N"]) -> Float[Array, "L D N"]:
    """Split by layers where a mesh with an fsdp axis is active.

    The matrices come split by rows; iterating on them so would gather every matrix in every
    iteration. L need not be a multiple of the devices.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape.get(_FSDP_AXIS, 1) == 1:
        return matrices_LDN
    return jax.lax.with_sharding_constraint(matrices_LDN, PartitionSpec(_FSDP_AXIS))
