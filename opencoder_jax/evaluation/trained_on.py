"""Which packed sets a training run saw, by what its checkpoint says of all its phases.

Manifests name no paths: a set is known by its fingerprint, and where it lies by the run's
`config.gin`, or by the folders that the user names too.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from opencoder_jax.data.gathered_sets import set_folders
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.packed_texts import recorded_path
from opencoder_jax.formats.manifest import RUN_NAME, ManifestError, read_manifest
from opencoder_jax.training import checkpoints


def is_run(folder: Path) -> bool:
    """Whether a folder is a model directory of this project."""
    return (folder / RUN_NAME).exists() or bool(checkpoints.steps(folder))


def sets_of_run(run: Path, others: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The packed folders of all phases of a run's latest checkpoint.

    Args:
      run: a model directory.
      others: folders that may be one of them, besides those of the run's own packed folder.

    Returns:
      The folders, and a line for each phase whose data are unknown (imported weights).

    Raises:
      InputError: a set is nowhere, or no checkpoint can be read.
    """
    wanted: dict[str, str] = {}
    unknown = []
    for phase in checkpoints.read_metadata(run).phases:
        sets = dict(_sets(phase.get("inputs", {})))
        if not sets:
            unknown.append(f"{run.name}: began with weights of elsewhere, whose data are unknown")
        wanted |= sets
    packed_dir = recorded_path(run, "PACKED_DIR", "packed_dir")
    near = set_folders(packed_dir).values() if packed_dir else ()
    known: dict[str, Path] = {}
    for folder in [*others, *near]:
        try:
            known.setdefault(read_manifest(folder)["fingerprint"], folder)
        except ManifestError:
            continue
    missing = [f"{name} ({mark})" for mark, name in sorted(wanted.items()) if mark not in known]
    if missing:
        raise InputError(
            f"{run} was trained on {', '.join(missing)}: not found in "
            f"{packed_dir or 'any folder, for its config.gin names none'}; name the packed folders "
            f"beside it: --training_data={run},FOLDER,FOLDER"
        )
    return [known[mark] for mark in wanted], unknown


def _sets(inputs: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(fingerprint, name) of each packed set that a phase's inputs name."""
    for name, value in inputs.items():
        found = re.fullmatch(r"data\.(?:stages\.\d+\.)?sets\.(.+)", name)
        if found:
            yield value, found[1]
