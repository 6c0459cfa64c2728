"""What a command would be called with, as flat text: the operative configuration.

gin's own holds what was called, after the fact. This one is found without calling anything,
so a sweep knows it before a machine is taken. Settings that mean the same give the same
text: defaults are written out, macros and scopes are gone (a setting is named by the way to
it, `train.schedule.peak`), `1` for a parameter of floats is `1.0`, tuples are lists.
"""

import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gin

from opencoder_jax.configuration import reached

_MACRO, _CONSTANT = "gin.macro", "gin.constant"
# Of names in text our own packages are left out.
_PACKAGES = ("opencoder_jax.", "beam_pipelines.")


class Operative(NamedTuple):
    """What a configured command would read.

    Attributes:
      bindings: `command.parameter`, and below a reference `command.parameter.parameter`, to the
        value as gin writes it.
      incidental: those of them that change nothing about the result, in order.
    """

    bindings: dict[str, str]
    incidental: list[str]


class _Setting(NamedTuple):
    """One parameter of one call.

    Attributes:
      path: from the command to it.
      owner: the name of what is called with it.
      name: of the parameter.
      text: its value.
    """

    path: str
    owner: str
    name: str
    text: str


def operative(
    function: Callable[..., Any], incidental: Collection[str] = (), given: Collection[str] = ()
) -> Operative:
    """The operative configuration of a command.

    Args:
      function: as `configure` returned it.
      incidental: what changes nothing about the command's result: parameters of it, with all
        that lies below them, and `Class.field` of any call.
      given: parameters of it that gin does not bind (`pass_through`, `words`).
    """
    command = gin.config._inverse_lookup(function.__wrapped__)  # type: ignore[attr-defined]
    root = command.name
    bindings: dict[str, str] = {}
    aside = []
    for path, owner, name, text in _settings(root, command, ()):
        parameter = _first_name(path.removeprefix(f"{root}."))
        if parameter in given:
            continue
        bindings[path] = text
        if parameter in incidental or f"{owner}.{name}" in incidental:
            aside.append(path)
    return Operative(bindings, aside)


def _first_name(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _settings(path: str, configurable: Any, scopes: tuple[str, ...]) -> Iterator[_Setting]:
    """Every parameter of a call that has a value, and of the calls that its values are."""
    bound = reached.bound_parameters("/".join(scopes), configurable.selector)
    hints = reached.type_hints(configurable.wrapped)
    values = {**_defaults(configurable.wrapped), **bound}
    in_order = [p.name for p in _parameters(configurable.wrapped) if p.name in values]
    for name in [*in_order, *sorted(set(values) - set(in_order))]:
        value, below = values[name], list[_Below]()
        place = f"{path}.{name}"
        text = _text(value, hints.get(name, Any), place, scopes, below)
        yield _Setting(place, configurable.name, name, text)
        for call in below:
            yield from _settings(*call)


class _Below(NamedTuple):
    path: str
    configurable: Any
    scopes: tuple[str, ...]


@functools.cache
def _defaults(configurable: Callable[..., Any]) -> Mapping[str, Any]:
    fields = {}
    if dataclasses.is_dataclass(configurable):
        fields = {field.name: field for field in dataclasses.fields(configurable)}
    found = {}
    for parameter in _parameters(configurable):
        default = parameter.default
        field = fields.get(parameter.name)
        if field is not None and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is not parameter.empty:
            found[parameter.name] = default
    return found


def _parameters(configurable: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    try:
        return list(inspect.signature(configurable).parameters.values())
    except (TypeError, ValueError):  # Some builtins have none.
        return []


def _text(value: Any, hint: Any, path: str, scopes: tuple[str, ...], below: list[_Below]) -> str:
    """`value` as gin would write it; what it calls is added to `below`."""
    if reached.is_reference(value):
        configurable = value.configurable
        # As gin calls it: see `reached.reachable`.
        called_in = tuple(value.scopes) or scopes
        if configurable.selector == _MACRO:
            bound = reached.bound_parameters("/".join(called_in), _MACRO)["value"]
            return _text(bound, hint, path, called_in, below)
        if configurable.selector == _CONSTANT:
            return f"%{'/'.join(value.scopes)}"
        below.append(_Below(path, configurable, called_in))
        return f"@{_name(configurable.wrapped)}" + ("()" if value.evaluate else "")
    if isinstance(value, Mapping):
        key_hint, item_hint = _arguments(hint, Mapping) or (Any, Any)
        pairs = []
        for key, item in value.items():
            key_text = _text(key, key_hint, path, scopes, below)
            item_text = _text(item, item_hint, f"{path}[{key_text}]", scopes, below)
            pairs.append(f"{key_text}: {item_text}")
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        hints = _item_hints(hint, len(value))
        items = (
            _text(item, of, f"{path}[{position}]", scopes, below)
            for position, (item, of) in enumerate(zip(value, hints, strict=True))
        )
        return "[" + ", ".join(items) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and _takes_floats(hint):
        return repr(float(value))
    return _plain_text(value)


def _plain_text(value: Any) -> str:
    """A literal, or a default that gin could not write."""
    if isinstance(value, enum.Enum):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain_text, value)) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(_plain_text, value))) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_plain_text(v)}" for key, v in value.items()) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        fields = (f"{name}={_plain_text(getattr(value, name))}" for name in names)
        return f"{_name(type(value))}({', '.join(fields)})"
    return _name(value) if callable(value) else str(value)


def _name(configurable: Callable[..., Any]) -> str:
    """`module.name`; of a command that runs, its name alone."""
    name = f"{configurable.__module__}.{configurable.__qualname__}"
    package = next((p for p in (*_PACKAGES, "__main__.") if name.startswith(p)), "")
    return name.removeprefix(package)


def _takes_floats(hint: Any) -> bool:
    kinds = set(typing.get_args(hint)) if _is_union(hint) else {hint}
    return float in kinds and int not in kinds


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _arguments(hint: Any, of: type) -> tuple[Any, ...]:
    """`hint`'s arguments, or those of its alternative that is a kind of `of`."""
    for kind in typing.get_args(hint) if _is_union(hint) else (hint,):
        origin = typing.get_origin(kind)
        if isinstance(origin, type) and issubclass(origin, of):
            return typing.get_args(kind)
    return ()


def _item_hints(hint: Any, count: int) -> Sequence[Any]:
    arguments = _arguments(hint, Sequence)
    if len(arguments) == count and Ellipsis not in arguments and count != 1:
        return arguments
    return [arguments[0] if arguments else Any] * count
