"""The decoder: Flax modules that declare each weight once, and the functions to call.

Callers use the functions at the end (`init_params`, `hidden_states`, `logits` ...) with
parameters as a plain nested dict. The modules above them hold no mathematics of their
own: shapes, logical axes, initial values, the scan over layers and rematerialization.

Layers are scanned: their parameters are stacked on a leading `layers` axis, so compile
time does not grow with depth. Logical axis names are T5X's; `opencoder_jax.sharding`
maps them to the mesh. Outside `sharding.activate` the constraints on activations do
nothing.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from opencoder_jax.model import kernels, rematerialization
from opencoder_jax.model.attention import Context, KeyValues, attend, visible_in_segment
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.layers import Rotation, project, rms_norm, rope, rotation, swiglu
from opencoder_jax.model.quantization import quantized
from opencoder_jax.model.rematerialization import ATTENTION, KEY, LAYER_INPUT, QUERY, VALUE, name
from opencoder_jax.model.vocabulary_table import look_up

Params = dict[str, Any]
ACTIVATION_AXES = ("batch", "length", "embed")


class Weight(nn.Module):
    """A table: its shape, logical axes and initial values; called, the array as stored."""

    config: TransformerConfig
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    name_of_array: str = "kernel"

    @nn.compact
    def __call__(self) -> Array:
        initializer = nn.initializers.normal(self.config.init_std)
        array: Any = self.param(
            self.name_of_array,
            nn.with_logical_partitioning(initializer, self.axes),
            self.shape,
            jnp.dtype(self.config.param_dtype),
        )
        return array


class Product(nn.Module):
    """A product with a matrix: `einsum` says of which dimensions."""

    config: TransformerConfig
    einsum: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        initializer = nn.initializers.normal(self.config.init_std)
        kernel: Any = self.param(
            "kernel",
            nn.with_logical_partitioning(initializer, self.axes),
            self.shape,
            jnp.dtype(self.config.param_dtype),
        )
        c = self.config
        # Neither Qwix nor a remat policy can look into a function with a gradient of its own.
        plain = c.quantization != "none" or c.remat_policy != "none"
        product = jnp.einsum if plain else project
        return product(self.einsum, x, kernel.astype(c.dtype))


class RMSNorm(nn.Module):
    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BSD: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
        scale_D: Any = self.param(
            "scale",
            nn.with_logical_partitioning(nn.initializers.ones, ("embed",)),
            (self.config.emb_dim,),
            jnp.dtype(self.config.param_dtype),
        )
        return rms_norm(x_BSD, scale_D, self.config.rms_norm_eps)


class Attention(nn.Module):
    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x_BSD: Float[Array, "B S D"],
        segment_ids_BS: Int[Array, "B S"],
        positions_BS: Int[Array, "B S"],
        by: Rotation,
        prefix: Context | None,
    ) -> tuple[Float[Array, "B S D"], KeyValues]:
        c = self.config
        queries = (c.emb_dim, c.num_heads, c.head_dim)
        keys = (c.emb_dim, c.num_kv_heads, c.head_dim)
        out = (c.num_heads, c.head_dim, c.emb_dim)
        kv_axes = ("embed", "kv_heads", "kv")
        query = Product(c, "BSD,DHh->BSHh", queries, ("embed", "heads", "kv"), name="query")
        key = Product(c, "BSD,DKh->BSKh", keys, kv_axes, name="key")
        value = Product(c, "BSD,DKh->BSKh", keys, kv_axes, name="value")
        mix = Product(c, "BSHh,HhD->BSD", out, ("heads", "kv", "embed"), name="out")

        query_BSHh = name(rope(query(x_BSD), by, scale=c.head_dim**-0.5), QUERY)
        key_values = KeyValues(
            keys=name(rope(key(x_BSD), by), KEY), values=name(value(x_BSD), VALUE)
        )
        choice = "dense" if prefix else kernels.choose(c, query_BSHh.dtype)
        if choice == "dense":
            own = Context(key_values, visible_in_segment(segment_ids_BS, positions_BS))
            mixed_BSHh = name(attend(query_BSHh, [prefix, own] if prefix else [own]), ATTENTION)
        else:
            mixed_BSHh = kernels.KERNELS[choice](query_BSHh, key_values, segment_ids_BS)
        return mix(mixed_BSHh), key_values


class MLP(nn.Module):
    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BSD: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
        c = self.config
        wide, narrow = (c.emb_dim, c.mlp_dim), (c.mlp_dim, c.emb_dim)
        gate = Product(c, "BSD,DF->BSF", wide, ("embed", "mlp"), name="gate")
        up = Product(c, "BSD,DF->BSF", wide, ("embed", "mlp"), name="up")
        down = Product(c, "BSF,FD->BSD", narrow, ("mlp", "embed"), name="down")
        return down(swiglu(gate(x_BSD), up(x_BSD)))


class DecoderLayer(nn.Module):
    config: TransformerConfig
    return_key_values: bool

    @nn.compact
    def __call__(
        self,
        x_BSD: Float[Array, "B S D"],
        segment_ids_BS: Int[Array, "B S"],
        positions_BS: Int[Array, "B S"],
        by: Rotation,
        visible_BST: Array | None,
        prefix: KeyValues | None,
    ) -> tuple[Float[Array, "B S D"], KeyValues | None]:
        c = self.config
        earlier = Context(prefix, visible_BST) if prefix and visible_BST is not None else None
        x_BSD = name(x_BSD, LAYER_INPUT)
        attended_BSD, key_values = Attention(c, name="attention")(
            RMSNorm(c, name="pre_attention_norm")(x_BSD), segment_ids_BS, positions_BS, by, earlier
        )
        x_BSD = _constrain(x_BSD + attended_BSD)
        x_BSD = x_BSD + MLP(c, name="mlp")(RMSNorm(c, name="pre_mlp_norm")(x_BSD))
        return _constrain(x_BSD), key_values if self.return_key_values else None


class Decoder(nn.Module):
    """Embedding, layers, final norm, and the unembedding where it is not tied."""

    config: TransformerConfig
    return_key_values: bool = False

    @nn.compact
    def __call__(
        self,
        tokens_BS: Int[Array, "B S"],
        segment_ids_BS: Int[Array, "B S"],
        positions_BS: Int[Array, "B S"],
        prefix: Context | None = None,
    ) -> tuple[Float[Array, "B S D"], KeyValues | None]:
        c = self.config
        embedding_VD = Weight(
            c, (c.vocab_size, c.emb_dim), ("vocab", "embed"), "embedding", name="token_embedder"
        )()
        if not c.tie_embeddings:
            Weight(c, (c.emb_dim, c.vocab_size), ("embed", "vocab"), name="unembedding")()
        x_BSD = _constrain(look_up(embedding_VD, tokens_BS, c.dtype))

        layer: Any = DecoderLayer
        if c.remat_policy != "none":
            policy = rematerialization.policy(c.remat_policy)
            layer = nn.remat(layer, policy=policy, prevent_cse=False)
        layers = nn.scan(
            layer,
            length=c.num_layers,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast, nn.broadcast, 0),
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(c, self.return_key_values, name="layers")
        key_values_LBTKh, visible_BST = prefix or (None, None)
        by = rotation(positions_BS, c.head_dim, c.rope_theta)
        x_BSD, new_key_values = layers(
            x_BSD, segment_ids_BS, positions_BS, by, visible_BST, key_values_LBTKh
        )
        return RMSNorm(c, name="final_norm")(x_BSD), new_key_values


def init_params(config: TransformerConfig, key: PRNGKeyArray) -> Params:
    """Fresh parameters as a plain nested dict of `config.param_dtype` arrays."""
    return nn.meta.unbox(_init(config, key))["params"]


def abstract_params(config: TransformerConfig) -> Params:
    """The tree of `init_params` with a `jax.ShapeDtypeStruct` for each array."""
    # Flax's own `unbox` would ask for a sharding constraint wherever a mesh is active.
    return jax.tree.map(
        lambda box: box.value, _abstract(config), is_leaf=lambda x: isinstance(x, nn.Partitioned)
    )["params"]


def logical_axes(config: TransformerConfig) -> Params:
    """The tree of `init_params` with a tuple of logical axis names for each array."""
    return jax.tree.map(
        lambda box: box.names, _abstract(config), is_leaf=lambda x: isinstance(x, nn.Partitioned)
    )["params"]


def cast_matrices(config: TransformerConfig, params: Params) -> Params:
    """Parameters as they are used: matrices in `config.dtype`, scales of norms as stored.

    Gives the same numbers as `params`, which are cast at each use; for loops that use
    them often.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, array: array if path[-1].key == "scale" else array.astype(config.dtype),
        params,
    )


def hidden_states(
    config: TransformerConfig,
    params: Params,
    tokens_BS: Int[Array, "B S"],
    segment_ids_BS: Int[Array, "B S"],
    positions_BS: Int[Array, "B S"],
) -> Float[Array, "B S D"]:
    """The last layer's output after the final norm, in `config.dtype`.

    Tokens at or above `vocab_size` are the caller's to refuse: XLA clamps the lookup.
    """
    decoder = quantized(Decoder(config), config.quantization)
    return decoder.apply({"params": params}, tokens_BS, segment_ids_BS, positions_BS)[0]


def hidden_states_and_key_values(
    config: TransformerConfig,
    params: Params,
    tokens_BS: Int[Array, "B S"],
    segment_ids_BS: Int[Array, "B S"],
    positions_BS: Int[Array, "B S"],
    prefix: Context | None = None,
) -> tuple[Float[Array, "B S D"], KeyValues]:
    """`hidden_states`, reading earlier keys and values and returning the new ones.

    Args:
      config: the model's dimensions.
      params: as `init_params` makes them.
      tokens_BS: new tokens.
      segment_ids_BS: of the new tokens among themselves.
      positions_BS: of the new tokens.
      prefix: keys and values of earlier positions, [L, B, T, K, h], and which of them
        each new token sees.

    Returns:
      [B, S, D], and keys and values of the new tokens, [L, B, S, K, h].
    """
    apply: Any = Decoder(config, return_key_values=True).apply
    return apply({"params": params}, tokens_BS, segment_ids_BS, positions_BS, prefix)


def unembedding(config: TransformerConfig, params: Params) -> Float[Array, "D V"]:
    """The matrix that turns hidden states into logits, as stored; used in `config.dtype`."""
    if config.tie_embeddings:
        return params["token_embedder"]["embedding"].T
    return params["unembedding"]["kernel"]


def logits(
    config: TransformerConfig,
    params: Params,
    tokens_BS: Int[Array, "B S"],
    segment_ids_BS: Int[Array, "B S"],
    positions_BS: Int[Array, "B S"],
) -> Float[Array, "B S V"]:
    """float32 logits of every position. Training and evaluation never hold them whole."""
    hidden_BSD = hidden_states(config, params, tokens_BS, segment_ids_BS, positions_BS)
    return project_to_vocab(config, params, hidden_BSD)


def project_to_vocab(
    config: TransformerConfig, params: Params, hidden_BSD: Float[Array, "*B D"]
) -> Float[Array, "*B V"]:
    """float32 logits of some hidden states."""
    return jnp.einsum(
        "...D,DV->...V",
        hidden_BSD,
        unembedding(config, params).astype(config.dtype),
        preferred_element_type=jnp.float32,
    )


def _init(config: TransformerConfig, key: PRNGKeyArray) -> Any:
    tokens = jnp.zeros((1, 1), jnp.int32)
    # Dense asks no backend for its devices.
    plain = config.replace(remat_policy="none", attention="dense")
    return Decoder(plain).init(key, tokens, tokens, tokens)


@functools.cache  # A start asks dozens of times, and tracing takes a tenth of a second.
def _abstract(config: TransformerConfig) -> Any:
    # The key is made inside, or JAX would start its backend and fix the device count.
    return jax.eval_shape(lambda: _init(config, jax.random.key(0)))


def _constrain(x_BSD: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
    return nn.with_logical_constraint(x_BSD, ACTIVATION_AXES)
