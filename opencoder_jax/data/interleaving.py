"""Which source row i of a mixture comes from, in constant time for any i.

The sources' counts grow evenly: after any number of rows each source has had its share of
them to within one row for each source before it in the list. grain's own `mix` does the
same with rates rounded to a hundredth of the smallest one; here they are exact to 10^-9,
and the counts are known without walking the rows.
"""

from collections.abc import Sequence

import grain

_UNITS = 10**9


class Interleaving(grain.transforms.DatasetSelectionMap):
    """Rows 0, 1, 2, ... of a mixture to (source, index within the source)."""

    def __init__(self, rates: Sequence[float], first: Sequence[int] | None = None) -> None:
        """Args:
        rates: of each source, positive; only their ratios matter.
        first: where each source begins; None for all at 0.
        """
        self._first = tuple(first or [0] * len(rates))
        total = sum(rates)
        self._shares = [max(1, round(rate / total * _UNITS)) for rate in rates]

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, row: int) -> tuple[int, int]:
        before, after = self.counts(row), self.counts(row + 1)
        source = next(i for i, count in enumerate(after) if count > before[i])
        return source, self._first[source] + before[source]

    def counts(self, rows: int) -> list[int]:
        """How many of the first `rows` rows come from each source."""
        counts = []
        remaining = sum(self._shares)
        for share in self._shares:
            others = rows * (remaining - share) // remaining
            counts.append(rows - others)
            rows, remaining = others, remaining - share
        return counts
