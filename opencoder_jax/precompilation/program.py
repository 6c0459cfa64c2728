"""The training step of `opencoder_jax.train`, compiled for a topology, and what it costs.

`precompile` takes what decides the step (model, optimizer, schedule, batch, microbatches,
mesh) and no data, tokenizer or checkpoint: shapes are all that a compiler needs. Model,
sharding and step are the very functions that training calls, so what fits here is what will
run. Nothing is executed: what comes back are counts and bounds, no measured times.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from opencoder_jax import sharding
from opencoder_jax.formats.packed import BATCH_KEYS
from opencoder_jax.precompilation import hlo, memory, operations, roofline, topology, traffic
from opencoder_jax.precompilation.collectives import Collective, Machine, collectives
from opencoder_jax.precompilation.memory import Memory, Shortage, Temporary
from opencoder_jax.precompilation.operations import Operations
from opencoder_jax.precompilation.roofline import Bound
from opencoder_jax.precompilation.topology import Topology
from opencoder_jax.training import flops, step


@dataclasses.dataclass(frozen=True)
class Counts:
    """What one step of a compiled program does; of one device where nothing else is said.

    Attributes:
      memory: HBM by kind.
      temporaries: the largest arrays within the step.
      model_flops: of all devices: the convention of `training.flops`.
      operations: of all devices: what is computed, also what is computed again.
      collectives: between devices.
      hbm_bytes: moved between HBM and the cores.
      kernels: calls of a TPU kernel in the program's text, by name.
      bound: at the chip's limits.
    """

    memory: Memory
    temporaries: list[Temporary]
    model_flops: float
    operations: Operations
    collectives: list[Collective]
    hbm_bytes: int
    kernels: dict[str, int]
    bound: Bound


@dataclasses.dataclass(frozen=True)
class PrecompileResult:
    """A step and a topology.

    Attributes:
      topology: what was compiled for.
      mesh: axis to size, all slices together.
      config: the step.
      batch_size: sequences of all devices.
      sequence_length: tokens of each.
      compile_seconds: of the compiler, on this machine.
      counts: what the program does; None where it does not fit.
      shortage: what the compiler says where it does not fit.
      hlo: the compiled program; empty where it does not fit.
    """

    topology: Topology
    mesh: dict[str, int]
    config: step.StepConfig
    batch_size: int
    sequence_length: int
    compile_seconds: float
    counts: Counts | None
    shortage: Shortage | None
    hlo: str = dataclasses.field(default="", repr=False)

    @property
    def fits(self) -> bool:
        return self.shortage is None

    @property
    def num_devices(self) -> int:
        return self.topology.num_chips * self.topology.chip.devices_per_chip


def precompile(
    config: step.StepConfig,
    mesh: sharding.MeshConfig,
    where: Topology,
    *,
    batch_size: int,
    sequence_length: int,
) -> PrecompileResult:
    """Compiles a training step for a topology.

    Args:
      config: the step; `first_step` is of no consequence.
      mesh: how the devices are laid out.
      where: see `topology.parse`.
      batch_size: B, sequences of all devices together.
      sequence_length: S.

    Returns:
      Counts where the step fits into the devices' memory, else what the compiler says.

    Raises:
      InputError: a mesh that the topology or the model cannot take, a batch that does not
        divide, libtpu missing.
    """
    compiled_step = compile_step(
        config, mesh, where, batch_size=batch_size, sequence_length=sequence_length
    )
    return examine(compiled_step, where)


def examine(compiled_step: "CompiledStep", where: Topology) -> PrecompileResult:
    """Counts of a compiled step."""
    text = ""
    counts = None
    if compiled_step.compiled:
        text = compiled_step.compiled.as_text() or ""
        counts = _counts(compiled_step, where, hlo.parse(text))
    batch_size, sequence_length = compiled_step.batch[BATCH_KEYS[0]].shape
    return PrecompileResult(
        topology=where,
        mesh=dict(compiled_step.placement.mesh.shape),
        config=compiled_step.config,
        batch_size=batch_size,
        sequence_length=sequence_length,
        compile_seconds=compiled_step.seconds,
        counts=counts,
        shortage=compiled_step.shortage,
        hlo=text,
    )


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A step on its way through the compiler; `compiled` is None where it does not fit."""

    config: step.StepConfig
    placement: step.Placement
    state: Any
    batch: dict[str, jax.ShapeDtypeStruct]
    traced: jax.stages.Traced
    compiled: jax.stages.Compiled | None
    shortage: Shortage | None
    seconds: float


def compile_step(
    config: step.StepConfig,
    mesh: sharding.MeshConfig,
    where: Topology,
    *,
    batch_size: int,
    sequence_length: int,
) -> CompiledStep:
    """The compiled program itself; arguments and errors as `precompile`."""
    mesh = dataclasses.replace(mesh, virtual_cpu_devices=0)
    placement = step.Placement(sharding.make_mesh(mesh, topology.devices(where)))
    step.check_sizes(config, placement, batch_size, sequence_length)
    state = step.abstract_state(config, placement)
    placed = sharding.batch_sharding(*placement)
    row = jax.ShapeDtypeStruct((batch_size, sequence_length), jnp.int32, sharding=placed)
    batch = dict.fromkeys(BATCH_KEYS, row)
    train_step = step.make_train_step(config, placement)
    with placement.activate():
        traced = train_step.trace(state, batch)
        lowered = traced.lower()
    compiled = shortage = None
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        shortage = memory.shortage(error)
        if shortage is None:
            raise
    seconds = time.perf_counter() - started
    return CompiledStep(config, placement, state, batch, traced, compiled, shortage, seconds)


def _counts(compiled_step: CompiledStep, where: Topology, module: hlo.Module) -> Counts:
    compiled = compiled_step.compiled
    assert compiled is not None
    config, rows = compiled_step.config, next(iter(compiled_step.batch.values()))
    batch_size, sequence_length = rows.shape
    model_flops = (
        flops.token_flops(config.model, sequence_length).total * batch_size * sequence_length
    )
    done = operations.operations(compiled_step.traced)
    sent = collectives(module, machine(compiled_step.placement.mesh, where))
    moved = traffic.hbm_bytes(module)
    return Counts(
        memory=memory.memory(compiled, module, compiled_step.state, compiled_step.batch),
        temporaries=memory.largest_temporaries(module),
        model_flops=model_flops,
        operations=done,
        collectives=sent,
        hbm_bytes=moved,
        kernels=_kernels(module),
        bound=roofline.bound(
            where.chip,
            num_devices=compiled_step.placement.mesh.size,
            model_flops=model_flops,
            hardware_flops=done.total,
            hbm_bytes=moved,
            collectives=sent,
        ),
    )


def machine(mesh: sharding.AnyMesh, where: Topology) -> Machine:
    """Where each partition of a program over `mesh` lies: partition p is `mesh.devices.flat[p]`."""
    assert isinstance(mesh, jax.sharding.Mesh)
    placed: list[Any] = list(mesh.devices.flat)
    return Machine(
        mesh_axes=mesh.axis_names,
        mesh_shape=mesh.devices.shape,
        coordinates=np.array([d.coords[: where.chip.dimensions] for d in placed]),
        slices=np.array([getattr(d, "slice_index", 0) for d in placed]),
        topology=where,
    )


def _kernels(module: hlo.Module) -> dict[str, int]:
    """Kernel to how often it runs a step."""
    found: dict[str, int] = {}
    for computation, times in module.running():
        for instruction in computation:
            target = 'custom_call_target="tpu_custom_call"'
            if instruction.opcode == "custom-call" and target in instruction.attributes:
                name = hlo.kernel_name(instruction)
                found[name] = found.get(name, 0) + times
    return dict(sorted(found.items()))
