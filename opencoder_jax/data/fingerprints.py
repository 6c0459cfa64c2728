"""Whether a run may go on: is the data what its checkpoint was trained on?

A fingerprint says what batch k depends on (`BatchSource.fingerprint`). It is compared part by
part, so that a refusal names what differs. In a plan of stages, those that have not begun at
the checkpoint's step have left no trace in it: a run that goes on in another model directory
may change them, add some, or make the current one longer, and nothing before that step.
"""

from collections.abc import Mapping
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import flattened


def check_fingerprint(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, step: int | None = None
) -> None:
    """Refuses to go on with other data than a checkpoint was trained on.

    Args:
      saved: the checkpoint's fingerprint.
      current: of the data now.
      step: compares only what batches 0 to `step` - 1 depend on; None compares everything.

    Raises:
      InputError: the fingerprints differ; the message lists each part that does.
    """
    if step is not None:
        saved, current = _until(saved, step), _until(current, step)
    there, here = flattened(saved), flattened(current)
    differing = [
        f"{part}: checkpoint {there.get(part)!r}, now {here.get(part)!r}"
        for part in sorted({*there, *here})
        if there.get(part) != here.get(part)
    ]
    if differing:
        until = "" if step is None else f" up to step {step}"
        raise InputError(
            f"the training data{until} is not what the checkpoint was trained on; restore it, or "
            "start in another model directory:\n  " + "\n  ".join(differing)
        )


def _until(fingerprint: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The stages that began before `step`, none reaching beyond it; one mixture is one stage."""
    stages = fingerprint.get("stages", {"1": {"steps": step, **fingerprint}})
    begun = {}
    for number, stage in sorted(stages.items(), key=lambda item: int(item[0])):
        if step <= 0:
            break
        begun[f"stage {number}"] = {**stage, "steps": min(stage["steps"], step)}
        step -= stage["steps"]
    return begun
