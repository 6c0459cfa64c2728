"""No kind of instruction makes up more than its share of a set (an option, off by default).

A teacher that is asked for easy tasks as for hard ones answers the easy ones more often, so a
set that keeps what passes its tests drifts towards them. Here every group, e.g. (language,
difficulty, type), is cut down to at most `max_share` of what is left; which of its members stay
is a hash of their ids, so the same on every runner. Next: `near_instructions`.
"""

import bisect
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsSingleton, TaggedOutput

from beam_pipelines.accounting import Drop, Split
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.split import hash_fraction

REASON = "over_share"
# What a record does not say.
UNKNOWN = "unknown"
_DROPPED = "dropped"


@dataclasses.dataclass(frozen=True)
class BalanceSettings:
    """What may not outweigh the rest.

    Attributes:
      by: what makes a group: `language`, `provenance`, or a key of the records' details, such
        as `difficulty` and `type`; a record that lacks one counts as `unknown`.
      max_share: of the records that stay, at most, for each group.
    """

    by: Sequence[str]
    max_share: float

    def __post_init__(self) -> None:
        if not self.by:
            raise InputError("balance: by is empty, expected e.g. ['language', 'difficulty']")
        if not 0 < self.max_share <= 1:
            raise InputError(f"balance: max_share is {self.max_share}, expected 0 < share <= 1")


class Balance(beam.PTransform):
    """PCollection of elements with an `id` to a `Split`; the reason is `REASON`.

    Raises (in the job):
      InputError: there are so few groups that one of them has to have more than its share.
    """

    def __init__(
        self,
        settings: BalanceSettings,
        fact: Callable[[Any, str], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        """Args:
        settings: groups and share.
        fact: what an element says of one of `settings.by`, e.g. `conversation_fact`; empty
          where it does not.
        drop: makes the `Drop` of (element, reason, detail).
        """
        super().__init__()
        self._settings = settings
        self._fact = fact
        self._drop = drop

    def expand(self, elements: beam.PCollection) -> Split:
        group = _Group(tuple(self._settings.by), self._fact)
        places = elements | "Places" >> beam.Map(lambda element: (group(element), _place(element)))
        limit = (
            places
            | "Count" >> beam.combiners.Count.PerKey()
            | "Counts" >> beam.combiners.ToList()
            | "Limit" >> beam.Map(_limit_of_counts, self._settings.max_share)
        )
        last = (
            places
            | "Group" >> beam.GroupByKey()
            | "LastPlaces" >> beam.FlatMap(_last_place, AsSingleton(limit))
        )
        split = elements | "Cut" >> beam.ParDo(
            _Cut(group, self._drop), AsDict(last), AsSingleton(limit)
        ).with_outputs(_DROPPED, main="kept")
        return Split(split.kept, split[_DROPPED])


def conversation_fact(conversation: Conversation, name: str) -> str:
    """What a conversation says of itself under `name`."""
    if name in ("language", "provenance"):
        return str(getattr(conversation, name))
    return str(conversation.known().get(name, ""))


def group_limit(counts: Mapping[str, int], max_share: float) -> int:
    """The largest number of records that each group may keep.

    Of the numbers n for which no min(count, n) is more than `max_share` of their sum, the
    largest.

    Raises:
      InputError: there is none.
    """
    if not counts:
        return 0

    def fits(n: int) -> bool:
        left = [min(count, n) for count in counts.values()]
        return max(left) <= max_share * sum(left) + 1e-9

    # The sum is concave in n, so what fits is all numbers up to the largest.
    limit = bisect.bisect_left(range(1, max(counts.values()) + 1), True, key=lambda n: not fits(n))
    if limit == 0:
        raise InputError(
            f"balance: one of the {len(counts)} groups ({', '.join(sorted(counts))}) has to have "
            f"more than {max_share:g} of the records: max_share has to be at least "
            f"{1 / len(counts):.4g}, or `by` has to name more"
        )
    return limit


class _Group:
    """Names the group of an element."""

    def __init__(self, by: tuple[str, ...], fact: Callable[[Any, str], str]) -> None:
        self._by = by
        self._fact = fact

    def __call__(self, element: Any) -> str:
        return " / ".join(self._fact(element, name) or UNKNOWN for name in self._by)


def _place(element: Any) -> tuple[float, str]:
    """Where an element stands in its group: the first ones stay."""
    return hash_fraction("balance", element.id), element.id


def _limit_of_counts(counts: Sequence[tuple[str, int]], max_share: float) -> int:
    return group_limit(dict(counts), max_share)


def _last_place(
    group: tuple[str, Iterable[tuple[float, str]]], limit: int
) -> Iterator[tuple[str, tuple[float, str]]]:
    """The last place of a group that stays; nothing for a group that all stay of."""
    places = sorted(group[1])
    if len(places) > limit:
        yield group[0], places[limit - 1]


class _Cut(beam.DoFn):
    def __init__(self, group: _Group, drop: Callable[[Any, str, str], Drop]) -> None:
        super().__init__()
        self._group = group
        self._drop = drop

    def process(
        self, element: Any, last: Mapping[str, tuple[float, str]], limit: int
    ) -> Iterator[Any]:
        group = self._group(element)
        if group not in last or _place(element) <= tuple(last[group]):
            yield element
        else:
            detail = f"{group}: at most {limit}"
            yield TaggedOutput(_DROPPED, self._drop(element, REASON, detail))
