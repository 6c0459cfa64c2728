"""The decoder as a T5X model: `t5x/train.py` trains it under `gin_configs/t5x/pretrain.gin`.

T5X is not on the package registry, so nothing else in this project imports it, and this
module's import says how to get it. Parameters are the very tree that `opencoder_jax.train`
trains, with the same logical axes; loss, optimizer, schedule, KV cache and packed sets are
this project's too, so both trainers compute the same from the same batch. What T5X adds is
its loop, partitioner, checkpoints, evaluation and sampling (docs/t5x.md).
Next: t5x/models.py, whose `DecoderOnlyModel` this fills in.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from opencoder_jax.errors import InputError
from opencoder_jax.formats.packed import BATCH_KEYS
from opencoder_jax.model import transformer
from opencoder_jax.model.attention import Context, KeyValues
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training.fused_loss import loss_and_sums
from opencoder_jax.training.losses import LossSums
from opencoder_jax.training.optimizers import AdamW, decayed_parameters
from opencoder_jax.training.schedules import Schedule


class T5XMissingError(InputError, ImportError):
    """T5X, or a package that it needs, cannot be imported."""


try:
    import clu.metrics
    import seqio
    import tensorflow as tf
    from flax.core import freeze
    from flax.linen.partitioning import AxisMetadata
    from t5x import decoding, losses, models, optimizers

    from opencoder_jax.data import mixtures
except ImportError as error:
    raise T5XMissingError(
        f"opencoder_jax.t5x_adapter needs T5X, and {error}. T5X is not on the package registry: "
        "clone github.com/google-research/t5x at cc342d4, github.com/google/airio at 69897df and "
        "github.com/google-research/jestimator at 326824a, put the three folders on PYTHONPATH, "
        "and install their requirements: `pip install tensorboard cached-property fiddle chex` "
        "(docs/t5x.md)"
    ) from error

Variables = Any  # Nested, frozen or not: T5X freezes what it holds.
Batch = Mapping[str, Int[Array, "B S"]]


def packed_mixture(name: str, packed_dir: str) -> str:
    """`name`, with its packed sets in `packed_dir`; for gin to bind the mixture to."""
    mixtures.set_packed_dir(packed_dir)
    return name


def adamw(optimizer: AdamW, schedule: Schedule, config: TransformerConfig) -> Any:
    """Our AdamW at our schedule as a T5X optimizer, which takes no rate from the trainer."""
    flags = jax.tree.leaves(decayed_parameters(transformer.logical_axes(config)))

    def decayed(params: Any) -> Any:
        # T5X holds parameters in a FrozenDict; the flags have to be a tree of that kind.
        return jax.tree.unflatten(jax.tree.structure(params), flags)

    return optimizers.OptaxWrapper(
        optax.chain(optimizer.transformation(decayed), optax.scale_by_learning_rate(schedule))
    )


class PackedFeatureConverter(seqio.FeatureConverter):
    """Passes on the features of packed sets, which are a decoder's inputs already."""

    TASK_FEATURES = dict.fromkeys(BATCH_KEYS, seqio.FeatureConverter.FeatureSpec(dtype=tf.int32))
    MODEL_FEATURES = TASK_FEATURES
    PACKING_FEATURE_DTYPES: Mapping[str, Any] = {}

    def __init__(self, pack: bool = False, **options: Any) -> None:
        if pack:
            raise InputError("pack=True: the sets are packed, bind DatasetConfig.pack = False")
        super().__init__(pack=False, **options)

    def __call__(self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]) -> Any:
        """`task_feature_lengths`: `{"targets": S}`, as `opencoder_jax.train` takes it."""
        if set(task_feature_lengths) != {"targets"}:
            raise InputError(
                f"TASK_FEATURE_LENGTHS is {dict(task_feature_lengths)}, expected {{'targets': S}} "
                "with the packed sets' sequence length S"
            )
        return super().__call__(ds, dict.fromkeys(BATCH_KEYS, task_feature_lengths["targets"]))

    def _convert_features(self, ds: tf.data.Dataset, lengths: Mapping[str, int]) -> Any:
        return ds.map(lambda example: {key: example[key] for key in BATCH_KEYS})

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> Any:
        return task_feature_lengths


class ScannedDecoder(transformer.Decoder):
    """The decoder, saying to T5X that its cache has the layers in front of the batch."""

    scan_layers: bool = True


class OpenCoderModel(models.DecoderOnlyModel):
    """The decoder with T5X's model interface; parameters as `transformer.init_params` makes them.

    Prompts (`inputs`) are seen causally, as in training. Modules of this project sow no
    intermediates, so `return_intermediates` is refused.
    """

    FEATURE_CONVERTER_CLS = PackedFeatureConverter

    def __init__(
        self,
        config: TransformerConfig,
        vocabulary: Any,
        optimizer_def: Any,
        decode_fn: Callable[..., Any] = decoding.temperature_sample,
        feature_converter_cls: Callable[..., Any] | None = None,
        z_loss: float = 0.0,
        loss_normalizing_factor: Any = "NUM_REAL_TARGET_TOKENS",
        loss_chunk_length: int = 512,
    ) -> None:
        """Args:
        config: dimensions.
        vocabulary: seqio's, of the tokenizer; decoding ends at its `eos_id`.
        optimizer_def: a T5X optimizer, e.g. `adamw`.
        decode_fn: T5X's sampling.
        feature_converter_cls: None for packed sets; for tasks of `inputs` and `targets`
          bind `seqio.DecoderFeatureConverter` with the tokenizer's `bos_id`.
        z_loss: factor of the squared log of the softmax's denominator.
        loss_normalizing_factor: what T5X divides the sum over tokens by; the default is the
          mean of `opencoder_jax.train`.
        loss_chunk_length: positions whose logits are in memory at a time.
        """
        super().__init__(
            module=ScannedDecoder(config),
            vocabulary=vocabulary,
            optimizer_def=optimizer_def,
            decode_fn=decode_fn,
            feature_converter_cls=feature_converter_cls,
            z_loss=z_loss,
            loss_normalizing_factor=loss_normalizing_factor,
        )
        self._config = config
        self._chunk = loss_chunk_length

    def get_initial_variables(
        self,
        rng: Array,
        input_shapes: Mapping[str, Any],
        input_types: Mapping[str, Any] | None = None,
    ) -> Variables:
        """Collections `params` and `params_axes`: our logical axes as T5X spells them."""
        axes = transformer.logical_axes(self._config)
        return freeze(
            {
                "params": transformer.init_params(self._config, rng),
                "params_axes": _renamed_leaves(axes, lambda names: AxisMetadata(names=names)),
            }
        )

    def loss_fn(
        self, params: Variables, batch: Batch, dropout_rng: Array | None
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        """Loss and metrics, from chunks of logits; there is no dropout."""
        loss, sums = self._loss(params, batch)
        sums = sums.total()
        factor, weights = losses.get_loss_normalizing_factor_and_weights(
            self._loss_normalizing_factor, batch
        )
        metrics = models.compute_base_metrics(
            # Only accuracy reads logits; it is counted with the loss, so XLA drops these.
            logits=jnp.zeros((*batch["decoder_target_tokens"].shape, 1)),
            targets=batch["decoder_target_tokens"],
            mask=weights,
            loss=loss,
            z_loss=self._z_loss * sums.z_loss,
            segment_ids={
                "decoder": batch.get("decoder_segment_ids", batch["decoder_target_tokens"] != 0)
            },
        )
        metrics["accuracy"] = clu.metrics.Accuracy(total=sums.correct, count=sums.weight)
        return loss / (1.0 if factor is None else factor), metrics

    def score_batch(
        self, params: Variables, batch: Batch, return_intermediates: bool = False
    ) -> Float[Array, "B"]:
        """Log-likelihood of each sequence's target tokens, in nats."""
        if return_intermediates:
            raise InputError("return_intermediates=True: this model has none")
        return -self._loss(params, batch)[1].loss

    def _loss(self, params: Variables, batch: Batch) -> tuple[Float[Array, ""], LossSums]:
        """What training minimizes, and the sums of each sequence."""
        return loss_and_sums(
            transformer.hidden_states(self._config, params, *_inputs(batch)),
            transformer.unembedding(self._config, params),
            batch["decoder_target_tokens"],
            batch["decoder_loss_weights"],
            self._chunk,
            self._z_loss,
        )

    def _compute_logits(
        self, params: Variables, batch: Batch, dropout_rng: Array | None = None, **unused: Any
    ) -> Float[Array, "B S V"]:
        return transformer.logits(self._config, params, *_inputs(batch))

    def _compute_kv_cache(
        self, params: Variables, inputs: Int[Array, "B S"], causal_attention_mask: Array
    ) -> tuple[dict[str, Array], Int[Array, "B"]]:
        """All of a prompt but its last token is in the cache, as T5X and we both have it."""
        lengths_B = jnp.sum(inputs[:, 1:] != 0, axis=-1)
        positions_BS = jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape)
        _, cache = transformer.hidden_states_and_key_values(
            self._config,
            params,
            inputs,
            (positions_BS < lengths_B[:, None]).astype(jnp.int32),
            positions_BS,
        )
        # T5X expands axis 1 of everything in the cache, and of an index by this name.
        return {**cache._asdict(), "cache_index": lengths_B[None]}, lengths_B

    def _compute_logits_from_slice(
        self, decoding_state: Any, params: Variables, max_decode_length: int
    ) -> tuple[Float[Array, "B V"], dict[str, Array]]:
        cache = KeyValues(decoding_state.cache["keys"], decoding_state.cache["values"])
        positions_B = decoding_state.cache["cache_index"][0]
        visible_BST = (jnp.arange(max_decode_length) < positions_B[:, None])[:, None]
        hidden_BSD, new = transformer.hidden_states_and_key_values(
            self._config,
            params,
            decoding_state.cur_token,
            jnp.ones_like(decoding_state.cur_token),
            positions_B[:, None],
            Context(cache, visible_BST),
        )
        rows = jnp.arange(positions_B.shape[0])
        cache = jax.tree.map(
            lambda slots, x: slots.at[:, rows, positions_B].set(x[:, :, 0]), cache, new
        )
        logits_BV = transformer.project_to_vocab(self._config, params, hidden_BSD[:, 0])
        return logits_BV, {**cache._asdict(), "cache_index": positions_B[None] + 1}


def _inputs(batch: Batch) -> tuple[Array, Array, Array]:
    """Tokens, segment ids and positions; those of one unpacked sequence a row if unnamed."""
    tokens_BS = batch["decoder_input_tokens"]
    ones = jnp.ones_like(tokens_BS)
    return (
        tokens_BS,
        batch.get("decoder_segment_ids", ones),
        batch.get("decoder_positions", jnp.cumsum(ones, axis=-1) - 1),
    )


def _renamed_leaves(tree: Variables, leaf: Callable[[Any], Any]) -> dict[str, Any]:
    """`leaf` of every leaf, under its name with `_axes` behind it: T5X's form of axes."""
    return {
        name if isinstance(node, dict) else f"{name}_axes": (
            _renamed_leaves(node, leaf) if isinstance(node, dict) else leaf(node)
        )
        for name, node in tree.items()
    }
