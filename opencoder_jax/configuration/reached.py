"""What a command's bindings lead to: walked statically, nothing is called."""

import copy
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gin

from opencoder_jax.command_flags import ConfigurationError


def reachable(
    function: Callable[..., Any],
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(scope, selector, bound parameters) of every call that `function`'s bindings lead to."""
    root = gin.config._inverse_lookup(function.__wrapped__)  # type: ignore[attr-defined]
    pending: list[tuple[tuple[str, ...], str]] = [((), root.selector)]
    seen = set()
    while pending:
        scopes, selector = pending.pop()
        if (scopes, selector) in seen:
            continue
        seen.add((scopes, selector))
        scope = "/".join(scopes)
        parameters = bound_parameters(scope, selector)
        yield scope, selector, parameters
        for value in gin.config._iterate_flattened_values(parameters):
            if is_reference(value):
                # As gin calls it: the reference's own scope, where it has one, replaces the
                # scope that it is reached in.
                pending.append((tuple(value.scopes) or scopes, value.configurable.selector))


def bound_parameters(scope: str, selector: str) -> dict[str, Any]:
    """What a call within `scope` gets from gin; inner scopes win."""
    parameters: dict[str, Any] = {}
    for partial in partial_scopes(scope):
        parameters.update(gin.config._CONFIG.get((partial, selector), {}))
    return parameters


def partial_scopes(scope: str) -> list[str]:
    parts = scope.split("/") if scope else []
    return ["/".join(parts[:i]) for i in range(len(parts) + 1)]


def is_reference(value: Any) -> bool:
    return isinstance(value, gin.config.ConfigurableReference)


def without_macros(value: Any, source: str) -> tuple[Any, str]:
    """What `%X` stands for, and the name that it was bound under."""
    while is_reference(value) and value.configurable.selector == "gin.macro":
        name = "/".join(value.scopes)
        bound = gin.config._CONFIG.get((name, "gin.macro"))
        if bound is None:
            raise ConfigurationError(f"{source} is %{name}, which nothing sets")
        value, source = bound["value"], name
    return value, source


@functools.cache
def type_hints(configurable: Callable[..., Any]) -> Mapping[str, Any]:
    """Parameter to annotation; empty where one cannot be evaluated."""
    called = configurable.__init__ if isinstance(configurable, type) else configurable  # type: ignore[misc]
    try:
        return typing.get_type_hints(called)
    except (NameError, TypeError):
        return {}


def value_of(function: Callable[..., Any], parameter: str) -> Any:
    """What a configured command would be called with as `parameter`: what it refers to is called.

    Raises:
      InputError: what is called refuses its own settings.
    """
    command = gin.config._inverse_lookup(function.__wrapped__)  # type: ignore[attr-defined]
    bound = bound_parameters("", command.selector)
    if parameter in bound:
        # As gin does it: references are called by being copied.
        return copy.deepcopy(bound[parameter])
    return inspect.signature(command.wrapped).parameters[parameter].default
