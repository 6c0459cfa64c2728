"""A model's parameters as decoding reads them: layer by layer, fused, in one of three types.

Training keeps the layers stacked and scans them. A step of decoding is all reading of
weights, and a scan would copy each layer's out of the stack first; so for XLA every layer has
arrays of its own. The native kernels index the stack, and get few arrays, for each costs
time in every step. Products with the same input are one matrix (query, key and value; gate
and up). Norms stay float32, and the embedding is never int8: a row of it is all that a
token knows. Next: `forward`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from opencoder_jax.decoding.products import Matrix, make_matrix
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params

TENSOR = "tensor"
# A TPU's vector registers: of an array whose last dimension is no multiple, its compiler would
# rather have the last but one there, and turn the whole around where rows of it are read.
LANES = 128


class LayerWeights(NamedTuple):
    """One layer.

    Attributes:
      attention_norm: scale, [D].
      query_key_value: [K*(G+2)*h, D]: for each key head its G query heads, itself, its values.
      attention_out: [D, H*h].
      mlp_norm: scale, [D].
      gate_up: [2*F, D]: for each shard its gates, then its ups.
      down: [D, F].
    """

    attention_norm: Float[Array, "D"]
    query_key_value: Matrix
    attention_out: Matrix
    mlp_norm: Float[Array, "D"]
    gate_up: Matrix
    down: Matrix


class DecoderWeights(NamedTuple):
    """A whole model.

    Attributes:
      embedding: [V, D]; D padded with zeros to a multiple of 128, but not for native kernels.
      layers: from the first to the last; of one that is stacked, arrays have an axis L before.
      final_norm: scale, [D].
      unembedding: [V, D]; the embedding itself where they are one.
    """

    embedding: Float[Array, "V D"]
    layers: tuple[LayerWeights, ...] | LayerWeights
    final_norm: Float[Array, "D"]
    unembedding: Matrix


def make_weights(
    config: TransformerConfig,
    params: Params,
    weights: str,
    mesh: Mesh | None = None,
    *,
    stack: bool = False,
) -> DecoderWeights:
    """Weights for decoding from parameters for training.

    Args:
      config: the model's dimensions.
      params: as `transformer.init_params` makes them.
      weights: `float32`, `bfloat16` or `int8`.
      mesh: where to put them: heads and MLP shared out over its axis `tensor`.
      stack: whether the layers are stacked, as the native kernels have them.
    """
    shards = mesh.shape[TENSOR] if mesh else 1
    put = _Placement(mesh)
    # Layer by layer, each its own program: never a second copy of the whole model.
    layer = jax.jit(_layer, static_argnums=(0, 2, 3))
    stacked = params["layers"]
    layers = tuple(
        put.layer(layer(config, jax.tree.map(lambda x, i=i: x[i], stacked), weights, shards))
        for i in range(config.num_layers)
    )
    embedding_VD = params["token_embedder"]["embedding"]
    table = "bfloat16" if weights == "int8" else weights
    embedding = embedding_VD.astype(table)
    if not stack:
        embedding = jnp.pad(embedding, ((0, 0), (0, -config.emb_dim % LANES)))
    if not config.tie_embeddings:
        unembedding = make_matrix(params["unembedding"]["kernel"].T, weights)
    elif weights == "int8":
        unembedding = make_matrix(embedding_VD, weights)
    else:  # The very array: it is the largest of a small model.
        unembedding = Matrix(embedding, jnp.zeros(0, jnp.float32))
    return put.around_layers(
        DecoderWeights(
            embedding=embedding,
            layers=_stacked(layers) if stack else layers,
            final_norm=params["final_norm"]["scale"].astype(jnp.float32),
            unembedding=unembedding,
        )
    )


def abstract_weights(config: TransformerConfig, weights: str, mesh: Mesh) -> DecoderWeights:
    """Shapes and places of `make_weights`' arrays, to compile for a mesh that is not there."""
    made = jax.eval_shape(
        lambda params: make_weights(config, params, weights), transformer.abstract_params(config)
    )
    put = _Placement(mesh, lambda x, to: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=to))
    placed = made._replace(layers=tuple(put.layer(layer) for layer in made.layers))
    return put.around_layers(placed)


def read_bytes(weights: DecoderWeights) -> int:
    """Bytes of weights that a step of decoding reads, whatever the number of rows."""
    read = jax.tree.leaves((weights.layers, weights.final_norm, weights.unembedding))
    return sum(array.nbytes for array in read)


def _stacked(layers: Sequence[LayerWeights]) -> LayerWeights:
    """One layer whose arrays are those of all, along a new first axis."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *layers)


def _layer(config: TransformerConfig, params: Params, weights: str, shards: int) -> LayerWeights:
    c = config
    K, G = c.num_kv_heads, c.num_heads // c.num_kv_heads
    attention, mlp = params["attention"], params["mlp"]
    query_DKGh = attention["query"]["kernel"].reshape(c.emb_dim, K, G, c.head_dim)
    key_DKh, value_DKh = attention["key"]["kernel"], attention["value"]["kernel"]
    fused = jnp.concatenate([query_DKGh, key_DKh[:, :, None], value_DKh[:, :, None]], axis=2)
    gate_DsF, up_DsF = (
        mlp[name]["kernel"].reshape(c.emb_dim, shards, c.mlp_dim // shards)
        for name in ("gate", "up")
    )
    gate_up = jnp.stack([gate_DsF, up_DsF], axis=2)
    return LayerWeights(
        attention_norm=params["pre_attention_norm"]["scale"].astype(jnp.float32),
        query_key_value=make_matrix(fused.reshape(c.emb_dim, -1).T, weights),
        attention_out=make_matrix(attention["out"]["kernel"].reshape(-1, c.emb_dim).T, weights),
        mlp_norm=params["pre_mlp_norm"]["scale"].astype(jnp.float32),
        gate_up=make_matrix(gate_up.reshape(c.emb_dim, -1).T, weights),
        down=make_matrix(mlp["down"]["kernel"].T, weights),
    )


class _Placement:
    """Puts arrays on a mesh; without one, leaves them where they are."""

    def __init__(
        self, mesh: Mesh | None, put: Callable[[Any, NamedSharding], Any] = jax.device_put
    ) -> None:
        self._mesh = mesh
        self._put = put

    def __call__(self, array: Array, *axes: str | None) -> Array:
        if self._mesh is None:
            return array
        return self._put(array, NamedSharding(self._mesh, PartitionSpec(*axes)))

    def rows(self, matrix: Matrix) -> Matrix:
        """Each device some outputs."""
        has_scales = matrix.scales.size > 0
        return Matrix(
            self(matrix.values, TENSOR, None), self(matrix.scales, TENSOR if has_scales else None)
        )

    def columns(self, matrix: Matrix) -> Matrix:
        """Each device some inputs, and a part of every output's sum."""
        return Matrix(self(matrix.values, None, TENSOR), self(matrix.scales))

    def layer(self, layer: LayerWeights) -> LayerWeights:
        return LayerWeights(
            attention_norm=self(layer.attention_norm),
            query_key_value=self.rows(layer.query_key_value),
            attention_out=self.columns(layer.attention_out),
            mlp_norm=self(layer.mlp_norm),
            gate_up=self.rows(layer.gate_up),
            down=self.columns(layer.down),
        )

    def around_layers(self, weights: DecoderWeights) -> DecoderWeights:
        return weights._replace(
            embedding=self(weights.embedding, TENSOR, None),
            final_norm=self(weights.final_norm),
            unembedding=self.rows(weights.unembedding),
        )
