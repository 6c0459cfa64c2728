"""What a training run will be, from its configuration alone: sizes, tokens, operations, memory.

`training_facts` takes the parameters of `opencoder_jax.train` that decide the step, under
their names. No data, tokenizer, checkpoint or device is looked at, and no array is made: the
step is lowered on an abstract mesh, which finds a mesh that does not divide and shapes that do
not fit together before a chip is taken. The sweep planner asks for them (`sweep.pricing`).
"""

import collections
import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractDevice

from opencoder_jax import configuration, sharding
from opencoder_jax.data.batches import DatasetConfig, DatasetPlan, plan_shapes
from opencoder_jax.data.dataset import check_shape
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats import manifest
from opencoder_jax.formats.packed import BATCH_KEYS
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training import flops, step
from opencoder_jax.training.checkpoints import RestoreCheckpointConfig
from opencoder_jax.training.optimizers import Optimizer
from opencoder_jax.training.schedules import Schedule
from opencoder_jax.training.spikes import SpikeConfig

# Lowering takes a second or two; of more programs than these in one process, as where every arm
# has a model of its own, the sizes are checked alone.
MAX_LOWERED = 8
# Program to what is wrong with it, empty where nothing is.
_lowered: dict[str, str] = {}


def training_facts(
    *,
    model: TransformerConfig,
    mesh: sharding.MeshConfig,
    optimizer: Optimizer,
    schedule: Schedule,
    train_steps: int,
    z_loss: float,
    spikes: SpikeConfig | None = None,
    num_microbatches: int = 1,
    loss_chunk_length: int = 512,
    loss_vocab_blocks: int = 1,
    restore_checkpoint_cfg: RestoreCheckpointConfig | None = None,
    train_dataset_cfg: DatasetPlan,
) -> dict[str, Any]:
    """What a run with these settings will be, as JSON.

    `train_dataset_cfg` is last for who evaluates gin's references in this order: it registers the
    mixture by name, and only here is it forgotten again, so that another run may give the name
    other rates.

    Returns:
      `parameters`; `steps`; `batches`, a list of [steps, B, S]; target `tokens` and `flops`
      (`training.flops`) of the whole run; `mesh`, axis to size; `devices`, what the mesh takes,
      None where one of its axes is -1; of one device (of as few as can be where `devices` is
      None) `state_bytes`, of parameters and optimizer, and `least_bytes`, that and the
      gradients: no step needs less; `program`, the same for steps that compile alike; `lowered`,
      False where only sizes were checked.

    Raises:
      InputError: the mesh, the batch, the model or the stages do not fit together.
    """
    try:
        require_at_least(1, train_steps=train_steps)
        for dataset in _datasets(train_dataset_cfg):
            check_shape(dataset)
        config = step.StepConfig(
            model=model,
            optimizer=optimizer,
            schedule=schedule,
            z_loss=z_loss,
            loss_chunk_length=loss_chunk_length,
            loss_vocab_blocks=loss_vocab_blocks,
            num_microbatches=num_microbatches,
            spikes=spikes,
        )
        restored = bool(restore_checkpoint_cfg and restore_checkpoint_cfg.restore_optimizer)
        batches = list(_batches(train_dataset_cfg, train_steps, restored))
        device = _device(model, mesh)
        placement = step.Placement(sharding.make_abstract_mesh(_closed(mesh), device))
        shapes = list(dict.fromkeys((size, length) for _, size, length in batches))
        for shape in shapes:
            step.check_sizes(config, placement, *shape)
        program = _program(config, mesh, shapes)
        # Even to trace NVIDIA's kernel takes its library.
        lowers = device.platform != "gpu"
        if lowers and program not in _lowered and len(_lowered) < MAX_LOWERED:
            faults = (_fault(config, placement, shape, device.platform) for shape in shapes)
            _lowered[program] = next(filter(None, faults), "")
        if fault := _lowered.get(program):
            raise InputError(fault)
    finally:
        _forget_mixtures(train_dataset_cfg)
    state_bytes, gradient_bytes = _bytes_of_device(config, placement)
    open_mesh = -1 in (mesh.data, mesh.fsdp, mesh.tensor) and not mesh.virtual_cpu_devices
    return {
        "parameters": model.parameter_count(),
        "steps": train_steps,
        "batches": [list(batch) for batch in batches],
        "tokens": sum(steps * size * length for steps, size, length in batches),
        "flops": sum(
            steps * size * length * flops.token_flops(model, length).total
            for steps, size, length in batches
        ),
        "mesh": dict(placement.mesh.shape),
        "devices": None if open_mesh else placement.mesh.size,
        "state_bytes": state_bytes,
        "least_bytes": state_bytes + gradient_bytes,
        "program": program,
        "lowered": program in _lowered,
    }


def _datasets(plan: DatasetPlan) -> list[DatasetConfig]:
    return [plan] if isinstance(plan, DatasetConfig) else [stage.dataset for stage in plan]


def _batches(plan: DatasetPlan, steps: int, restored: bool) -> Iterator[tuple[int, int, int]]:
    """(steps, B, S) of each stage that the run comes through.

    Stages lie on one axis of steps with the phase whose optimizer is taken over. Where that ended
    only its checkpoint says, so this run is taken to end where the stages do.
    """
    shapes = plan_shapes(plan)
    if isinstance(plan, DatasetConfig):
        yield steps, *shapes[0]
        return
    total = sum(stage.steps for stage in plan)
    if steps > total:
        raise InputError(
            f"the stages of train_dataset_cfg have {total} steps, train_steps is {steps}; lengthen "
            "the last stage, or lower TRAIN_STEPS (a budget cannot set the steps of stages)"
        )
    first = total - steps if restored else 0
    begin = 0
    for stage, shape in zip(plan, shapes, strict=True):
        end = begin + stage.steps
        inside = min(end, first + steps) - max(begin, first)
        if inside > 0:
            yield inside, *shape
        begin = end


def _closed(mesh: sharding.MeshConfig) -> sharding.MeshConfig:
    """The mesh with the size of each axis: on the CPU's devices, or on as few as can be."""
    sizes = [mesh.data, mesh.fsdp, mesh.tensor]
    fixed = math.prod(size for size in sizes if size != -1) * mesh.num_slices
    data, fsdp, tensor = mesh.shape(mesh.virtual_cpu_devices or fixed)
    return dataclasses.replace(
        mesh, data=data // mesh.dcn_data, fsdp=fsdp // mesh.dcn_fsdp, tensor=tensor
    )


def _device(model: TransformerConfig, mesh: sharding.MeshConfig) -> AbstractDevice:
    """What the step is checked for: what the settings name, else a TPU."""
    if mesh.virtual_cpu_devices:
        return AbstractDevice("cpu", None, "cpu")
    if model.attention == "cudnn":
        return AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
    return AbstractDevice("TPU v5 lite", 1, "tpu")


def _fault(
    config: step.StepConfig, placement: step.Placement, shape: tuple[int, int], platform: str
) -> str:
    """What is wrong with the step, as lowering finds it; empty where nothing is."""
    rows = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding.batch_sharding(*placement))
    try:
        with placement.activate():
            state = step.abstract_state(config, placement)
            train_step = step.make_train_step(config, placement)
            traced = train_step.trace(state, dict.fromkeys(BATCH_KEYS, rows))
            traced.lower(lowering_platforms=(platform,))
    except InputError as error:
        return str(error)
    except (TypeError, ValueError, NotImplementedError) as error:
        first = str(error).strip().partition("\n")[0]
        return f"the training step does not lower for {platform}: {first}"
    return ""


def _bytes_of_device(config: step.StepConfig, placement: step.Placement) -> tuple[int, int]:
    """Of the state, and of the gradients, all of which the clipping needs before any is used."""
    state = step.abstract_state(config, placement)
    sizes: collections.Counter[str] = collections.Counter()
    # Gradients stay in the dtype that the model computes in where nothing is summed in float32.
    summed = config.num_microbatches > 1
    gradient_dtype = jnp.dtype(jnp.float32 if summed else config.model.dtype)
    for array in jax.tree.leaves(state):
        numbers = math.prod(array.sharding.shard_shape(array.shape))
        sizes["state"] += numbers * array.dtype.itemsize
    for array in jax.tree.leaves(state.params):
        sizes["gradients"] += (
            math.prod(array.sharding.shard_shape(array.shape)) * gradient_dtype.itemsize
        )
    return sizes["state"], sizes["gradients"]


def _program(
    config: step.StepConfig, mesh: sharding.MeshConfig, shapes: Sequence[tuple[int, int]]
) -> str:
    """The same for steps that compile to the same program but for constants in it."""
    step_form = {
        field.name: _form(
            configuration.canonical(getattr(config, field.name)), integers=field.name == "schedule"
        )
        for field in dataclasses.fields(config)
    }
    return manifest.fingerprint(
        {"step": step_form, "mesh": configuration.canonical(mesh), "shapes": [*map(list, shapes)]}
    )


def _form(value: Any, integers: bool) -> Any:
    """`value` without the size of its numbers: zero (a part that falls away) or not.

    Args:
      value: JSON.
      integers: also those of whole numbers, which elsewhere are lengths of arrays and loops.
    """
    if isinstance(value, Mapping):
        return {name: _form(item, integers) for name, item in value.items()}
    if isinstance(value, list):
        return [_form(item, integers) for item in value]
    if isinstance(value, float) or (integers and isinstance(value, int)):
        return "number" if value else "zero"
    return value


def _forget_mixtures(plan: DatasetPlan) -> None:
    # Never imported for this: without the module no mixture can have been registered.
    if mixtures := sys.modules.get("opencoder_jax.data.mixtures"):
        for config in _datasets(plan):
            mixtures.forget_mixture(config.mixture_or_task_name)
