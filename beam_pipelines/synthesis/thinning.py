"""The two options that thin an instruction set out, one after the other, for every job."""

from collections.abc import Callable
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.synthesis.balance import Balance, BalanceSettings
from beam_pipelines.synthesis.near_instructions import NearInstructions


class Thinned(NamedTuple):
    """What stays.

    Attributes:
      kept: PCollection of the same elements.
      dropped: `apart` and `balanced` to their drops, those that were asked for.
    """

    kept: Any
    dropped: dict[str, Any]


class ThinOut(beam.PTransform):
    """PCollection of elements with an `id` to `Thinned`; without settings everything stays."""

    def __init__(
        self,
        near_instructions: NearSettings | None,
        balance: BalanceSettings | None,
        *,
        question: Callable[[Any], str],
        fact: Callable[[Any, str], str],
        drop: Callable[[Any, str, str], Drop],
    ) -> None:
        """Args:
        near_instructions: when two questions are near-equal; None: never.
        balance: which groups may not outweigh the others; None: any may.
        question, fact, drop: as in `NearInstructions` and `Balance`.
        """
        super().__init__()
        self._near_instructions = near_instructions
        self._balance = balance
        self._question = question
        self._fact = fact
        self._drop = drop

    def expand(self, elements: beam.PCollection) -> Thinned:
        kept, dropped = elements, {}
        if self._near_instructions is not None:
            apart = kept | "Near" >> NearInstructions(
                self._near_instructions, self._question, self._drop
            )
            kept, dropped["apart"] = apart.kept, apart.dropped
        if self._balance is not None:
            balanced = kept | "Balance" >> Balance(self._balance, self._fact, self._drop)
            kept, dropped["balanced"] = balanced.kept, balanced.dropped
        return Thinned(kept, dropped)


def named_options(
    near_instructions: NearSettings | None, balance: BalanceSettings | None
) -> dict[str, Any]:
    """For a job's settings: those in use, so that finished sets without them stay as they are."""
    options = {"near_instructions": near_instructions, "balance": balance}
    return {name: option for name, option in options.items() if option is not None}
