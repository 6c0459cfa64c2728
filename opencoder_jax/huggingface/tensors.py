"""safetensors files, split by size with an index as `save_pretrained` writes them.

Only one shard's tensors are in memory at a time, out; one tensor, in.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from opencoder_jax.formats.manifest import write_json
from opencoder_jax.huggingface.llama import HuggingFaceError, TensorSpec

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


def write_tensors(
    folder: str | os.PathLike,
    tensors: Iterable[TensorSpec],
    *,
    dtype: np.dtype,
    max_shard_bytes: int,
) -> list[str]:
    """Writes tensors as one file, or as several with an index where they exceed a size.

    Args:
      folder: where to.
      tensors: what.
      dtype: that they are cast to.
      max_shard_bytes: no file is larger, unless a single tensor is.

    Returns:
      Names of the files written.
    """
    folder = Path(folder)
    shards = _plan_shards(list(tensors), dtype.itemsize, max_shard_bytes)
    names = (
        [SINGLE_FILE]
        if len(shards) == 1
        else [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    )
    for name, shard in zip(names, shards, strict=True):
        arrays = {spec.name: spec.make().astype(dtype, copy=False) for spec in shard}
        # transformers refuses files without this entry.
        save_file(arrays, folder / name, metadata={"format": "pt"})
        # It is written for its owner only.
        (folder / name).chmod(0o644)
    if len(shards) == 1:
        return names
    total = sum(math.prod(spec.shape) for shard in shards for spec in shard) * dtype.itemsize
    weight_map = {
        spec.name: name for name, shard in zip(names, shards, strict=True) for spec in shard
    }
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return [*names, INDEX_FILE]


class TensorReader:
    """Tensors by name from the safetensors files of a folder.

    Raises:
      HuggingFaceError: there are none, or a file is missing or damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = Path(folder)
        self._file_of = self._locate()
        self._open: tuple[str, safe_open] | None = None

    @property
    def names(self) -> set[str]:
        return set(self._file_of)

    def dtypes(self) -> set[str]:
        """safetensors' names of the types that occur, e.g. `{"BF16"}`."""
        return {self._file(name).get_slice(name).get_dtype() for name in self._file_of}

    def read(self, name: str) -> np.ndarray:
        if name not in self._file_of:
            raise HuggingFaceError(f"{self._folder}: no tensor {name!r}")
        try:
            return self._file(name).get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise self._damaged(self._file_of[name], error) from error

    def _locate(self) -> dict[str, str]:
        index = self._folder / INDEX_FILE
        if index.exists():
            try:
                return dict(json.loads(index.read_text())["weight_map"])
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(INDEX_FILE, error) from error
        if not (self._folder / SINGLE_FILE).exists():
            raise HuggingFaceError(
                f"{self._folder} has neither {SINGLE_FILE} nor {INDEX_FILE}; weights in "
                "PyTorch's own format have to be saved as safetensors first"
            )
        self._open = None
        try:
            with safe_open(self._folder / SINGLE_FILE, framework="np") as file:
                return dict.fromkeys(file.keys(), SINGLE_FILE)
        except (SafetensorError, OSError) as error:
            raise self._damaged(SINGLE_FILE, error) from error

    def _file(self, name: str) -> safe_open:
        file_name = self._file_of[name]
        if self._open is None or self._open[0] != file_name:
            try:
                opened = safe_open(self._folder / file_name, framework="np")
            except (SafetensorError, OSError) as error:
                raise self._damaged(file_name, error) from error
            self._open = (file_name, opened)
        return self._open[1]

    def _damaged(self, file_name: str, error: Exception) -> HuggingFaceError:
        return HuggingFaceError(f"{self._folder / file_name} is missing or damaged: {error}")


def _plan_shards(
    tensors: Sequence[TensorSpec], itemsize: int, max_shard_bytes: int
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
