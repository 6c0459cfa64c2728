"""When to save: after so many steps, and after so much time.

A period of time is for runs whose loss by a failure is counted in chip-hours, however long a
step takes. Clocks of several hosts differ, so process 0 looks at its own and the others take
its word. Asking goes through the coordination service, which is no thing to do at every step:
each answer says how many steps the next question can wait. These are half of those that fit
into what is left of the period at the pace since the last save, and no more than were made
since then: the pace of few steps says little, for the host runs ahead of its devices. So
there are some 2 log2(steps) questions a period.
"""

import time
from collections.abc import Callable

from opencoder_jax.distributed import from_primary


class Occasions:
    """After which steps to save; every process has one and asks it at every step."""

    def __init__(
        self,
        period: int,
        period_minutes: float | None,
        first_step: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        period: steps between saves, counted from 0; 0 saves after none.
        period_minutes: time between saves at most, up to a step; None for no such limit.
        first_step: the step before the first that is asked for.
        clock: seconds from any moment on.
        """
        self._period = period
        self._period_seconds = None if period_minutes is None else 60 * period_minutes
        self._clock = clock
        self.saved(first_step)

    def saved(self, step: int) -> None:
        """Counts time anew; to be called after every save, whatever its reason."""
        # Of process 0 alone.
        self._since = self._clock()
        self._since_step = step
        # The same in all processes.
        self._ask_after = step + 1

    def now(self, step: int) -> bool:
        """Whether to save after this step: the same answer in all processes."""
        if self._period and step % self._period == 0:
            return True
        if self._period_seconds is None or step < self._ask_after:
            return False
        wait = from_primary(lambda: self._steps_to_wait(step))
        self._ask_after = step + wait
        return wait == 0

    def _steps_to_wait(self, step: int) -> int:
        assert self._period_seconds is not None
        gone = self._clock() - self._since
        left = self._period_seconds - gone
        if left <= 0:
            return 0
        made = step - self._since_step
        fitting = left / max(gone / made, 1e-6)
        return max(1, min(int(fitting / 2), made))
