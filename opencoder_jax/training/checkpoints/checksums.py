"""Numbers that say whether arrays are what they were.

`checksum` is what a checkpoint keeps of each of its arrays: taken on the devices that hold
them, in one pass over memory, whatever mesh they lie on. `params_sha256` is what two models
are compared by; it brings every array to the host.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt

from opencoder_jax.distributed import host_parts


def checksum(tree: Any) -> dict[str, int]:
    """A number for each array that any change of one element changes.

    The sum modulo 2^32 of the elements' bits, each times an odd number from its place:
    integer addition has no order, so shards and meshes give the same.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = jax.device_get(_checksums([leaf for _, leaf in leaves]))
    return {
        jax.tree_util.keystr(path): int(value)
        for (path, _), value in zip(leaves, sums, strict=True)
    }


@jax.jit
def _checksums(arrays: list[Array]) -> list[UInt[Array, ""]]:
    return [_checksum(array) for array in arrays]


def _checksum(array: Array) -> UInt[Array, ""]:
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis, size in enumerate(array.shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        place = place * jnp.uint32(size) + index
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def params_sha256(params: Any) -> str:
    """SHA-256 over all arrays in the order of their paths: equal models, equal digests.

    Array after array is brought to the host; it works for arrays of any mesh. Where there are
    several hosts, all have to call it.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        for part in host_parts(leaf):
            digest.update(np.ascontiguousarray(part).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()
