"""Bytes that the compiled program moves between a chip's memory (HBM) and its cores.

Each instruction with buffers reads its operands and writes its results once; what lies in
on-chip memory (`S(1)`) costs nothing, what a fusion only slices or updates in part costs
that part, and loop bodies count as often as they run. A kernel counts its operands and
results once: attention reads its keys more often than that. So this is the least that this
program can do, and more than a perfectly fused one would.
"""

from opencoder_jax.precompilation.hlo import Array, Computation, Instruction, Module

_FREE = frozenset(
    (
        *("tuple", "get-tuple-element", "parameter", "bitcast", "constant", "domain"),
        *("while", "conditional", "call", "after-all", "add-dependency", "opt-barrier"),
        *("partition-id", "replica-id", "iota", "send", "recv"),
        *(f"{begun}-done" for begun in ("copy", "async", "send", "recv", "all-gather")),
        *("async-update", "all-reduce-done", "collective-permute-done"),
    )
)
_PARTIAL = ("dynamic-slice", "slice", "gather")
_VIEWS = ("bitcast", "reshape", "copy")


def hbm_bytes(module: Module) -> int:
    """Bytes read and written by one chip in a step."""
    total = 0
    for computation, times in module.running():
        total += times * sum(_moved(module, computation, i) for i in computation)
    return total


def _moved(module: Module, computation: Computation, instruction: Instruction) -> int:
    if instruction.opcode in _FREE:
        return 0
    operands = [computation.instructions[name] for name in instruction.operands]
    sizes = [_in_hbm(operand) for operand in operands]
    if instruction.opcode == "fusion":
        return _moved_by_fusion(module, instruction, operands)
    if instruction.opcode == "copy-start":
        return sizes[0] + _hbm(instruction.results[:1])
    if instruction.opcode in _PARTIAL:
        # Only what is taken of it is read.
        return min(sizes[0], instruction.results[0].num_bytes) + _in_hbm(instruction)
    if instruction.opcode == "dynamic-update-slice":
        return 2 * operands[1].results[0].num_bytes if sizes[0] else 0
    return sum(sizes) + _in_hbm(instruction)


def _moved_by_fusion(module: Module, instruction: Instruction, operands: list[Instruction]) -> int:
    inner = module.computations[instruction.called()[0]]
    total = 0
    for parameter in inner:
        if parameter.opcode == "parameter":
            number = int(parameter.attributes.partition(")")[0])
            total += min(_in_hbm(operands[number]), _read_of(inner, parameter))
    root = inner.root
    written = (
        [inner.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    )
    for result, producer in zip(instruction.results, written, strict=False):
        producer = _behind_views(inner, producer)
        if producer.opcode == "dynamic-update-slice":
            update = inner.instructions[producer.operands[1]].results[0]
            total += update.num_bytes if result.in_hbm else 0
        else:
            total += _hbm((result,))
    return total


def _read_of(inner: Computation, value: Instruction) -> int:
    """Bytes of `value` that a fusion reads: all of it, or what it slices out of it."""
    whole = sum(array.num_bytes for array in value.results)
    read = 0
    for user in inner:
        if value.name not in user.operands:
            continue
        if user.opcode in _VIEWS:
            read += _read_of(inner, user)
        elif user.opcode in _PARTIAL and user.operands[0] == value.name:
            read += user.results[0].num_bytes
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == value.name:
            continue
        else:
            return whole
    return min(read, whole)


def _behind_views(inner: Computation, instruction: Instruction) -> Instruction:
    while instruction.opcode in _VIEWS:
        instruction = inner.instructions[instruction.operands[0]]
    return instruction


def _in_hbm(instruction: Instruction) -> int:
    return _hbm(instruction.results)


def _hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.num_bytes for array in arrays if array.in_hbm)
