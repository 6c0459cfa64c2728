"""How fast one process may ask: requests and tokens a minute."""

import asyncio
import time


class Pace:
    """Lets calls begin no faster than two rates; what was saved up is at most one second's worth.

    Tokens are taken before a call, as estimated, and corrected after it.
    """

    def __init__(self, requests_per_minute: float, tokens_per_minute: float) -> None:
        """Args: of each rate; 0: no limit."""
        self._rates = (requests_per_minute / 60, tokens_per_minute / 60)
        # When what was taken so far is earned, by `time.monotonic`.
        self._free_at = [0.0, 0.0]
        self._not_before = 0.0

    async def take(self, tokens: int) -> None:
        """Returns when one more request with so many tokens may begin."""
        now = time.monotonic()
        begin = max(now, self._not_before)
        for i, (rate, amount) in enumerate(zip(self._rates, (1, tokens), strict=True)):
            if rate:
                start = max(self._free_at[i], now - 1.0)
                begin = max(begin, start)
                self._free_at[i] = start + amount / rate
        while (wait := max(begin, self._not_before) - time.monotonic()) > 0:
            await asyncio.sleep(wait)

    def correct(self, tokens: int) -> None:
        """Tokens that a call took beyond what was estimated; negative: fewer."""
        if self._rates[1]:
            self._free_at[1] += tokens / self._rates[1]

    def pause(self, seconds: float) -> None:
        """No call begins for so long: the server asked for it."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)
