"""Every document counted: what was dropped and why, and the sum that has to come out.

A transform that drops returns `(kept, dropped)`, and each dropped document becomes one
`Drop` record in `dropped/`. At its end a job checks input = output + drops
(`conservation`) on the records that were really written. Beam's attempted metrics
would not do: a runner may retry a bundle and count it twice.
Next: `beam_pipelines/sinks.py` writes the records, `beam_pipelines/runner.py` runs the job.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from opencoder_jax.formats.document import Document
from opencoder_jax.formats.drop import Drop, decode_drop, drop_reason, encode_drop

__all__ = [
    "SAMPLE_CHARACTERS",
    "AccountingError",
    "Drop",
    "Split",
    "check_equal",
    "conservation",
    "decode_drop",
    "drop_document",
    "drop_reason",
    "encode_drop",
]

SAMPLE_CHARACTERS = 400


class AccountingError(RuntimeError):
    """Documents were lost or made up on the way: a defect of the job, never of its input."""


class Split(NamedTuple):
    """What a stage that drops documents returns.

    Attributes:
      kept: PCollection[Document] (or of whatever the stage works on).
      dropped: PCollection[Drop].
    """

    kept: Any
    dropped: Any


def drop_document(document: Document, reason: str, **facts: Any) -> Drop:
    """The `Drop` of a document that was read; `facts` are further fields of `Drop`."""
    return Drop(
        id=document.id,
        repo=document.repo,
        path=document.path,
        language=document.language,
        reason=reason,
        **facts,
    )


def conservation(
    input_count: int, output_count: int, drops_by_reason: Mapping[str, int]
) -> dict[str, Any]:
    """Checks input = output + drops.

    Returns:
      `{"input": ..., "output": ..., "dropped": {reason: count}}` for the manifest.

    Raises:
      AccountingError: the sum does not come out; the message has all the terms.
    """
    dropped = sum(drops_by_reason.values())
    if input_count != output_count + dropped:
        terms = ", ".join(f"{reason} {count}" for reason, count in sorted(drops_by_reason.items()))
        raise AccountingError(
            f"{input_count} documents came in, {output_count} went out and {dropped} were dropped "
            f"({terms or 'none'}): {input_count - output_count - dropped:+d} unaccounted for"
        )
    return {
        "input": input_count,
        "output": output_count,
        "dropped": dict(sorted(drops_by_reason.items())),
    }


def check_equal(what: str, written: int, counted: int, counter: str) -> None:
    """Compares a count of what was written with another way of counting it.

    Raises:
      AccountingError: they differ.
    """
    if written != counted:
        raise AccountingError(f"{what}: {written} were written, {counter} counts {counted}")
