"""What chips send each other in a step, by kind and mesh axis, from the compiled program.

The TPU's compiler starts a gather in one fusion, hides it behind matrix products in others
and ends it in another; all of them hold the same instruction with the same channel, and are
counted once for each run of the computation that calls them. A reduce-scatter is a fusion
of an all-reduce and a slice. Bytes are those that one chip must send (and receive) at least,
whatever the algorithm: (n-1)/n of the whole array, twice that for an all-reduce. What goes
from slice to slice the compiler hands to the host, as a transfer of the part of each chip.
Next: `roofline`, which turns them into time.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from opencoder_jax.precompilation.hlo import Computation, Instruction, Module, source
from opencoder_jax.precompilation.topology import Topology

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_OPCODES = {
    **{kind: kind for kind in KINDS},
    **{f"{kind}-start": kind for kind in KINDS},
    "collective-broadcast": "all-gather",
    "ragged-all-to-all": "all-to-all",
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where the partitions of a program lie.

    Attributes:
      mesh_axes: names.
      mesh_shape: sizes; partition p lies at the p-th place of the mesh in C order.
      coordinates: int[partitions, dimensions], in the torus of the slice.
      slices: int[partitions], the slice of each.
      topology: the slices' shape.
    """

    mesh_axes: tuple[str, ...]
    mesh_shape: tuple[int, ...]
    coordinates: np.ndarray
    slices: np.ndarray
    topology: Topology


@dataclasses.dataclass(frozen=True)
class Collective:
    """Collectives of one kind over the same chips, all of a step.

    Attributes:
      kind: one of `KINDS`.
      axes: mesh axes along which the chips of a group differ.
      group_size: chips of a group.
      count: how often one runs in a step.
      sent_bytes: what one chip sends to others of its slice in a step, at least.
      links: of the torus that each chip has in the directions in which its group lies.
      dimensions: of the torus in which the group extends.
      num_slices: that a group reaches over.
      dcn_bytes: what one chip sends to other slices in a step, at least, apart from that.
      largest_source: where in the JAX program the one comes from that sends most.
      largest_bytes: what that one sends.
    """

    kind: str
    axes: tuple[str, ...]
    group_size: int
    count: int
    sent_bytes: float
    links: int
    dimensions: tuple[int, ...]
    num_slices: int
    dcn_bytes: float
    largest_source: str
    largest_bytes: float

    def add(self, other: "Collective") -> "Collective":
        larger = max(self, other, key=lambda collective: collective.largest_bytes)
        return dataclasses.replace(
            larger,
            count=self.count + other.count,
            sent_bytes=self.sent_bytes + other.sent_bytes,
            dcn_bytes=self.dcn_bytes + other.dcn_bytes,
        )


def collectives(module: Module, machine: Machine) -> list[Collective]:
    """All collectives of a step, summed by kind and group, the largest first."""
    total: dict[tuple, Collective] = {}
    for computation, times in module.running():
        found = [
            _describe(kind, instruction, times, machine)
            for kind, instruction in _issued(module, computation)
        ]
        found += [_between_slices(transfer, times, machine) for transfer in computation]
        for described in filter(None, found):
            key = (described.kind, described.axes, described.group_size, described.dimensions)
            total[key] = total[key].add(described) if key in total else described
    return sorted(total.values(), key=lambda c: -(c.sent_bytes + c.dcn_bytes))


def groups(attributes: str, num_partitions: int) -> np.ndarray:
    """int[groups, size] of partitions, from any of the three ways in which XLA writes them.

    `{{0,1},{2,3}}`, `[2,2]<=[4]` (optionally `[2,2]T(1,0)` of axes), and
    `mesh['data'=2,'fsdp'=2] {'fsdp'}`.
    """
    if match := re.search(r"source_target_pairs=\{(\{[\d,{}]*\})\}", attributes):
        return np.array(
            [[int(n) for n in pair.split(",")] for pair in re.findall(r"\{([\d,]+)\}", match[1])]
        )
    if match := re.search(r"replica_groups=\{(\{[\d,{}]*\})?\}", attributes):
        if not match[1]:
            return np.arange(num_partitions)[None]
        return np.array(
            [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", match[1])]
        )
    if match := re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes
    ):
        shape, reshaped = (tuple(map(int, match[i].split(","))) for i in (1, 2))
        ids = np.arange(math.prod(reshaped)).reshape(reshaped)
        if match[3]:
            ids = ids.transpose([int(axis) for axis in match[3].split(",")])
        return ids.reshape(shape)
    if match := re.search(
        r"replica_groups=@?mesh\w*\[([^\]]*)\](?:, *device_ids=\([^)]*\))? *\{([^}]*)\}", attributes
    ):
        return _mesh_groups(match[1], match[2])
    raise NotImplementedError(f"replica groups in an unknown form: {attributes[:200]}")


def _mesh_groups(mesh: str, along: str) -> np.ndarray:
    sizes = {name: int(size) for name, size in re.findall(r"'([^']*)'=(\d+)", mesh)}
    names = list(sizes)
    ids = np.arange(math.prod(sizes.values())).reshape(list(sizes.values()))
    chosen: list[int] = []
    # `'axis':(1)2` is a part of an axis: 2 places of it, with 1 as the product of those before.
    parts: dict[str, list[int]] = {}
    for name, before, size in re.findall(r"'([^']*)'(?::\((\d+)\)(\d+))?", along):
        parts[name] = [int(before), int(size)] if size else [1, sizes[name]]
    shape: list[int] = []
    for name in names:
        whole = sizes[name]
        before, size = parts.get(name, [whole, 1])
        for length, wanted in ((before, False), (size, True), (whole // (before * size), False)):
            if wanted and name in parts:
                chosen.append(len(shape))
            shape.append(length)
    ids = ids.reshape(shape)
    rest = [axis for axis in range(ids.ndim) if axis not in chosen]
    group_size = math.prod(shape[axis] for axis in chosen)
    return ids.transpose(rest + chosen).reshape(-1, group_size)


def _issued(module: Module, computation: Computation) -> Iterator[tuple[str, Instruction]]:
    """Kind and instruction of each collective that one run of `computation` begins."""
    seen: set[str] = set()
    for kind, instruction in _all(module, computation):
        channel = re.search(r"channel_id=(\d+)", instruction.attributes)
        chain = re.search(r'chain_id="(\d+)"', instruction.attributes)
        name = instruction.name
        # Those of a `shard_map` all have channel 1: outside of fusions each is one of its own.
        if channel and name not in computation.instructions:
            name = f"{instruction.opcode} {channel[1]} {chain[1] if chain else ''}"
        if name not in seen:
            seen.add(name)
            yield kind, instruction


def _all(module: Module, computation: Computation) -> Iterator[tuple[str, Instruction]]:
    for instruction in computation:
        if kind := _OPCODES.get(instruction.opcode):
            yield kind, instruction
        elif instruction.opcode in ("fusion", "async-start"):
            for name in instruction.called():
                fused = module.computations[name]
                scatters = name.startswith("all-reduce-scatter")
                for kind, inner in _all(module, fused):
                    yield "reduce-scatter" if scatters and kind == "all-reduce" else kind, inner


def _describe(
    kind: str, instruction: Instruction, times: int, machine: Machine
) -> Collective | None:
    members = groups(instruction.attributes, len(machine.slices))
    size = members.shape[1]
    if kind == "collective-permute":
        members = members[members[:, 0] != members[:, 1]]
    if size < 2 or not len(members):
        return None
    whole = sum(array.num_bytes for array in _payload(instruction))
    if kind == "all-gather" and instruction.opcode == "all-gather-start":
        whole = max(array.num_bytes for array in instruction.results)
    elif instruction.opcode == "reduce-scatter":
        whole *= size
    slices = machine.slices[members]
    num_slices = max(len(set(group)) for group in slices.tolist())
    within = max(1, size // num_slices)
    sent = times * _sent(kind, whole, within, size)
    dcn = times * _sent(kind, whole / within, num_slices, num_slices)
    return Collective(
        kind=kind,
        axes=_varying_axes(members, machine),
        group_size=size,
        count=times,
        sent_bytes=sent,
        links=_links(members, machine),
        dimensions=_varying_dimensions(members, machine),
        num_slices=num_slices,
        dcn_bytes=dcn,
        largest_source=source(instruction.op_name),
        largest_bytes=sent + dcn,
    )


def _between_slices(instruction: Instruction, times: int, machine: Machine) -> Collective | None:
    """A transfer over the data centre network; None where `instruction` is none."""
    if instruction.opcode not in ("send", "recv"):
        return None
    transfer = re.search(r'_xla_megascale_transfer_type="(\w+)"', instruction.attributes)
    kind = transfer[1].lower().replace("_", "-") if transfer else ""
    # The side of a transfer that holds the whole array.
    if instruction.opcode != ("recv" if kind == "all-gather" else "send") or kind not in KINDS:
        return None
    parts = machine.topology.num_slices
    slices = machine.slices.reshape(machine.mesh_shape)
    crossing = tuple(
        name
        for axis, name in enumerate(machine.mesh_axes)
        if (slices != slices.take([0], axis=axis)).any()
    )
    bytes_sent = times * _sent(kind, instruction.results[0].num_bytes, parts, parts)
    return Collective(
        kind=kind,
        axes=crossing,
        group_size=parts,
        count=times,
        sent_bytes=0.0,
        links=0,
        dimensions=(),
        num_slices=parts,
        dcn_bytes=bytes_sent,
        largest_source=source(instruction.op_name),
        largest_bytes=bytes_sent,
    )


def _payload(instruction: Instruction) -> Sequence:
    """The arrays of a collective: its results, or the first half where it starts one."""
    if instruction.opcode == "collective-permute-start":
        return instruction.results[:1]
    return instruction.results


def _sent(kind: str, whole: float, parts: int, group: int) -> float:
    """Bytes that one of `parts` chips sends, of an array of `whole` bytes."""
    if parts < 2:
        return 0.0
    if kind == "collective-permute":
        return whole
    share = whole * (parts - 1) / parts
    if kind == "all-to-all":
        return whole * (group - 1) / group
    return 2 * share if kind == "all-reduce" else share


def _varying_axes(members: np.ndarray, machine: Machine) -> tuple[str, ...]:
    places = np.stack(np.unravel_index(members, machine.mesh_shape), axis=-1)
    varies = (places != places[:, :1]).any(axis=(0, 1))
    return tuple(axis for axis, does in zip(machine.mesh_axes, varies, strict=True) if does)


def _varying_dimensions(members: np.ndarray, machine: Machine) -> tuple[int, ...]:
    # Within slices: the torus of another slice is reached over the data centre network.
    places = machine.coordinates[members]
    same_slice = machine.slices[members] == machine.slices[members][:, :1]
    varies = ((places != places[:, :1]) & same_slice[..., None]).any(axis=(0, 1))
    return tuple(int(dimension) for dimension in np.flatnonzero(varies))


def _links(members: np.ndarray, machine: Machine) -> int:
    """Links of each chip along the dimensions of its group, both directions of a ring."""
    topology = machine.topology
    links = 0
    for dimension in _varying_dimensions(members, machine):
        spanned = len(set(machine.coordinates[members[0], dimension].tolist()))
        length = topology.shape[dimension]
        # The last chip of an open line has one link; a group in part of a line may have the
        # other direction to itself.
        links += 1 if spanned == length and (length == 2 or not topology.wraps[dimension]) else 2
    return links
