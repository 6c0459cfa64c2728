"""What gin files and bindings make the parameters of `opencoder_jax.train`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin

from opencoder_jax import configuration
from opencoder_jax.train import train

_PLACES = ("MODEL_DIR", "TOKENIZER_DIR", "PACKED_DIR")


def settings_for(
    function: Callable[..., Any],
    gin_files: Sequence[str],
    bindings: Sequence[str] = (),
    places: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Those that `function` takes, as training would get them."""
    where = dict.fromkeys(_PLACES, "unset") | dict(places or {})
    configuration.configure(
        train,
        gin_files=gin_files,
        bindings=[*bindings, *(f"{name} = {value!r}" for name, value in where.items())],
    )
    bound = gin.get_bindings(train)
    defaults = inspect.signature(train).parameters
    return {
        name: bound.get(name, defaults[name].default)
        for name in inspect.signature(function).parameters
    }
