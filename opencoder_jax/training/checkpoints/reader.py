"""Restores checkpoints on any mesh, verified, and passes over those that are damaged.

Damage (a file cut short, a flipped bit, a lost folder) mostly restores without complaint,
as other numbers; so every array is summed up on the devices after reading and compared with
the checksum that was taken before saving. The sums do not depend on the mesh. A checkpoint of
another model or optimizer is no damage: it is refused. Where every checkpoint of a run is
damaged the run is refused too, for starting anew in silence would throw all of it away.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from opencoder_jax.distributed import from_primary, gather
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training.checkpoints.checksums import checksum
from opencoder_jax.training.checkpoints.metadata import (
    COMMIT_MARKER,
    CheckpointError,
    CheckpointMetadata,
    broken_seal,
    incomplete_steps,
    step_folder,
    steps,
)
from opencoder_jax.training.checkpoints.orbax_messages import (
    beginning,
    errors,
    hidden,
    ignore_abandoned_operations,
)

_DAMAGED_PREFIX = "damaged_"


class Restored(NamedTuple):
    params: Any
    opt_state: Any
    metadata: CheckpointMetadata


def restore_latest(
    model_dir: str | Path, abstract_params: Any, abstract_opt_state: Any
) -> Restored | None:
    """The latest sound checkpoint, for going on with training in the same directory.

    A damaged one is said on stderr and moved aside to `damaged_checkpoint_N`, for its
    step will be written again.

    Args:
      model_dir: where the checkpoints are.
      abstract_params: tree of `jax.ShapeDtypeStruct` with the shardings wanted.
      abstract_opt_state: likewise.

    Returns:
      None where there has never been a checkpoint.

    Raises:
      CheckpointError: there are some and none is sound; nothing is moved.
    """
    wanted = {"params": abstract_params, "opt_state": abstract_opt_state}
    incomplete = from_primary(lambda: incomplete_steps(model_dir))
    unusable = dict.fromkeys(incomplete, f"incomplete: no {COMMIT_MARKER} in it")
    found = None
    for step, result in _attempts(model_dir, wanted):
        if isinstance(result, Restored):
            found = result
            break
        unusable[step] = f"damaged: {result}"
    if found is None and unusable:
        listed = "\n  ".join(f"checkpoint_{step} is {unusable[step]}" for step in sorted(unusable))
        raise CheckpointError(
            f"{model_dir} holds checkpoints and none of them is sound, so this run cannot go on:\n"
            f"  {listed}\nBring one back from a copy; or, to start this run from its beginning, "
            f"remove these folders and run the same command"
        )
    if unusable:
        from_primary(lambda: _move_aside(model_dir, unusable))
    return found


def _move_aside(model_dir: str | Path, unusable: Mapping[int, str]) -> None:
    for step, reason in unusable.items():
        path = step_folder(model_dir, step)
        aside = _unused_name(path)
        print(
            f"{path} is {reason}; it is passed over, and kept as {aside.name}",
            file=sys.stderr,
        )
        path.rename(aside)


def restore(
    model_dir: str | Path,
    step: int | None,
    abstract_params: Any,
    abstract_opt_state: Any | None = None,
) -> Restored:
    """A checkpoint of a model directory that is only read.

    Args:
      model_dir: where the checkpoints are.
      step: which one; None takes the latest sound one.
      abstract_params: tree of `jax.ShapeDtypeStruct` with the shardings wanted.
      abstract_opt_state: likewise; None restores no optimizer state.

    Raises:
      CheckpointError: there is none, it is damaged, or it is of another model.
    """
    wanted = {"params": abstract_params}
    if abstract_opt_state is not None:
        wanted["opt_state"] = abstract_opt_state
    for found, result in _attempts(model_dir, wanted, step):
        if isinstance(result, Restored):
            return result
        print(f"{model_dir}/checkpoint_{found} is damaged ({result})", file=sys.stderr)
    raise _none_found(model_dir, step)


def restore_params(
    model_dir: str | Path, step: int | None = None
) -> tuple[Any, CheckpointMetadata]:
    """Parameters alone, on the default device, shaped as the checkpoint's own model says.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    metadata = read_metadata(model_dir, step)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        transformer.abstract_params(TransformerConfig.from_json(metadata.model)),
    )
    restored = restore(model_dir, step, abstract)
    return restored.params, restored.metadata


def read_metadata(model_dir: str | Path, step: int | None = None) -> CheckpointMetadata:
    """Metadata of a checkpoint; of the latest where `step` is None.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    for found, result in _attempts(model_dir, {}, step):
        if isinstance(result, Restored):
            return result.metadata
        print(f"{model_dir}/checkpoint_{found} is damaged ({result})", file=sys.stderr)
    raise _none_found(model_dir, step)


def _attempts(
    model_dir: str | Path, wanted: dict[str, Any], step: int | None = None
) -> Iterator[tuple[int, Restored | str]]:
    """Checkpoints from the latest on, each restored or the reason why it could not be."""
    present = from_primary(lambda: steps(model_dir))
    candidates = [s for s in reversed(present) if step is None or s == step]
    if not candidates:
        return
    with _open_to_read(model_dir) as manager:
        for candidate in candidates:
            yield candidate, _attempt(manager, candidate, wanted)


def _open_to_read(model_dir: str | Path) -> ocp.CheckpointManager:
    # What `read_only` implies; where it is left to Orbax, Orbax warns of each.
    options = ocp.CheckpointManagerOptions(
        step_prefix="checkpoint", read_only=True, save_interval_steps=0, create=False
    )
    with hidden(beginning("Given directory is read only")):
        return ocp.CheckpointManager(Path(model_dir).absolute(), options=options)


def _attempt(manager: ocp.CheckpointManager, step: int, wanted: dict[str, Any]) -> Restored | str:
    name = f"{manager.directory}/checkpoint_{step}"
    stored = _read(manager, step, {"metadata": ocp.args.JsonRestore()})
    if isinstance(stored, str):
        return f"metadata: {stored}"
    content = stored["metadata"]
    try:
        metadata = CheckpointMetadata.from_json(content)
        checksums = content["checksums"]
        if broken_seal(content) or metadata.step != step:
            return "its metadata has changed since it was written"
    except (KeyError, TypeError, AttributeError) as error:
        return f"metadata: {_first_line(error)}"
    if not wanted:
        return Restored(None, None, metadata)
    _check_fits(name, metadata, checksums, wanted)
    items = _read(
        manager, step, {item: ocp.args.StandardRestore(tree) for item, tree in wanted.items()}
    )
    if isinstance(items, str):
        return items
    for item in wanted:
        found = checksum(items[item])
        wrong = [path for path in found if found[path] != checksums[item].get(path)]
        if wrong:
            return f"checksum of {item}{wrong[0]} differs"
    return Restored(items["params"], items.get("opt_state"), metadata)


def _read(manager: ocp.CheckpointManager, step: int, items: dict[str, Any]) -> Any:
    """The items, or the reason why the files do not give them to every process."""
    result, reason = _read_here(manager, step, items)
    reasons = gather(reason)
    return next((r for r in reasons if r is not None), result)


def _read_here(
    manager: ocp.CheckpointManager, step: int, items: dict[str, Any]
) -> tuple[Any, str | None]:
    """The items, and the reason where the files do not give them."""
    # Orbax and TensorStore raise anything, bare `Exception` included, on damaged files.
    try:
        with hidden(errors):
            return manager.restore(step, args=ocp.args.Composite(**items)), None
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error):  # Memory: says nothing of the files.
            raise
        reason = _first_line(error)
    _refuse_unreadable(Path(manager.directory) / f"checkpoint_{step}")
    ignore_abandoned_operations()
    return None, reason


def _refuse_unreadable(folder: Path) -> None:
    """Raises PermissionError where something may not be read, which Orbax calls not found."""

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            raise error

    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            with contextlib.suppress(FileNotFoundError), open(os.path.join(parent, name), "rb"):
                pass


def _check_fits(
    name: str, metadata: CheckpointMetadata, checksums: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Refuses to restore one model's or optimizer's arrays into another's: that is no damage."""
    if missing := sorted(set(wanted) - set(checksums)):
        raise CheckpointError(f"{name} was saved without {', '.join(missing)}")
    model = TransformerConfig.from_json(metadata.model)
    stored = jax.tree.map(lambda leaf: leaf.shape, transformer.abstract_params(model))
    shapes = jax.tree.map(lambda leaf: leaf.shape, wanted["params"])
    if stored != shapes:
        raise CheckpointError(f"{name} is of another model: {metadata.model}")
    for item, tree in wanted.items():
        here = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
        if different := sorted(here ^ set(checksums[item])):
            raise CheckpointError(
                f"{name} was saved with another {item} (of another optimizer?): "
                f"{len(different)} arrays are only there or only here, the first is {different[0]}"
            )


def _none_found(model_dir: str | Path, step: int | None) -> CheckpointError:
    present = steps(model_dir)
    if step is not None and step not in present:
        return CheckpointError(f"{model_dir} has no checkpoint_{step}; it has steps {present}")
    if step is not None:
        return CheckpointError(
            f"{model_dir}/checkpoint_{step} cannot be used; ask for another of steps {present}, or "
            "remove manifest.json and train again: that goes on from the last sound one"
        )
    if present:
        return CheckpointError(f"{model_dir}: no sound checkpoint among steps {present}")
    return CheckpointError(f"{model_dir} has no checkpoint_N folder: train a model there first")


def _unused_name(path: Path) -> Path:
    aside = path.with_name(f"{_DAMAGED_PREFIX}{path.name}")
    number = 2
    while aside.exists():
        aside = path.with_name(f"{_DAMAGED_PREFIX}{path.name}_{number}")
        number += 1
    return aside


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"
