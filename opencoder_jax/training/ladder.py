"""A ladder of models: one dial, the depth, and everything else follows from it by rules.

A scaling law needs models of several sizes that are trained alike, and a number chosen by hand
for each size is one more reason for what comes out. From `depth` k follow

    layers k, heads k, model width k x `head_dim`   so width / depth is the same in every size;
    feed-forward width 8/3 of that, up to a multiple of it that suits the hardware (Llama);
    tokens      `tokens_per_parameter` x N          Hoffmann et al. 2022: 20 (arXiv 2203.15556);
    batch       160 x 2048 x (N / 108e6)^(2/3)      tokens, Porian et al. 2024
    peak rate   0.0047 x (N / 108e6)^(-1/3)         (arXiv 2406.19146, table 4), as OLMo's ladder
    warm-up     N tokens                            (arXiv 2412.04403) takes both;

N are the parameters without embeddings. Schedules are WSD, the paper's: constant to the last
`decay_share` of the steps. Gin binds the functions below to the macros of a training file
(gin_configs/pretrain/ladder.gin). The rules were fitted to 5 to 901 million parameters; outside
of that they are a stated choice, no more.
"""

import dataclasses
import math

from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training.schedules import WarmupStable, WarmupStableDecay

# Porian et al. 2024: their fit goes through this model, with 160 sequences of 2,048 tokens.
_FITTED_PARAMETERS = 108e6
_FITTED_BATCH_TOKENS = 160 * 2048
_FITTED_RATE = 0.0047


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Which ladder: what is the same in all its sizes.

    Attributes:
      vocab_size: of all models.
      sequence_length: of training.
      head_dim: h; a layer more is a head more. 128 fills a TPU's matrix unit.
      mlp_multiple: the feed-forward width is a multiple of it.
      tokens_per_parameter: of training, by parameters without embeddings.
      batch_multiple: sequences; batches are a multiple of it, so that a mesh divides them.
      max_rate: the highest peak learning rate, where the rule gives more.
      decay_share: of the steps, in which the rate falls.
      final_share: of the peak, that is left at the end.
      dtype: of activations.
      remat_policy: see `TransformerConfig`.
    """

    vocab_size: int
    sequence_length: int
    head_dim: int = 128
    mlp_multiple: int = 256
    tokens_per_parameter: float = 20.0
    batch_multiple: int = 1
    max_rate: float = 0.01
    decay_share: float = 0.1
    final_share: float = 1 / 30
    dtype: str = "bfloat16"
    remat_policy: str = "none"

    def __post_init__(self) -> None:
        require_at_least(1, mlp_multiple=self.mlp_multiple, batch_multiple=self.batch_multiple)
        require_positive(
            tokens_per_parameter=self.tokens_per_parameter,
            max_rate=self.max_rate,
            decay_share=self.decay_share,
            final_share=self.final_share,
        )
        if self.decay_share > 1 or self.final_share > 1:
            raise InputError(
                f"decay_share is {self.decay_share} and final_share {self.final_share}, expected "
                "shares up to 1"
            )


def model(ladder: Ladder, depth: int) -> TransformerConfig:
    """The model of that depth."""
    require_at_least(1, depth=depth)
    width = depth * ladder.head_dim
    return TransformerConfig(
        vocab_size=ladder.vocab_size,
        num_layers=depth,
        emb_dim=width,
        num_heads=depth,
        num_kv_heads=depth,
        head_dim=ladder.head_dim,
        mlp_dim=ladder.mlp_multiple * math.ceil(8 * width / 3 / ladder.mlp_multiple),
        rope_theta=10_000.0,
        max_length=ladder.sequence_length,
        dtype=ladder.dtype,
        remat_policy=ladder.remat_policy,
    )


def parameters(ladder: Ladder, depth: int) -> int:
    """N: of the layers and the last norm, without embedding and unembedding."""
    config = model(ladder, depth)
    return config.parameter_count() - 2 * config.vocab_size * config.emb_dim


def batch_size(ladder: Ladder, depth: int) -> int:
    """Sequences a step, one `batch_multiple` at least."""
    tokens = _FITTED_BATCH_TOKENS * (parameters(ladder, depth) / _FITTED_PARAMETERS) ** (2 / 3)
    multiples = tokens / ladder.sequence_length / ladder.batch_multiple
    return ladder.batch_multiple * max(1, round(multiples))


def train_steps(ladder: Ladder, depth: int) -> int:
    """Steps that make `tokens_per_parameter` of N tokens."""
    tokens = ladder.tokens_per_parameter * parameters(ladder, depth)
    return max(1, round(tokens / _step_tokens(ladder, depth)))


def learning_rate(ladder: Ladder, depth: int) -> float:
    """The peak; schedules are made of it."""
    rule = _FITTED_RATE * (parameters(ladder, depth) / _FITTED_PARAMETERS) ** (-1 / 3)
    return min(ladder.max_rate, rule)


def schedule(ladder: Ladder, depth: int) -> WarmupStableDecay:
    """WSD in one run: a warm-up of N tokens, half of the rest at most, and the decay."""
    steps = train_steps(ladder, depth)
    decay_steps = max(1, round(ladder.decay_share * steps))
    warmup = round(parameters(ladder, depth) / _step_tokens(ladder, depth))
    peak = learning_rate(ladder, depth)
    return WarmupStableDecay(
        stable=WarmupStable(peak=peak, warmup_steps=min(warmup, (steps - decay_steps) // 2)),
        final=ladder.final_share * peak,
        decay_steps=decay_steps,
        total_steps=steps,
    )


def _step_tokens(ladder: Ladder, depth: int) -> int:
    return batch_size(ladder, depth) * ladder.sequence_length
