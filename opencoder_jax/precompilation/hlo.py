"""XLA's compiled program as text, taken apart: computations, instructions, how often each runs.

XLA's own counters look at the body of a loop once. Here every computation knows how often
it runs in a step: the product of the trip counts of the loops around it (layers, chunks of
the loss, microbatches), read from each loop's condition. Shapes carry their tiles and their
memory space, so padding and what stays in on-chip memory can be told apart.

The text is that of `jax.stages.Compiled.as_text()`; the grammar is XLA's HLO text format
(openxla.org/xla/operation_semantics). Next: `collectives`, `traffic`.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

from opencoder_jax.errors import InputError

_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](?:\{([^{}]*)\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_HEADER = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"\s+(ROOT )?%[\w.\-]+ = ")
_BITS = {"pred": 8, "s4": 4, "u4": 4, "s2": 2, "u2": 2, "token": 0, "opaque": 0}
_CALLED = re.compile(r"\b(?:calls|to_apply|body|called_computations)=\{?%([\w.\-]+)")
_BRANCHES = re.compile(
    r"\b(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=%([\w.\-]+))"
)


class UncountableError(InputError):
    """A loop whose number of turns the program does not say."""


@dataclasses.dataclass(frozen=True)
class Array:
    """The type of one array: dtype, shape, and where and how it lies in memory."""

    dtype: str
    shape: tuple[int, ...]
    layout: str

    @property
    def in_hbm(self) -> bool:
        """Not in on-chip memory (`S(1)` is VMEM, others are flags and scalars)."""
        space = re.search(r"S\((\d+)\)", self.layout)
        return space is None or space[1] == "0"

    @property
    def bits(self) -> int:
        if self.dtype in _BITS:
            return _BITS[self.dtype]
        return int(re.sub(r"^[a-z]+", "", self.dtype).split("e")[0])

    @property
    def num_bytes(self) -> int:
        """Without padding."""
        return math.prod(self.shape) * self.bits // 8

    @property
    def padded_bytes(self) -> int:
        """With the padding of its tiles."""
        order, tiles = self.layout.partition(":")[::2]
        tile = re.match(r"T\(([\d,]+)\)", tiles)
        if tile is None:
            return self.num_bytes
        sizes = [int(length) for length in tile[1].split(",")]
        minor_to_major = [int(axis) for axis in order.split(",") if axis]
        physical = [self.shape[axis] for axis in reversed(minor_to_major)]
        # A tile covers the last dimensions; one of fewer dimensions, the last of them.
        physical = [1] * (len(sizes) - len(physical)) + physical
        for position, size in enumerate(sizes, start=len(physical) - len(sizes)):
            physical[position] = math.ceil(physical[position] / size) * size
        return math.prod(physical) * self.bits // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: without `%`.
      opcode: e.g. `all-gather`.
      results: the arrays that it gives; several for a tuple.
      operands: names.
      attributes: the rest of the line.
    """

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str

    @property
    def op_name(self) -> str:
        """Where in the JAX program it comes from."""
        match = re.search(r'op_name="([^"]*)"', self.attributes)
        return match[1] if match else ""

    def called(self) -> list[str]:
        """Computations that run when it runs, conditions of loops left out."""
        names = _CALLED.findall(self.attributes)
        for several, one in _BRANCHES.findall(self.attributes):
            names += _NAME.findall(several) if several else [one]
        return names


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in their order; the root is what it gives."""

    name: str
    instructions: Mapping[str, Instruction]
    root: Instruction

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions.values())


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
      computations: by name.
      entry: where it starts.
      arguments: arrays that it is called with.
      executions: computation to how often it runs a step, fused ones and bodies included;
        computations that only reduce (`to_apply` of a collective or a reduction) are not in it.
      fused: computations inside a fusion: their values are no buffers.
    """

    computations: Mapping[str, Computation]
    entry: str
    arguments: tuple[Array, ...]
    executions: Mapping[str, int]
    fused: frozenset[str]

    def running(self) -> Iterator[tuple[Computation, int]]:
        """Computations whose instructions have buffers, and how often each runs a step."""
        for name, times in self.executions.items():
            if name not in self.fused:
                yield self.computations[name], times


def parse(text: str, *, open_turns: int | None = None, branches: bool = True) -> Module:
    """The program of `Compiled.as_text()`.

    Args:
      text: of the program.
      open_turns: how often a loop turns whose number of turns depends on data.
      branches: whether all branches of all conditions are counted, or none.

    Raises:
      UncountableError: there is such a loop, and `open_turns` is not given.
    """
    computations: dict[str, Computation] = {}
    entry = ""
    header = ""
    lines: list[str] = []
    for line in text.splitlines():
        if not header:
            if match := _HEADER.match(line):
                header, lines = match[2], []
                entry = header if match[1] else entry
        elif line == "}" or line.startswith("}, "):
            # The second: `}, execution_thread="..."`, what runs on another core of the chip.
            computations[header] = _computation(header, lines)
            header = ""
        elif _LINE.match(line) or not lines:
            lines.append(line)
        else:
            # A kernel's metadata goes over several lines.
            lines[-1] += line
    executions: dict[str, int] = {}
    fused: set[str] = set()
    _count(computations, entry, 1, executions, fused, open_turns, branches)
    first_line = text.partition("\n")[0]
    layout = first_line.partition("entry_computation_layout={(")[2].partition(")->")[0]
    return Module(computations, entry, _arrays(layout), executions, frozenset(fused))


def trip_count(computations: Mapping[str, Computation], loop: Instruction, owner: str) -> int:
    """Turns of the loop `loop` of the computation `owner`.

    The condition compares a counter, one of the loop's values, with a constant; where the
    counter starts is read before the loop, its step in the loop.

    Raises:
      UncountableError: it is no such loop.
    """
    condition_name = re.search(r"condition=%([\w.\-]+)", loop.attributes)
    body_name = re.search(r"body=%([\w.\-]+)", loop.attributes)
    assert condition_name
    assert body_name
    condition, body = computations[condition_name[1]], computations[body_name[1]]
    initial = _resolve(computations[owner], loop.operands[0])
    compare = condition.root
    if compare.opcode == "fusion":
        # A condition in a fusion: its parameters are the fusion's operands, in order.
        fused = computations[compare.called()[0]]
        outer = compare
        compare = fused.root
        by_parameter = {
            instruction.name: outer.operands[_parameter_number(instruction)]
            for instruction in fused
            if instruction.opcode == "parameter"
        }
        sides = [by_parameter.get(name, name) for name in compare.operands]
    else:
        sides = list(compare.operands)
    direction = re.search(r"direction=(\w\w)", compare.attributes)
    start = step = limit = None
    for side in sides:
        instruction = _resolve(condition, side)
        if instruction.opcode == "get-tuple-element":
            index = _tuple_index(instruction)
            before = _resolve(computations[owner], initial.operands[index])
            grows = _step(body, index)
            if grows is None:
                limit = _constant(before)
            else:
                start, step = _constant(before), grows
        else:
            limit = _constant(instruction)
    if compare.opcode != "compare" or start is None or step is None or limit is None:
        raise UncountableError(f"the program does not say how often its loop {loop.name} turns")
    distance = limit - start
    if direction and direction[1] in ("LE", "GE"):
        distance += 1 if step > 0 else -1
    return max(0, math.ceil(distance / step))


def _count(
    computations: Mapping[str, Computation],
    name: str,
    times: int,
    executions: dict[str, int],
    fused: set[str],
    open_turns: int | None,
    branches: bool,
) -> None:
    executions[name] = executions.get(name, 0) + times
    for instruction in computations[name]:
        if instruction.opcode == "conditional" and not branches:
            continue
        if instruction.opcode == "while":
            try:
                turns = trip_count(computations, instruction, name)
            except UncountableError:
                if open_turns is None:
                    raise
                turns = open_turns
            for called in instruction.called():
                _count(computations, called, times * turns, executions, fused, open_turns, branches)
        elif instruction.opcode in ("call", "conditional", "async-start", "fusion"):
            for called in instruction.called():
                if instruction.opcode == "fusion" or name in fused:
                    fused.add(called)
                _count(computations, called, times, executions, fused, open_turns, branches)


def _computation(name: str, lines: list[str]) -> Computation:
    instructions = {}
    root = None
    for line in lines:
        instruction, is_root = _instruction(line)
        instructions[instruction.name] = instruction
        if is_root:
            root = instruction
    assert root is not None, f"computation {name} has no root"
    return Computation(name, instructions, root)


def _instruction(line: str) -> tuple[Instruction, bool]:
    left, _, rest = line.partition(" = ")
    kind, rest = _split_at_depth_0(rest, " ")
    opcode, _, rest = rest.partition("(")
    operands, attributes = _split_at_depth_0(rest, ")")
    # A constant or a parameter has its value in the parentheses, of which names are no part.
    names = tuple(_NAME.findall(operands))
    if opcode in ("constant", "parameter"):
        attributes = f"{operands}){attributes}"
    instruction = Instruction(
        name=left.replace("ROOT", "").strip().lstrip("%"),
        opcode=opcode,
        results=_arrays(kind),
        operands=names,
        attributes=attributes,
    )
    return instruction, left.lstrip().startswith("ROOT")


def _split_at_depth_0(text: str, separator: str) -> tuple[str, str]:
    """`text` before and after the first `separator` outside of brackets."""
    depth = 0
    for position, character in enumerate(text):
        if depth == 0 and character == separator:
            return text[:position], text[position + 1 :]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
    return text, ""


def _arrays(text: str) -> tuple[Array, ...]:
    return tuple(
        Array(dtype, tuple(int(n) for n in shape.split(",") if n), layout)
        for dtype, shape, layout in _ARRAY.findall(text)
    )


def _resolve(computation: Computation, name: str) -> Instruction:
    """The instruction behind copies and bitcasts."""
    instruction = computation.instructions[name]
    while instruction.opcode in ("copy", "bitcast", "copy-done", "copy-start", "convert"):
        instruction = computation.instructions[instruction.operands[0]]
    return instruction


def _constant(instruction: Instruction) -> int | None:
    match = re.match(r"(-?\d+)\)", instruction.attributes)
    return int(match[1]) if instruction.opcode == "constant" and match else None


def _parameter_number(instruction: Instruction) -> int:
    return int(instruction.attributes.partition(")")[0])


def _tuple_index(instruction: Instruction) -> int:
    match = re.search(r"index=(\d+)", instruction.attributes)
    assert match
    return int(match[1])


def _step(body: Computation, index: int) -> int | None:
    """By how much value `index` of a loop grows each turn; None where it stays."""
    value = _resolve(body, body.root.operands[index])
    if value.opcode == "add":
        for operand in value.operands:
            step = _constant(_resolve(body, operand))
            if step is not None:
                return step
    return None


def kernel_name(instruction: Instruction) -> str:
    """The name that a Pallas kernel was given, of a custom call."""
    match = re.search(r'kernel_name\\?"\s*[:=]\s*\\?"([\w.\-]+)', instruction.attributes)
    return match[1] if match else re.sub(r"[.\d]+$", "", instruction.name)


def source(op_name: str) -> str:
    """The end of an operation's path in the JAX program, without JAX's own steps."""
    steps = ("while", "body", "eval_jaxpr", "checkpoint", "closed_call", "cond")
    return "/".join([part for part in op_name.split("/") if part not in steps][-3:])
