"""A command with every kind of setting, for tests of `--resolve`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from opencoder_jax import configuration
from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Part:
    rate: float = 1.0
    sizes: Sequence[float] = (1, 2)
    workers: int = 1
    names: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"a": 1})

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise InputError(f"rate is {self.rate}, expected 0 or more")


@dataclasses.dataclass(frozen=True)
class Reporter:
    period: int = 10


def double(value: float) -> float:
    return 2 * value


def command(
    part: Part,
    output: str,
    parts: Sequence[Part] = (),
    reporter: Reporter | None = None,
    function: Callable[[float], float] = double,
    count: int = 3,
    extra: Sequence[str] = (),
) -> None:
    """Is never called."""
    raise AssertionError("called")


def facts(part: Part, count: int) -> dict[str, float]:
    return {"cost": part.rate * count, "share": 1 / count}


if __name__ == "__main__":
    raise SystemExit(
        configuration.main(
            command, pass_through="extra", incidental=("reporter", "Part.workers"), facts=facts
        )
    )
