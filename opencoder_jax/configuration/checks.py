"""What `configure` refuses: idle bindings, unset requirements, values of a wrong type."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin

from opencoder_jax.configuration import reached


def bindings_without_effect(function: Callable[..., Any]) -> list[str]:
    """Bindings that no call reachable from `function` reads, as `scope/name.parameter`.

    One that a binding of an inner scope covers wherever it would count is one of them.
    """
    read: set[tuple[str, str, str]] = set()
    for scope, selector, _ in reached.reachable(function):
        winners: dict[str, str] = {}
        for partial in reached.partial_scopes(scope):
            bound = gin.config._CONFIG.get((partial, selector), {})
            winners.update(dict.fromkeys(bound, partial))
        read.update((partial, selector, parameter) for parameter, partial in winners.items())
    idle = []
    for (scope, selector), parameters in gin.config._CONFIG.items():
        for parameter in parameters:
            if (scope, selector, parameter) in read:
                continue
            if selector == "gin.macro":
                idle.append(scope)
            else:
                idle.append(
                    f"{scope}/{selector}.{parameter}" if scope else f"{selector}.{parameter}"
                )
    return sorted(idle)


def unset_requirements(function: Callable[..., Any]) -> list[str]:
    """Macros and parameters left at `%gin.REQUIRED` that `function` would read."""
    unset = set()
    for scope, selector, parameters in reached.reachable(function):
        for name, value in parameters.items():
            if value is gin.REQUIRED or _is_required_constant(value):
                unset.add(scope if selector == "gin.macro" else f"{selector}.{name}")
    root = function.__wrapped__  # type: ignore[attr-defined]
    bound = gin.config._CONFIG.get(("", gin.config._inverse_lookup(root).selector), {})
    unset.update(
        f"{function.__name__}.{parameter.name}"
        for parameter in inspect.signature(root).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in bound
    )
    return sorted(unset)


def mistyped_bindings(function: Callable[..., Any]) -> list[str]:
    """Bindings that `function` would read and whose value is not what the parameter takes."""
    wrong = set()
    for _, selector, parameters in reached.reachable(function):
        hints = reached.type_hints(gin.config._REGISTRY[selector].wrapped)
        for name, bound in parameters.items():
            value, source = reached.without_macros(bound, f"{selector}.{name}")
            if name in hints and not _fits(value, hints[name]):
                wrong.add(f"{source} = {value!r}, expected {_type_name(hints[name])}")
    return sorted(wrong)


def _is_required_constant(value: Any) -> bool:
    return (
        reached.is_reference(value)
        and value.configurable.selector == "gin.constant"
        and list(value.scopes) == ["gin.REQUIRED"]
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a literal of gin can be an argument annotated `hint`; in doubt it can.

    References (`@f()`) are not looked into, they have types only when called.
    """
    value, _ = reached.without_macros(value, "")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if reached.is_reference(value) or hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (list, tuple, Sequence):
        item_hint = Any if origin is tuple and Ellipsis not in arguments else arguments[0]
        return isinstance(value, list | tuple) and all(_fits(item, item_hint) for item in value)
    if origin is Mapping or origin is dict:
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if hint in (int, float):
        numbers = (int, float) if hint is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if hint in (str, bool, type(None)) or dataclasses.is_dataclass(hint):
        return isinstance(value, hint)
    return True


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("collections.abc.", "")
