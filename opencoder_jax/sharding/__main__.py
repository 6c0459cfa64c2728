"""How a model lies on a mesh: `python -m opencoder_jax.sharding --gin_file=sharding/...`.

It needs no devices, so it answers for any pod from a laptop. What a step needs beside
parameters, gradients and optimizer state, `opencoder_jax.precompile` finds out.
"""

from typing import Any

import jax

from opencoder_jax import configuration
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.sharding.mesh import MeshConfig, make_abstract_mesh
from opencoder_jax.sharding.rules import AxisRules
from opencoder_jax.sharding.table import format_batch, format_parameter_table, parameter_table


def print_parameter_table(
    model: TransformerConfig,
    mesh: MeshConfig,
    rules: AxisRules | None = None,
    optimizer: Any = None,
    batch_size: int = 0,
    sequence_length: int = 0,
) -> None:
    """Prints how a model lies on a mesh; needs no devices.

    A line for each parameter: shape, logical axes, the mesh axes that split them, bytes on a
    device, and bytes of the optimizer's state for it. Then the sums, and what a device gets of
    a batch. Exit status 2 where the mesh does not divide the model or the batch.

    Args:
      model: its dimensions, from models/<model>.gin.
      mesh: sizes of the mesh axes, e.g. --gin.sharding.MeshConfig.fsdp=64.
      rules: which mesh axis splits which logical axis; None for the project's own.
      optimizer: whose state is counted; None for none.
      batch_size: sequences of a batch; 0 to leave the batch out.
      sequence_length: tokens of a sequence; 0 for the longest that the model takes.
    """
    abstract_mesh = make_abstract_mesh(mesh)
    rules = rules or AxisRules()
    opt_state = _optimizer_state(model, abstract_mesh, rules, optimizer) if optimizer else None
    rows = parameter_table(model, abstract_mesh, rules, opt_state)
    print(format_parameter_table(rows, abstract_mesh), end="")
    if batch_size:
        length = sequence_length or model.max_length
        print(format_batch(batch_size, length, abstract_mesh, rules), end="")


def _optimizer_state(model: TransformerConfig, mesh: Any, rules: AxisRules, optimizer: Any) -> Any:
    """Shapes and shardings of the optimizer's state."""
    # optax is for training hosts; who only looks at parameters does not have it.
    from opencoder_jax.training import schedules, step

    no_schedule = schedules.WarmupStable(peak=1.0, warmup_steps=1)
    config = step.StepConfig(model=model, optimizer=optimizer, schedule=no_schedule)
    return step.abstract_state(config, step.Placement(mesh, rules)).opt_state


if __name__ == "__main__":
    # No device is looked at, so none is looked for: libtpu would complain where there is no TPU.
    jax.config.update("jax_platforms", "cpu")
    raise SystemExit(
        configuration.main(print_parameter_table, default_gin_files=["sharding/opencoder_1b5.gin"])
    )
