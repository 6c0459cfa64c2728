"""A chip's memory in a step, by kind, as the TPU's compiler laid it out.

Arguments (parameters, optimizer state, batch) are known array by array, with the padding of
their tiles; temporaries are one figure of the compiler, the largest of their arrays are
listed. New parameters and moments take the place of the old ones (aliasing), so the output
costs next to nothing. What a program does not fit into, the compiler's own message says.
"""

import collections
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax

from opencoder_jax.precompilation.hlo import Array, Module, source

# The compiler stops early where the arrays of the program alone are too many, or late, when
# it has laid them out.
_SHORTAGES = (
    r"total memory required for HLO temporaries \((?P<needed>[\d.]+[KMGT]?)\) exceeds available "
    r"HBM \((?P<capacity>[\d.]+[KMGT]?)\)",
    r"Used (?P<needed>[\d.]+[KMGT]?) of (?P<capacity>[\d.]+[KMGT]?) hbm",
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NOT_BUFFERS = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
    *("while", "conditional", "call", "copy-start"),
)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device's HBM.

    Attributes:
      parameters: the master copy, with the padding of tiles; `optimizer_state` and `batch` too.
      optimizer_state: moments and step counts.
      batch: int32 [B, S] arrays, this device's rows.
      other_arguments: the step count, and alignment.
      temporaries: activations, gradients, gathered weights: all that lives within the step.
      output: new state and metrics.
      aliased: the part of the output that takes the place of arguments.
      generated_code: the program itself.
    """

    parameters: int
    optimizer_state: int
    batch: int
    other_arguments: int
    temporaries: int
    output: int
    aliased: int
    generated_code: int

    @property
    def arguments(self) -> int:
        """The compiler's figure: the first four."""
        return self.parameters + self.optimizer_state + self.batch + self.other_arguments

    @property
    def peak(self) -> int:
        """The most that is in use at a time."""
        return self.arguments + self.temporaries + self.output - self.aliased + self.generated_code


@dataclasses.dataclass(frozen=True)
class Temporary:
    """One of the largest arrays inside a step: its type as `bf16[24,4,4096,2240]`."""

    kind: str
    num_bytes: int
    source: str


@dataclasses.dataclass(frozen=True)
class Shortage:
    """What the compiler says of a program that does not fit; bytes of one device.

    Attributes:
      needed: temporaries, or all that it needs; None where the message has no number.
      capacity: what there is.
      message: the compiler's own first line.
    """

    needed: int | None
    capacity: int | None
    message: str


def memory(compiled: jax.stages.Compiled, module: Module, state: Any, batch: Any) -> Memory:
    """The kinds of a compiled `train_step(state, batch)`.

    Args:
      compiled: for the compiler's totals.
      module: the same program, for the layouts of arguments.
      state: a `TrainState`-like tree with `params` and `opt_state`.
      batch: tree of the batch.
    """
    stats: Any = compiled.memory_analysis()
    sizes = [array.padded_bytes for array in module.arguments]
    leaves = jax.tree_util.tree_leaves_with_path((state, batch))
    by_kind: collections.Counter[str] = collections.Counter()
    # An argument that the step does not read is no argument of the program: then the arrays
    # cannot be told apart by their place.
    if len(leaves) == len(sizes):
        for (path, _), size in zip(leaves, sizes, strict=True):
            first = path[0].idx
            by_kind["batch" if first else path[1].name] += size
    known = by_kind["params"] + by_kind["opt_state"] + by_kind["batch"]
    return Memory(
        parameters=by_kind["params"],
        optimizer_state=by_kind["opt_state"],
        batch=by_kind["batch"],
        other_arguments=stats.argument_size_in_bytes - known,
        temporaries=stats.temp_size_in_bytes,
        output=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        generated_code=stats.generated_code_size_in_bytes,
    )


def largest_temporaries(module: Module, count: int = 6) -> list[Temporary]:
    """The largest arrays that the program makes in HBM, each type once."""
    found: dict[str, Temporary] = {}
    for computation, _ in module.running():
        for instruction in computation:
            if instruction.opcode in _NOT_BUFFERS:
                continue
            for array in instruction.results:
                if array.in_hbm:
                    kind = _spelled(array)
                    where = source(instruction.op_name)
                    temporary = Temporary(kind, array.padded_bytes, where)
                    if kind not in found or not found[kind].source:
                        found[kind] = temporary
    return sorted(found.values(), key=lambda t: -t.num_bytes)[:count]


def shortage(error: Exception) -> Shortage | None:
    """What an error of the compiler says of memory; None where it is about something else."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return None
    message = text.partition("\n")[0]
    for pattern in _SHORTAGES:
        if match := re.search(pattern, text):
            return Shortage(_size(match["needed"]), _size(match["capacity"]), message)
    return Shortage(None, None, message)


def _size(text: str) -> int:
    """Bytes of e.g. `15.75G`."""
    return int(float(text.rstrip("KMGT")) * _UNITS[text.lstrip("0123456789.")])


def _spelled(array: Array) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def as_json(memory: Memory) -> Mapping[str, int]:
    return {**dataclasses.asdict(memory), "arguments": memory.arguments, "peak": memory.peak}
