"""What a phase takes from each set of its mixture: asked for, given, and how often gone through.

Rows of a mixture are interleaved by its rates, so what a run of known length takes from each
set is arithmetic, and is told before the first step: a set that is too small for its rate is
repeated, one whose rate is too small for the run gives nothing. `training/run_directory.py`
writes it to `mixture.json`, from which the report pages read it.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from opencoder_jax.data.batches import BatchSource

MIXTURE_NAME = "mixture.json"


@dataclasses.dataclass(frozen=True, slots=True)
class SourceShare:
    """One set in the batches of a phase.

    Attributes:
      name: of the set.
      wanted: share of the tokens that the rates ask for, padding included as in all sequences.
      actual: share that the batches have.
      learned: share of the tokens that the loss counts: without padding, and without prompts; by
        the average of each set; None where a manifest does not tell.
      sequences: in the batches.
      tokens: in them, padding included.
      tokens_before: taken from the set in earlier phases.
      records: sequences of the set.
      repeats: how often the phase goes through the set.
      epochs: the same with the phases before it.
    """

    name: str
    wanted: float
    actual: float
    learned: float | None
    sequences: int
    tokens: int
    tokens_before: int
    records: int
    repeats: float
    epochs: float


def planned_shares(
    source: BatchSource, first_step: int, last_step: int, tokens_before: Mapping[str, int]
) -> tuple[SourceShare, ...]:
    """What batches `first_step` to `last_step` - 1 take from each set, in order of name.

    A count is at most two sequences for each set of the mixture away from its rate.

    Args:
      source: of the batches, which may have stages.
      first_step, last_step: the phase's part of the axis of steps.
      tokens_before: target tokens taken from each set in earlier phases.
    """
    names = source.source_names
    sequences, tokens = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    repeats = dict.fromkeys(names, 0.0)
    wanted, learned = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    told = True
    for dataset, first_row, last_row in source.spans(first_step, last_step):
        before, after = dataset.counts(first_row), dataset.counts(last_row)
        rates = dataset.fingerprint["mixture"]
        for name in dataset.names:
            packed_set, rows = dataset.sets[name], after[name] - before[name]
            length = dataset.sequence_length
            sequences[name] += rows
            tokens[name] += rows * length
            repeats[name] += rows / packed_set.num_records
            wanted[name] += (last_row - first_row) * length * rates[name] / sum(rates.values())
            if packed_set.predicted_tokens is None:
                told = False
            else:
                learned[name] += rows * packed_set.predicted_tokens / packed_set.num_records
    so_far = source.epochs({n: tokens_before.get(n, 0) + tokens[n] for n in names})
    of_wanted, of_tokens = sum(wanted.values()) or 1.0, sum(tokens.values()) or 1
    of_learned = sum(learned.values()) or 1.0
    return tuple(
        SourceShare(
            name=name,
            wanted=wanted[name] / of_wanted,
            actual=tokens[name] / of_tokens,
            learned=learned[name] / of_learned if told else None,
            sequences=sequences[name],
            tokens=tokens[name],
            tokens_before=tokens_before.get(name, 0),
            records=source.num_records[name],
            repeats=repeats[name],
            epochs=so_far[name],
        )
        for name in names
    )


def shares_json(shares: Iterable[SourceShare]) -> dict[str, Any]:
    """Set to its figures."""
    plain = (dataclasses.asdict(share) for share in shares)
    return {fields.pop("name"): fields for fields in plain}


def shares_table(shares: Iterable[SourceShare]) -> str:
    """A line a set, for the terminal."""
    shares = tuple(shares)
    width = max(len(share.name) for share in shares)
    return "\n".join(f"  {share.name:{width}}  {_line(share)}" for share in shares)


def _line(share: SourceShare) -> str:
    if not share.sequences:
        return f"asked {share.wanted:7.2%}  gets no sequence: the phase is too short for its rate"
    learned = "" if share.learned is None else f", {share.learned:.2%} of the tokens learned from"
    line = (
        f"asked {share.wanted:7.2%}  gets {share.actual:7.2%}{learned}; {share.sequences:,} "
        f"sequences, {share.repeats:.2f} times its {share.records:,}"
    )
    earlier = share.epochs - share.repeats
    return f"{line}, {share.epochs:.2f} with earlier phases" if earlier > 1e-9 else line
