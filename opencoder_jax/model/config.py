"""Dimensions of one model, and nothing else that training or serving might choose.

A `TransformerConfig` is bound in `gin_configs/models/*.gin`, stored in every checkpoint
as JSON and derived from a Hugging Face `config.json`, so the three ways to name a model
meet here. `parameter_count` is exact and computed from the dimensions alone; the tests
hold it against the paper's figures and against the arrays that `transformer` makes.
"""

import dataclasses
import json
from typing import Any, Self

from opencoder_jax.errors import InputError

DTYPES = ("bfloat16", "float32")
QUANTIZATIONS = ("none", "int8")
ATTENTIONS = ("auto", "dense", "blocked", "splash", "cudnn")
# From the least memory to the most: `rematerialization`.
REMAT_POLICIES = (
    *("full", "offload", "save_attention", "save_qkv_attention"),
    *("minimal", "minimal_attention", "none"),
)

# How a model is computed: its numbers change by rounding at most.
_COMPUTED_ALIKE = ("remat_policy", "attention")


class ModelConfigError(InputError):
    """Dimensions that make no model. The message has the numbers."""


@dataclasses.dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Dimensions and numeric types of a decoder.

    Attributes:
      vocab_size: V.
      num_layers: L.
      emb_dim: D.
      num_heads: H, query heads.
      num_kv_heads: K, key and value heads; divides H.
      head_dim: h; even, for RoPE rotates pairs. H*h need not be D.
      mlp_dim: F.
      rope_theta: base of the rotary frequencies.
      max_length: longest sequence that the model is trained or run on.
      rms_norm_eps: added to the mean square.
      tie_embeddings: whether the unembedding is the embedding, transposed.
      init_std: standard deviation of the normal that every matrix is drawn from.
      dtype: of activations; softmax, norms, RoPE and logits are float32 always.
      param_dtype: of the stored parameters.
      remat_policy: what the backward pass finds stored of a layer: `none` everything,
        `minimal` the results of products with its matrices, `full` only its input; those
        in between: `rematerialization`.
      attention: what training and prefill compute attention with: `dense` (a matrix of
        scores), `blocked` (CPU), `splash` (TPU), `cudnn` (GPU), `auto` by the devices; all
        give the same up to rounding. Attention over a cache is always `dense`.
      quantization: what `hidden_states`, so training, rounds operands of products with the
        layers' matrices to: `none` or `int8`.
    """

    vocab_size: int
    num_layers: int
    emb_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    rope_theta: float
    max_length: int
    rms_norm_eps: float = 1e-5
    tie_embeddings: bool = False
    init_std: float = 0.02
    dtype: str = "bfloat16"
    param_dtype: str = "float32"
    remat_policy: str = "none"
    attention: str = "auto"
    quantization: str = "none"

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "num_layers", "emb_dim", "num_heads", "num_kv_heads")
        for name in (*sizes, "head_dim", "mlp_dim", "max_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelConfigError(f"{name}={value!r}: expected a whole number of at least 1")
        if self.num_heads % self.num_kv_heads:
            raise ModelConfigError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}; "
                f"these do: {_divisors(self.num_heads)}"
            )
        if self.head_dim % 2:
            raise ModelConfigError(f"head_dim={self.head_dim} is odd: RoPE rotates pairs")
        for name in ("rope_theta", "rms_norm_eps", "init_std"):
            if not getattr(self, name) > 0:
                raise ModelConfigError(f"{name}={getattr(self, name)!r}: expected more than 0")
        for name, choices in (
            ("dtype", DTYPES),
            ("param_dtype", DTYPES),
            ("remat_policy", REMAT_POLICIES),
            ("attention", ATTENTIONS),
            ("quantization", QUANTIZATIONS),
        ):
            if getattr(self, name) not in choices:
                raise ModelConfigError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(choices)}"
                )

    def parameter_count(self) -> int:
        """How many numbers `transformer.init_params` makes."""
        attention = 2 * self.emb_dim * self.head_dim * (self.num_heads + self.num_kv_heads)
        mlp = 3 * self.emb_dim * self.mlp_dim
        norms = 2 * self.emb_dim
        tables = 1 if self.tie_embeddings else 2
        return (
            self.num_layers * (attention + mlp + norms)
            + self.emb_dim
            + tables * self.vocab_size * self.emb_dim
        )

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return dataclasses.asdict(self)

    def what_is_learned(self) -> dict[str, Any]:
        """`to_json` without the fields that change a run's numbers by rounding alone.

        A run may go on with others: on devices of another kind, with more or less memory.
        """
        fields = self.to_json()
        return {name: fields[name] for name in fields if name not in _COMPUTED_ALIKE}

    @classmethod
    def from_json(cls, value: dict[str, Any] | str) -> Self:
        """The inverse of `to_json`; takes the object or its text.

        Raises:
          ModelConfigError: a field is missing or unknown, or the dimensions are impossible.
        """
        if isinstance(value, str):
            value = json.loads(value)
        assert isinstance(value, dict)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(value) - set(fields))
        missing = sorted(
            name
            for name, field in fields.items()
            if name not in value and field.default is dataclasses.MISSING
        )
        if unknown or missing:
            raise ModelConfigError(f"model config with unknown {unknown} and missing {missing}")
        return cls(**value)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
