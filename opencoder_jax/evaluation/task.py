"""The face that every evaluation task has, so that one command runs them all.

A task says what its result depends on before it runs; `opencoder_jax.evaluate` turns
that into the manifest that makes a finished task done and another model's refused.
A new measure is a dataclass with this face and a gin file that names it.
Next: `bits_per_byte`, `humaneval`, `samples`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from opencoder_jax.model.loading import LoadedModel


class Task(Protocol):
    """One thing to measure of a model; a frozen dataclass that gin binds.

    Attributes:
      name: its folder below `evaluation/`.
    """

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """What the result depends on, besides the model and the inputs, as JSON."""
        ...

    def inputs(self) -> dict[str, str]:
        """Name to fingerprint of what is read.

        Raises:
          InputError: something that it needs is missing.
        """
        ...

    def run(self, model: LoadedModel, folder: Path) -> dict[str, Any]:
        """The results as JSON; further files go to `folder`."""
        ...

    def rows(self, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(measure, value) of the results, for the table at the end."""
        ...
