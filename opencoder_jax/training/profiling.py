"""Profiles of a few steps, when asked for: by gin beforehand, or by SIGUSR1 while it trains.

`kill -USR1 PID` traces the next steps of that process; on a pod each host traces itself, so
signal those of interest. Traces are TensorBoard's (`tensorboard --logdir MODEL_DIR/profile`,
plugin xprof), each step an event `train` with its number. The steps before are finished first
and those traced are waited for, so a trace holds whole steps; what it computes is unchanged.
"""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from opencoder_jax.errors import InputError, require_at_least

FOLDER = "profile"


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """Which steps to trace.

    Attributes:
      steps: step numbers, as in `metrics.jsonl`, at which a trace begins.
      length: steps in each trace, also in one that a signal asks for.
    """

    steps: Sequence[int] = ()
    length: int = 3

    def __post_init__(self) -> None:
        require_at_least(1, length=self.length)
        if any(step < 1 for step in self.steps):
            raise InputError(f"ProfileConfig.steps is {list(self.steps)}, expected steps from 1 on")


class Profiler:
    """Traces steps of this process into `MODEL_DIR/profile`. See `profiler`."""

    def __init__(self, config: ProfileConfig, model_dir: str | Path) -> None:
        self._config = config
        self._folder = Path(model_dir) / FOLDER
        self._last_step: int | None = None
        self.requested = False

    @contextlib.contextmanager
    def step(self, step: int, before: Any) -> Iterator[list[Any]]:
        """One step; traced if that is due.

        Args:
          step: its number.
          before: arrays of the step before, to be finished when a trace begins.

        Yields:
          A list for what to wait for when the trace ends, e.g. the step's figures.
        """
        if self._last_step is None and (self.requested or step in self._config.steps):
            self.requested = False
            jax.block_until_ready(before)
            jax.profiler.start_trace(self._folder)
            self._last_step = step + self._config.length - 1
        results: list[Any] = []
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield results
        if step == self._last_step:
            jax.block_until_ready(results)
            self.stop()

    def stop(self) -> None:
        """Ends a trace that is under way."""
        if self._last_step is not None:
            jax.profiler.stop_trace()
            self._last_step = None
            print(f"profile written to {self._folder}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def profiler(config: ProfileConfig | None, model_dir: str | Path) -> Iterator[Profiler]:
    """A profiler that SIGUSR1 asks for a trace while the block runs."""
    made = Profiler(config or ProfileConfig(), model_dir)

    def request(number: int, frame: Any) -> None:
        made.requested = True

    previous = signal.signal(signal.SIGUSR1, request)
    try:
        yield made
    finally:
        signal.signal(signal.SIGUSR1, previous)
        made.stop()
