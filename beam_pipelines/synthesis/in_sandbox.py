"""Programs of strangers in Beam workers: what every step that executes them shares."""

from collections.abc import Sequence
from typing import ClassVar

import apache_beam as beam

from opencoder_jax.sandbox import Limits, Sandbox

# Of programs at one time, collected before they run.
BATCH = 32
# Generous on purpose: a busy machine must not change a verdict.
LIMITS = Limits(wall_seconds=30.0, cpu_seconds=10)


class InSandbox(beam.DoFn):
    """Has `_sandboxes`, one for each of its hash seeds, for `_sandbox_workers` at a time."""

    hash_seeds: ClassVar[tuple[int, ...]] = (0,)
    # Modules that are imported once instead of by each program.
    preload: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, sandbox_workers: int, allow_unisolated: bool, packages: str | None = None
    ) -> None:
        """Args:
        sandbox_workers: programs at a time in each Beam worker.
        allow_unisolated: see `Sandbox`.
        packages: a site-packages folder that Python programs may import from.
        """
        super().__init__()
        self._sandbox_workers = sandbox_workers
        self._allow_unisolated = allow_unisolated
        self._packages = packages

    def setup(self) -> None:
        self._sandboxes = [
            Sandbox(
                LIMITS,
                allow_unisolated=self._allow_unisolated,
                hash_seed=seed,
                packages=self._packages,
                preload=self.preload,
            )
            for seed in self.hash_seeds
        ]

    def teardown(self) -> None:
        for sandbox in self._sandboxes:
            sandbox.close()


def check_sandbox(pipeline_args: Sequence[str], allow_unisolated: bool) -> None:
    """Fails before a pipeline starts, where its workers are this machine.

    Raises:
      SandboxUnavailable: it cannot isolate programs.
    """
    if any(argument.startswith("--runner") for argument in pipeline_args):
        return
    with Sandbox(LIMITS, allow_unisolated) as sandbox:
        sandbox.run("pass")
