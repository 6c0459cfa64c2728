"""The register of signals: name, group, function.

A module of signals decorates pure functions of a `ParsedDocument`; importing it is all
it takes to add its signals. The group decides which documents have a signal: `text`,
`code`, or the name of a language for signals of that language alone. `compute` runs
them; `rules` refuses a threshold on a name that is not here.
"""

import dataclasses
from collections.abc import Callable

from beam_pipelines.signals.document import ParsedDocument

SignalFunction = Callable[[ParsedDocument], float | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """A named number (or None, where it is undefined) of a parsed document."""

    name: str
    group: str
    function: SignalFunction


_SIGNALS: dict[str, Signal] = {}
_BY_GROUP: dict[str, tuple[Signal, ...]] = {}


def signal(name: str, group: str) -> Callable[[SignalFunction], SignalFunction]:
    """Registers the decorated function as the signal `name` of `group`."""

    def register(function: SignalFunction) -> SignalFunction:
        add_signal(name, group, function)
        return function

    return register


def add_signal(name: str, group: str, function: SignalFunction) -> None:
    """Registers one signal; for families of signals that differ in a number.

    Raises:
      ValueError: the name is taken.
    """
    if name in _SIGNALS:
        raise ValueError(f"signal {name!r} is registered twice")
    _SIGNALS[name] = Signal(name, group, function)
    _BY_GROUP[group] = (*signals_of(group), _SIGNALS[name])


def signals_of(group: str) -> tuple[Signal, ...]:
    """The signals of one group, in the order of their registration."""
    return _BY_GROUP.get(group, ())


def registered_names() -> tuple[str, ...]:
    """Names of all signals, in the order of their registration."""
    return tuple(_SIGNALS)
