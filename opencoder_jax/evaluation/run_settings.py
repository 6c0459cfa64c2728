"""How the benchmarks of one command are run: the same for all of them.

Gin binds it (`@run_settings.RunSettings()` in `evaluate/model.gin`), and each field is a flag of
`opencoder_jax.evaluate`. A benchmark's own numbers (prompts, stops, limits) stand in its gin file.
Next: `harness` runs a benchmark by it, `answerers/choice` opens the model.
"""

import dataclasses
from collections.abc import Sequence

from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.evaluation.data_files import DataFolder


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How benchmarks are run.

    Attributes:
      samples: answers to each problem.
      temperature: of the answers; 0 is greedy.
      top_p: nucleus sampling, below 1.
      k: of pass@k: numbers, as text separated by commas, none above `samples`.
      limit: only the first so many problems of each benchmark; None: all.
      max_new_tokens: of an answer; None: each benchmark's own.
      seed: of all random draws.
      workers: programs that run side by side; changes the speed, not the result.
      allow_unisolated: go on where this machine cannot isolate programs: docs/sandbox.md.
      data_dir: folder with the benchmarks' files.
      packages_dir: site-packages that programs may import (BigCodeBench); None: this environment's.
    """

    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    k: str | Sequence[int] = (1,)
    limit: int | None = None
    max_new_tokens: int | None = None
    seed: int = 0
    workers: int = 2
    allow_unisolated: bool = False
    data_dir: str | None = None
    packages_dir: str | None = None

    def __post_init__(self) -> None:
        require_at_least(1, samples=self.samples, workers=self.workers)
        require_at_least(0, temperature=self.temperature)
        for name in ("limit", "max_new_tokens"):
            if getattr(self, name) is not None:
                require_at_least(1, **{name: getattr(self, name)})
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p}: expected more than 0 and at most 1")
        if not self.ks or min(self.ks) < 1 or max(self.ks) > self.samples:
            raise InputError(
                f"k={list(self.ks)}: expected numbers from 1 to samples={self.samples}"
            )
        if self.samples > 1 and self.temperature == 0:
            raise InputError(
                f"samples={self.samples} at temperature 0 gives equal answers; set a temperature"
            )

    @property
    def ks(self) -> tuple[int, ...]:
        """`k` as numbers."""
        try:
            texts = self.k.split(",") if isinstance(self.k, str) else self.k
            return tuple(int(number) for number in texts)
        except ValueError as error:
            raise InputError(f"k={self.k!r}: expected numbers, separated by commas") from error

    @property
    def data(self) -> DataFolder:
        """Where data files lie."""
        return DataFolder(self.data_dir)
