"""Checkpoints: written whole, verified when read, passed over when damaged.

A model directory holds `checkpoint_N/`, as T5X's does, with the Orbax items `params`,
`opt_state` and `metadata`; every phase of the project writes and reads this one format.
Orbax writes in the background and moves a checkpoint into place when it is complete, so
a kill leaves none that is half there. Damage after that (a full disk, a file cut short)
mostly restores without complaint, as other numbers; so the metadata keeps a checksum of
each array, taken on the devices that hold it. It does not depend on the mesh, hence a
checkpoint is verified on any other too.
"""

import contextlib
import dataclasses
import hashlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, UInt

from opencoder_jax.distributed import host_parts
from opencoder_jax.errors import InputError
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig

_NAME = re.compile(r"checkpoint_(\d+)")
_DAMAGED_PREFIX = "damaged_"


class CheckpointError(InputError):
    """No checkpoint that could be restored."""


@dataclasses.dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint was made from, stored in it as JSON.

    Attributes:
      step: training steps made, counted across pretraining and annealing.
      tokens_by_source: tokens of the sequences seen so far in all phases, by packed set.
      model: `TransformerConfig.to_json()`.
      tokenizer_fingerprint: of the tokenizer that the training data was made with.
      data: fingerprint of the phase's batches, see `opencoder_jax.data.batches`.
      phases: one object a phase so far, the current one last: its operative
        configuration, inputs and first step.
    """

    step: int
    tokens_by_source: dict[str, int]
    model: dict[str, Any]
    tokenizer_fingerprint: str
    data: dict[str, Any]
    phases: list[dict[str, Any]]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**{field.name: value[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class SaveCheckpointConfig:
    """When to save, with T5X's names.

    Attributes:
      period: steps between checkpoints; the last step of a run is always saved.
      keep: how many of the latest to keep; None keeps all.
    """

    period: int
    keep: int | None = None


@dataclasses.dataclass(frozen=True)
class RestoreCheckpointConfig:
    """What a phase starts from.

    Attributes:
      path: a model directory (its latest checkpoint), or a `checkpoint_N` folder in one.
      restore_optimizer: go on with its optimizer state and step count; otherwise only the
        parameters are taken, and the phase counts from step 0.
    """

    path: str
    restore_optimizer: bool

    def locate(self) -> tuple[Path, int | None]:
        """Model directory and step; step None stands for the latest."""
        match = _NAME.fullmatch(Path(self.path).name)
        return (Path(self.path).parent, int(match[1])) if match else (Path(self.path), None)


class Restored(NamedTuple):
    params: Any
    opt_state: Any
    metadata: CheckpointMetadata


class CheckpointWriter:
    """Saves checkpoints into one model directory, in the background.

    Use as a context manager: leaving it waits for what is being written.
    """

    def __init__(self, model_dir: str | Path, keep: int | None = None):
        """`keep`: how many of the latest checkpoints to keep; None keeps all."""
        options = ocp.CheckpointManagerOptions(
            step_prefix="checkpoint",
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            save_root_metadata=False,
        )
        self._manager = ocp.CheckpointManager(Path(model_dir).absolute(), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    def save(self, params: Any, opt_state: Any, metadata: CheckpointMetadata) -> None:
        """Copies the arrays from the devices and returns; the files follow.

        Args:
          params: nested dict of arrays.
          opt_state: of the optimizer; None for parameters that came without one.
          metadata: its `step` names the checkpoint.
        """
        items: dict[str, Any] = {"params": params}
        if opt_state is not None:
            items["opt_state"] = opt_state
        checksums = {name: checksum(tree) for name, tree in items.items()}
        self._manager.save(
            metadata.step,
            args=ocp.args.Composite(
                metadata=ocp.args.JsonSave(
                    {**dataclasses.asdict(metadata), "checksums": checksums}
                ),
                **{name: ocp.args.StandardSave(tree) for name, tree in items.items()},
            ),
        )


def steps(model_dir: str | Path) -> list[int]:
    """Steps of the checkpoints of a model directory, ascending."""
    folder = Path(model_dir)
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


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
      None where there is no sound checkpoint.
    """
    for step, result in _attempts(
        model_dir, {"params": abstract_params, "opt_state": abstract_opt_state}
    ):
        if isinstance(result, Restored):
            return result
        path = Path(model_dir) / f"checkpoint_{step}"
        aside = path.with_name(_DAMAGED_PREFIX + path.name)
        print(
            f"{path} is damaged ({result}); it is passed over, and kept as {aside.name}",
            file=sys.stderr,
        )
        if jax.process_index() == 0:
            _move_aside(path, aside)
    return None


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


def checksum(tree: Any) -> dict[str, int]:
    """A number for each array that any change of one element changes.

    The sum modulo 2^32 of the elements' bits, each times an odd number from its place:
    integer addition has no order, so shards and meshes give the same.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = jax.device_get(_checksums([leaf for _, leaf in leaves]))
    return {
        jax.tree_util.keystr(path): int(value)
        for (path, _), value in zip(leaves, sums, strict=True)
    }


@jax.jit
def _checksums(arrays: list[Array]) -> list[UInt[Array, ""]]:
    return [_checksum(array) for array in arrays]


def _checksum(array: Array) -> UInt[Array, ""]:
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis, size in enumerate(array.shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        place = place * jnp.uint32(size) + index
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def _attempts(
    model_dir: str | Path, wanted: dict[str, Any], step: int | None = None
) -> Iterator[tuple[int, Restored | str]]:
    """Checkpoints from the latest on, each restored or the reason why it could not be."""
    present = steps(model_dir)
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
    with _absl_without("Given directory is read only"):
        return ocp.CheckpointManager(Path(model_dir).absolute(), options=options)


@contextlib.contextmanager
def _absl_without(beginning: str) -> Iterator[None]:
    """Keeps log lines that begin so from the user, for whom they are no news."""

    def other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(beginning)

    logger = logging.getLogger("absl")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _attempt(manager: ocp.CheckpointManager, step: int, wanted: dict[str, Any]) -> Restored | str:
    # Orbax and TensorStore raise anything, bare `Exception` included, on damaged files.
    try:
        stored = manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))
        metadata = CheckpointMetadata.from_json(stored.metadata)
        checksums = stored.metadata["checksums"]
    except Exception as error:
        return f"metadata: {_first_line(error)}"
    if not wanted:
        return Restored(None, None, metadata)
    if missing := sorted(set(wanted) - set(checksums)):
        raise CheckpointError(
            f"{manager.directory}/checkpoint_{step} was saved without {', '.join(missing)}"
        )
    _check_shapes(f"{manager.directory}/checkpoint_{step}", metadata, wanted["params"])
    try:
        items = manager.restore(
            step,
            args=ocp.args.Composite(
                **{name: ocp.args.StandardRestore(tree) for name, tree in wanted.items()}
            ),
        )
    except Exception as error:
        return _first_line(error)
    for name in wanted:
        found = checksum(items[name])
        wrong = [path for path in found if found[path] != checksums[name].get(path)]
        if wrong:
            return f"checksum of {name}{wrong[0]} differs"
    return Restored(items["params"], items.get("opt_state"), metadata)


def _check_shapes(name: str, metadata: CheckpointMetadata, wanted: Any) -> None:
    """Refuses to restore one model's parameters into another's: that is no damage."""
    model = TransformerConfig.from_json(metadata.model)
    stored = jax.tree.map(lambda leaf: leaf.shape, transformer.abstract_params(model))
    shapes = jax.tree.map(lambda leaf: leaf.shape, wanted)
    if stored != shapes:
        raise CheckpointError(f"{name} is of another model: {metadata.model}")


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


def _move_aside(path: Path, aside: Path) -> None:
    number = 2
    while aside.exists():
        aside = aside.with_name(f"{_DAMAGED_PREFIX}{path.name}_{number}")
        number += 1
    path.rename(aside)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def params_sha256(params: Any) -> str:
    """SHA-256 over all arrays in the order of their paths: equal models, equal digests.

    Array after array is brought to the host; it works for arrays of any mesh. Where there are
    several hosts, all have to call it.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        for part in host_parts(leaf):
            digest.update(np.ascontiguousarray(part).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()
