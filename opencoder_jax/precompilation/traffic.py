"""Bytes that the compiled program moves between a chip's memory (HBM) and its cores.

Each instruction with buffers reads its operands and writes its results once; what lies in
on-chip memory (`S(1)`) costs nothing, what a fusion only slices or updates in part costs
that part, and loop bodies count as often as they run. A kernel counts its operands and
results once: attention reads its keys more often than that. So this is the least that this
program can do, and more than a perfectly fused one would.
"""

import re

from opencoder_jax.precompilation.hlo import Array, Computation, Instruction, Module

_FREE = (
    *("tuple", "get-tuple-element", "parameter", "bitcast", "constant", "domain"),
    *("while", "conditional", "call", "after-all", "add-dependency", "opt-barrier"),
    *("partition-id", "replica-id", "iota", "send", "recv", "async-update"),
)
_PARTIAL = ("dynamic-slice", "slice", "gather")
# In the place of their first operand; which operand is written there.
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}
# Buffers without contents, and neighbouring buffers seen as one.
_FREE_CALLS = ("AllocateBuffer", "ConcatBitcast")
_ENDS = 'custom_call_target="AsyncCollectiveDone"'
_VIEWS = ("bitcast", "reshape", "copy")


def hbm_bytes(module: Module) -> int:
    """Bytes read and written by one chip in a step."""
    total = 0
    for computation, times in module.running():
        total += times * sum(_moved(module, computation, i) for i in computation)
    return total


def _moved(module: Module, computation: Computation, instruction: Instruction) -> int:
    target = re.search(r'custom_call_target="(\w+)"', instruction.attributes)
    begun_before = instruction.opcode.endswith("-done")
    if instruction.opcode in _FREE or begun_before or (target and target[1] in _FREE_CALLS):
        return 0
    operands = [computation.instructions[name] for name in instruction.operands]
    sizes = [_in_hbm(operand) for operand in operands]
    if instruction.opcode == "fusion":
        return _moved_by_fusion(module, instruction, operands)
    if instruction.opcode == "copy-start":
        return sizes[0] + _hbm(instruction.results[:1])
    if instruction.opcode == "slice-start":
        # Its results: the operand, the slice, a flag.
        part = instruction.results[1]
        return min(sizes[0], part.num_bytes) + _hbm((part,))
    if instruction.opcode in _PARTIAL:
        # Only what is taken of it is read.
        return min(sizes[0], instruction.results[0].num_bytes) + _in_hbm(instruction)
    if instruction.opcode in _UPDATES:
        return 2 * operands[_UPDATES[instruction.opcode]].results[0].num_bytes if sizes[0] else 0
    return sum(sizes) + _in_hbm(instruction)


def _moved_by_fusion(module: Module, instruction: Instruction, operands: list[Instruction]) -> int:
    inner = module.computations[instruction.called()[0]]
    total = sum(
        min(_in_hbm(operand), _read_of(module, inner, parameter))
        for operand, parameter in zip(operands, _parameters(inner), strict=True)
    )
    root = inner.root
    written = (
        [inner.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    )
    for result, producer in zip(instruction.results, written, strict=False):
        if result.in_hbm and not _passes_on(producer):
            updated = _updated(module, inner, producer)
            total += result.num_bytes if updated is None else updated
    return total


def _passes_on(producer: Instruction) -> bool:
    """Whether a fusion gives a buffer that another has filled, or fills.

    Around a gather that runs in the background, fusions hand its buffers on; the one that
    begins it is counted.
    """
    return producer.opcode in ("parameter", "all-gather") or _ENDS in producer.attributes


def _parameters(inner: Computation) -> list[Instruction]:
    """In the order of the operands that they stand for."""
    parameters = [i for i in inner if i.opcode == "parameter"]
    return sorted(parameters, key=lambda i: int(i.attributes.partition(")")[0]))


def _read_of(module: Module, inner: Computation, value: Instruction) -> int:
    """Bytes of `value` that a fusion reads: all of it, or what it slices out of it."""
    whole = sum(array.num_bytes for array in value.results)
    if value is inner.root:
        return whole
    read = 0
    for user in inner:
        if value.name not in user.operands:
            continue
        first = user.operands[0] == value.name
        if user.opcode in _VIEWS:
            read += _read_of(module, inner, user)
        elif user.opcode == "fusion":
            nested = module.computations[user.called()[0]]
            if _is_view(nested):
                read += _read_of(module, inner, user)
                continue
            parameters = _parameters(nested)
            read += sum(
                _read_of(module, nested, parameters[number])
                for number, name in enumerate(user.operands)
                if name == value.name
            )
        elif user.opcode in _PARTIAL and first:
            read += user.results[0].num_bytes
        elif user.opcode in _UPDATES and first:
            continue
        elif user.opcode != "tuple" and _ENDS not in user.attributes:
            return whole
    return min(read, whole)


def _is_view(inner: Computation) -> bool:
    """Whether a fusion only gives its operand another shape or order, for what reads it."""
    return all(i.opcode in (*_VIEWS, "parameter") for i in inner)


def _updated(module: Module, inner: Computation, producer: Instruction) -> int | None:
    """Bytes that `producer` writes of its result; None where it writes all of it."""
    while producer.opcode in _VIEWS:
        producer = inner.instructions[producer.operands[0]]
    if producer.opcode == "fusion":
        nested = module.computations[producer.called()[0]]
        return _updated(module, nested, nested.root)
    if producer.opcode in _UPDATES:
        update = inner.instructions[producer.operands[_UPDATES[producer.opcode]]]
        return update.results[0].num_bytes
    return None


def _in_hbm(instruction: Instruction) -> int:
    return _hbm(instruction.results)


def _hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.num_bytes for array in arrays if array.in_hbm)
