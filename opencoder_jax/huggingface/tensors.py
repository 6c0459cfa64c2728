"""safetensors files, split by size with an index as `save_pretrained` writes them.

A safetensors file is a length, a JSON header (name, type, shape, byte range) and the
bytes. Here it is read and written by offsets, rows of a tensor at a time: the largest
block of numbers that its caller asks for is all that is ever in memory, whatever the size
of a file. (`safe_open` maps a whole file, `save_file` takes all tensors of one.)
Format: https://huggingface.co/docs/safetensors. Next: `llama` names the tensors.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import ml_dtypes
import numpy as np

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import write_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# What the format allows at most; a damaged length asks for any number of bytes.
_MAX_HEADER_BYTES = 100_000_000
# Numeric types that a model may be stored in, by the format's names.
_DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class HuggingFaceError(InputError):
    """A Hugging Face folder that is damaged or of another architecture."""


class TensorSpec(NamedTuple):
    """A tensor before it is written: name and shape."""

    name: str
    shape: tuple[int, ...]


class TensorWriter:
    """Writes tensors block by block, as one file or as several with an index.

    Use as a context manager: leaving it completes the last file and writes the index.
    Blocks come in the order of the tensors, a tensor's in the order of its rows.

    Attributes:
      file_names: of the weight files.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        tensors: Sequence[TensorSpec],
        *,
        dtype: np.dtype,
        max_shard_bytes: int,
    ) -> None:
        """Args:
        folder: where to.
        tensors: what.
        dtype: that they are cast to.
        max_shard_bytes: no file is larger, unless a single tensor is.
        """
        self._folder = Path(folder)
        self._dtype = dtype
        self._shards = _plan_shards(tensors, dtype.itemsize, max_shard_bytes)
        count = len(self._shards)
        self.file_names = (
            [SINGLE_FILE]
            if count == 1
            else [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        )
        self._file: BinaryIO | None = None
        self._shard = -1
        self._shard_bytes_left = 0
        self._order = (spec for shard in self._shards for spec in shard)
        self._tensor = TensorSpec("", ())
        self._numbers_left = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
        if kind is None:
            if self._shard + 1 < len(self._shards) or self._shard_bytes_left:
                raise ValueError(f"tensors after {self._tensor.name} were not written")
            self._write_index()

    def write(self, name: str, block: np.ndarray) -> None:
        """Appends rows of a tensor (all of it where it fits into memory).

        Args:
          name: of the tensor that the writer is at, or of the next one.
          block: [rows, ...], cast to the writer's type here.

        Raises:
          ValueError: out of order, or more rows than the tensor has.
        """
        if not self._numbers_left:
            self._next_tensor()
        if name != self._tensor.name or block.size > self._numbers_left:
            raise ValueError(f"{name}: {block.shape}, while writing {self._tensor}")
        assert self._file
        # The memory is written as it lies: a transposed view would come out wrong.
        data = np.ascontiguousarray(block.astype(self._dtype, copy=False))
        self._file.write(data.reshape(-1).view(np.uint8).data)
        self._numbers_left -= block.size
        self._shard_bytes_left -= data.nbytes

    def _next_tensor(self) -> None:
        if not self._shard_bytes_left:
            self._next_file()
        self._tensor = next(self._order)
        self._numbers_left = math.prod(self._tensor.shape)

    def _next_file(self) -> None:
        if self._file:
            self._file.close()
        self._shard += 1
        names = {name for name, dtype in _DTYPES.items() if dtype == self._dtype}
        # transformers refuses files without the format.
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for spec in self._shards[self._shard]:
            start, end = end, end + math.prod(spec.shape) * self._dtype.itemsize
            header[spec.name] = {
                "dtype": min(names),
                "shape": list(spec.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._shard_bytes_left = end
        self._file = open(self._folder / self.file_names[self._shard], "wb")  # noqa: SIM115
        self._file.write(len(text).to_bytes(8, "little") + text)

    def _write_index(self) -> None:
        if len(self._shards) == 1:
            return
        placed = list(zip(self.file_names, self._shards, strict=True))
        numbers = sum(math.prod(spec.shape) for shard in self._shards for spec in shard)
        write_json(
            self._folder / INDEX_FILE,
            {
                "metadata": {"total_size": numbers * self._dtype.itemsize},
                "weight_map": {spec.name: name for name, shard in placed for spec in shard},
            },
        )


class _Stored(NamedTuple):
    """Where a tensor lies: file, type, shape, and byte of the file that it starts at."""

    file_name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


class TensorReader:
    """Tensors by name from the safetensors files of a folder.

    All headers are read and checked when it is made: a file that is missing, cut short or
    of quantized numbers is refused before anything is computed.

    Raises:
      HuggingFaceError: there are none, or one is missing or damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = Path(folder)
        self._tensors: dict[str, _Stored] = {}
        listed = self._listed()
        for file_name in sorted(set(listed.values())) if listed else [SINGLE_FILE]:
            self._tensors |= self._read_header(file_name)
        for name, file_name in listed.items():
            if self._tensors.get(name, _Stored("", "", (), 0)).file_name != file_name:
                raise self._damaged(INDEX_FILE, f"{file_name} has no tensor {name!r}")

    @property
    def names(self) -> set[str]:
        return set(self._tensors)

    def dtypes(self) -> set[str]:
        """safetensors' names of the types that occur, e.g. `{"BF16"}`."""
        return {tensor.dtype for tensor in self._tensors.values()}

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name).shape

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """A tensor, or some of its rows.

        Args:
          name: of the tensor.
          rows: of its first axis, with start and stop; None for all.

        Raises:
          HuggingFaceError: there is no such tensor, or its file cannot be read.
        """
        tensor = self._find(name)
        dtype = _DTYPES[tensor.dtype]
        shape, start = tensor.shape, tensor.start
        if rows is not None:
            row_bytes = math.prod(shape[1:]) * dtype.itemsize
            start += rows.start * row_bytes
            shape = (rows.stop - rows.start, *shape[1:])
        data = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        try:
            with open(self._folder / tensor.file_name, "rb", buffering=0) as file:
                _read_into(file, start, data)
        except OSError as error:
            raise self._damaged(tensor.file_name, error) from error
        return data.view(dtype).reshape(shape)

    def _find(self, name: str) -> _Stored:
        if name not in self._tensors:
            raise HuggingFaceError(f"{self._folder}: no tensor {name!r}")
        return self._tensors[name]

    def _listed(self) -> dict[str, str]:
        """Tensor to file, as the index says; empty where a single file needs none."""
        index = self._folder / INDEX_FILE
        if index.exists():
            try:
                listed = dict(json.loads(index.read_text())["weight_map"])
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(INDEX_FILE, error) from error
            for file_name in listed.values():
                # The folder may come from anywhere: no path out of it.
                if Path(str(file_name)).name != file_name:
                    raise self._damaged(INDEX_FILE, f"{file_name!r} is no file name")
            return listed
        if not (self._folder / SINGLE_FILE).exists():
            raise HuggingFaceError(
                f"{self._folder} has neither {SINGLE_FILE} nor {INDEX_FILE}; weights in "
                "PyTorch's own format have to be saved as safetensors first"
            )
        return {}

    def _read_header(self, file_name: str) -> dict[str, _Stored]:
        try:
            with open(self._folder / file_name, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > _MAX_HEADER_BYTES:
                    raise ValueError(f"a header of {length} bytes")
                header = json.loads(file.read(length))
                size = os.fstat(file.fileno()).st_size
            header.pop("__metadata__", None)
            tensors = {
                name: _stored(file_name, entry, 8 + length) for name, entry in header.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(file_name, error) from error
        end = 8 + length
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
            if tensor.dtype not in _DTYPES:
                raise HuggingFaceError(
                    f"{self._folder / file_name}: {name} is stored as {tensor.dtype}, expected one "
                    f"of {', '.join(_DTYPES)}; save the model without quantization"
                )
            if tensor.start != end:
                raise self._damaged(file_name, f"{name} does not start at byte {end}")
            end += math.prod(tensor.shape) * _DTYPES[tensor.dtype].itemsize
        if size != end:
            raise self._damaged(file_name, f"{size} bytes, its header says {end}")
        return tensors

    def _damaged(self, file_name: str, error: object) -> HuggingFaceError:
        return HuggingFaceError(f"{self._folder / file_name} is missing or damaged: {error}")


def _stored(file_name: str, entry: dict[str, Any], data_start: int) -> _Stored:
    shape = tuple(int(size) for size in entry["shape"])
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}")
    return _Stored(file_name, str(entry["dtype"]), shape, data_start + entry["data_offsets"][0])


def _read_into(file: Any, start: int, data: np.ndarray) -> None:
    file.seek(start)
    view = memoryview(data)
    # One call returns at most 2 GB on Linux.
    while view.nbytes:
        count = file.readinto(view)
        if not count:
            raise OSError("it ends too early")
        view = view[count:]


def _plan_shards(
    tensors: Iterable[TensorSpec], itemsize: int, max_shard_bytes: int
) -> list[list[TensorSpec]]:
    shards: list[list[TensorSpec]] = [[]]
    filled = 0
    for spec in tensors:
        size = math.prod(spec.shape) * itemsize
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(spec)
        filled += size
    return shards
