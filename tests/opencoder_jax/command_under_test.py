"""A small command for tests of configuration: a function, a dataclass, a gin file's worth."""

import dataclasses
from collections.abc import Sequence

from opencoder_jax import configuration
from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int = 1
    name: str = "plain"


def command(settings: Settings, output: str, count: int = 3, extra: Sequence[str] = ()) -> None:
    """Prints what it was given."""
    if count < 0:
        raise InputError(f"count is {count}, expected 0 or more")
    print(f"{settings.size} {settings.name} {output} {count} {list(extra)}")


if __name__ == "__main__":
    raise SystemExit(configuration.main(command, pass_through="extra"))
