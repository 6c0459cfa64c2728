"""What the backward pass finds stored of each layer, by name; the rest it computes again.

Activations that a policy may want have names (`name`), given where they are made. A policy
is then a set of names, or of JAX's own rules about matrix products. From the least memory to
the most: `full`, `offload` (as little of the device's), `save_attention`, `save_qkv_attention`,
`minimal`, `minimal_attention`, `none`. All compute the same numbers. `docs/model.md` has what
each keeps, with bytes a layer. `TransformerConfig.remat_policy` chooses.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

LAYER_INPUT = "layer_input"
QUERY, KEY, VALUE = "query", "key", "value"
# The kernels of attention use it too, for their output and their softmax's denominators.
ATTENTION = "attention_context"

Policy = Callable[..., Any]

_rules = jax.checkpoint_policies

_POLICIES: dict[str, Policy] = {
    "full": _rules.nothing_saveable,
    "offload": _rules.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[LAYER_INPUT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "save_attention": _rules.save_only_these_names(ATTENTION),
    "save_qkv_attention": _rules.save_only_these_names(QUERY, KEY, VALUE, ATTENTION),
    "minimal": _rules.dots_with_no_batch_dims_saveable,
    "minimal_attention": _rules.save_from_both_policies(
        _rules.dots_with_no_batch_dims_saveable, _rules.save_only_these_names(ATTENTION)
    ),
}


def policy(name: str) -> Policy | None:
    """The rule of a name in `config.REMAT_POLICIES`; None stores everything."""
    return None if name == "none" else _POLICIES[name]


def name(x: jax.Array, called: str) -> jax.Array:
    """`x`, so that a policy can speak of it."""
    return checkpoint_name(x, called)
