"""Checkpoints of parameters written and read part by part, never as a whole.

`checkpoints` saves what training holds on its devices. Converting a model wants neither
devices nor the memory of the model: here a parameter goes through TensorStore a block at a
time, into and out of the very format that Orbax's `StandardSave` writes (an OCDBT store of
zarr arrays), so that `checkpoints.restore` reads the result onto any mesh. The checksums
of the metadata are computed on the way: sums modulo 2^32, which blocks in any order give.
Users: `opencoder_jax/import_hf.py`, `export_hf.py`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from opencoder_jax.training.checkpoints import CheckpointError, CheckpointMetadata
from opencoder_jax.training.checkpoints.metadata import broken_seal, seal
from opencoder_jax.training.checkpoints.orbax_messages import beginning, hidden

# Of a chunk of a file, so that hosts of a mesh read little more than what is theirs.
_CHUNK_BYTES = 16 * 2**20
# Elements that a checksum looks at together: its temporaries are 8 bytes an element.
_CHECKSUM_ELEMENTS = 2**20

ParameterPath = tuple[str, ...]
Index = tuple[slice, ...]


class Part(NamedTuple):
    """Where a block lies in an array: one slice for each axis, and its numbers."""

    place: Index
    block: np.ndarray


@dataclasses.dataclass(frozen=True)
class StreamedArray:
    """An array that is made while it is written.

    Attributes:
      shape: of the whole.
      dtype: of every block.
      parts: the blocks, each element in exactly one.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Callable[[], Iterable[Part]]


def part_checksum(part: Part, shape: Sequence[int]) -> int:
    """What a block adds to `checkpoints.checksum` of its array, modulo 2^32.

    Args:
      part: numbers of 1, 2 or 4 bytes.
      shape: of the whole array.
    """
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[part.block.dtype.itemsize]
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = sum(axis.start * stride for axis, stride in zip(part.place, strides, strict=True))
    # Rows of the last axis at a time: places inside one are consecutive.
    rows = part.block.reshape(-1, part.block.shape[-1])
    places = np.zeros(part.block.shape[:-1], np.uint32)
    for axis, size in enumerate(part.block.shape[:-1]):
        steps = np.arange(size, dtype=np.uint64) * strides[axis]
        places += steps.astype(np.uint32).reshape(-1, *[1] * (places.ndim - axis - 1))
    row_places = (places.reshape(-1) + np.uint32(first % 2**32)).astype(np.uint32)
    columns = np.arange(rows.shape[1], dtype=np.uint32)
    total = 0
    step = max(1, _CHECKSUM_ELEMENTS // max(rows.shape[1], 1))
    for at in range(0, rows.shape[0], step):
        bits = np.ascontiguousarray(rows[at : at + step]).view(unsigned).astype(np.uint32)
        weight = row_places[at : at + step, None] + columns
        bits *= 2 * weight + np.uint32(1)
        total += int(np.sum(bits, dtype=np.uint32))
    return total % 2**32


def save(
    model_dir: str | Path,
    arrays: Mapping[ParameterPath, StreamedArray],
    checksums: Mapping[ParameterPath, int],
    metadata: CheckpointMetadata,
) -> None:
    """Writes `checkpoint_N` of parameters without optimizer state.

    Args:
      model_dir: has no such checkpoint yet.
      arrays: path in the parameters to what is written there.
      checksums: of each, as `part_checksum` sums it.
      metadata: its `step` names the checkpoint.

    Raises:
      ValueError: a part gave other numbers than those that the checksums were taken of.
    """
    sums = {keystr(path): value for path, value in checksums.items()}
    handler = _StreamHandler(sums)
    registry = ocp.type_handlers.create_type_handler_registry((StreamedArray, handler))
    # Its own handler of arrays keeps a record of chunk shapes, which reading does without.
    with hidden(beginning("No jax.Array in TypeHandlerRegistry")):
        params_handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    manager = ocp.CheckpointManager(
        Path(model_dir).absolute(),
        options=ocp.CheckpointManagerOptions(
            step_prefix="checkpoint", save_root_metadata=False, enable_async_checkpointing=False
        ),
        item_handlers={"params": params_handler, "metadata": ocp.JsonCheckpointHandler()},
    )
    with manager:
        manager.save(
            metadata.step,
            args=ocp.args.Composite(
                metadata=ocp.args.JsonSave(
                    seal({**dataclasses.asdict(metadata), "checksums": {"params": sums}})
                ),
                params=ocp.args.PyTreeSave(_nested(arrays)),
            ),
        )


class _StreamHandler(ocp.type_handlers.TypeHandler):
    """Writes `StreamedArray`s where and how Orbax writes a `jax.Array`."""

    def __init__(self, checksums: dict[str, int]) -> None:
        self._checksums = checksums

    def typestr(self) -> str:
        # What reads the checkpoint is Orbax's handler of arrays.
        return "jax.Array"

    async def metadata(self, infos: Any) -> Any:
        raise NotImplementedError("checkpoints are read by `checkpoints.restore`")

    async def deserialize(self, infos: Any, args: Any = None) -> Any:
        raise NotImplementedError("checkpoints are read by `checkpoints.restore`")

    async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
        for array, info in zip(values, infos, strict=True):
            await info.await_path_creation()
            path = tuple(info.name.split("."))
            # Orbax merges the stores of the processes into one when they have finished.
            store = await ts.open(
                {
                    "driver": "zarr",
                    "kvstore": _kvstore(info.parent_dir / "ocdbt.process_0", path),
                    "metadata": {
                        "chunks": _chunk_shape(array),
                        "compressor": {"id": "zstd", "level": 1},
                    },
                    "store_data_equal_to_fill_value": True,
                },
                dtype=ts.dtype(array.dtype),
                shape=array.shape,
                create=True,
                context=info.ts_context,
            )
            total = 0
            for part in array.parts():
                total += part_checksum(part, array.shape)
                await store[part.place].write(part.block)
            if total % 2**32 != self._checksums[keystr(path)]:
                raise ValueError(f"{info.name}: what is converted changed while it was read")
        return []


class PartReader:
    """Parameters of a checkpoint, read a part at a time.

    Attributes:
      metadata: of the checkpoint.
      checksums: of the parameters, under the keys of `checkpoints.checksum`.
    """

    def __init__(self, model_dir: str | Path, step: int, group_bytes: int = 2**30) -> None:
        """Args:
        model_dir: where the checkpoint is.
        step: which one.
        group_bytes: how much of an array is read together where its chunks ask for it.

        Raises:
          CheckpointError: there is no such checkpoint, or its metadata is damaged.
        """
        self._folder = Path(model_dir).absolute() / f"checkpoint_{step}"
        self._group_bytes = group_bytes
        try:
            with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
                stored = checkpointer.restore(self._folder / "metadata")
            self.metadata = CheckpointMetadata.from_json(stored)
            self.checksums: dict[str, int] = stored["checksums"]["params"]
            if broken_seal(stored):
                raise ValueError("it has changed since it was written")
        except Exception as error:  # Orbax raises anything on damaged files.
            raise CheckpointError(
                f"{self._folder}: its metadata cannot be read: {error}"
            ) from error

    def read(self, path: ParameterPath, indices: Sequence[Index]) -> Iterator[Part]:
        """Parts of one array, in the order asked for.

        Once all are read, the array is known to be sound: where the parts are all of it and
        their checksum is not the metadata's, the last step of the iteration raises.

        Args:
          path: of the parameter.
          indices: of the parts; together all of the array.

        Raises:
          CheckpointError: the array is missing, of another shape, or damaged.
        """
        name = f"{self._folder}: parameter {'.'.join(path)}"
        total, shape = 0, tuple(axis.stop for axis in indices[-1])
        try:
            store = ts.open(
                {"driver": "zarr", "kvstore": _kvstore(self._folder / "params", path)}, open=True
            ).result()
            if store.shape != shape:
                raise CheckpointError(f"{name} has shape {store.shape}, its model {shape}")
            for box, members in _groups(indices, self._limit(store, indices[0])):
                block = store[box].read().result()
                for index in members:
                    part = Part(index, block[_relative(index, box)])
                    total += part_checksum(part, shape)
                    yield part
        except ValueError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{name} cannot be read: {error}") from error
        if total % 2**32 != self.checksums.get(keystr(path)):
            raise CheckpointError(f"{name} is damaged: its checksum differs")

    def _limit(self, store: ts.TensorStore, index: Index) -> int:
        """How many elements to read together.

        A chunk is decoded whole, and what training saved has all layers of a parameter's shard
        in one: reading layer by layer would decode it as many times as there are layers. One that
        is larger than `group_bytes` takes its memory anyway, so all of it is read at once.
        """
        stated = store.chunk_layout.read_chunk.shape or store.shape
        chunk = [size or whole for size, whole in zip(stated, store.shape, strict=True)]
        part = [axis.stop - axis.start for axis in index]
        if all(c <= p for c, p in zip(chunk, part, strict=True)):
            return 1
        return max(self._group_bytes // store.dtype.numpy_dtype.itemsize, math.prod(chunk))


def keystr(path: ParameterPath) -> str:
    """The key of a parameter in `checkpoints.checksum`."""
    return jax.tree_util.keystr(tuple(map(jax.tree_util.DictKey, path)))


def _groups(indices: Sequence[Index], limit: int) -> Iterator[tuple[Index, list[Index]]]:
    """Boxes of at most `limit` elements (or one part) that consecutive parts fill."""
    box, members = indices[0], [indices[0]]
    for index in indices[1:]:
        joined = tuple(slice(b.start, i.stop) for b, i in zip(box, index, strict=True))
        if _size(joined) <= limit and _size(joined) == _size(box) + _size(index):
            box = joined
            members.append(index)
        else:
            yield box, members
            box, members = index, [index]
    yield box, members


def _size(index: Index) -> int:
    return math.prod(axis.stop - axis.start for axis in index)


def _relative(index: Index, box: Index) -> Index:
    return tuple(
        slice(i.start - b.start, i.stop - b.start) for i, b in zip(index, box, strict=True)
    )


def _kvstore(folder: Any, path: ParameterPath) -> dict[str, Any]:
    """The array of a parameter in Orbax's store of a tree, a folder or in Google's cloud."""
    base = f"{folder}/"
    return {
        "driver": "ocdbt",
        "base": base if "://" in base else f"file://{base}",
        "path": ".".join(path) + "/",
    }


def _chunk_shape(array: StreamedArray) -> tuple[int, ...]:
    """Of the first part's shape, halved along its longest axis until it is small enough."""
    chunk = [axis.stop - axis.start for axis in next(iter(array.parts())).place]
    while math.prod(chunk) * array.dtype.itemsize > _CHUNK_BYTES:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)


def _nested(arrays: Mapping[ParameterPath, StreamedArray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = array
    return tree
