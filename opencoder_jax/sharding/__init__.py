"""Where every array lies: the mesh, one table of logical axis rules, and a table to look at.

`mesh` makes the mesh of the devices at hand, or of a described topology, over one TPU
slice or several. `rules` says which mesh axis splits which dimension and refuses what
does not divide. `python -m opencoder_jax.sharding --gin_file=sharding/opencoder_1b5.gin`
prints the outcome for any pod, without one. docs/parallelism.md explains the choices.
"""

from opencoder_jax.sharding.mesh import (
    MESH_AXES,
    AnyMesh,
    MeshConfig,
    ShardingError,
    make_abstract_mesh,
    make_mesh,
    use_virtual_cpu_devices,
)
from opencoder_jax.sharding.rules import (
    BATCH_AXES,
    AxisRules,
    activate,
    batch_sharding,
    check_divides,
    local_rows,
    param_name,
    param_shardings,
    process_rows,
    replicated,
)
from opencoder_jax.sharding.table import (
    ParameterRow,
    format_batch,
    format_parameter_table,
    parameter_table,
)

__all__ = [
    "BATCH_AXES",
    "MESH_AXES",
    "AnyMesh",
    "AxisRules",
    "MeshConfig",
    "ParameterRow",
    "ShardingError",
    "activate",
    "batch_sharding",
    "check_divides",
    "format_batch",
    "format_parameter_table",
    "local_rows",
    "make_abstract_mesh",
    "make_mesh",
    "param_name",
    "param_shardings",
    "parameter_table",
    "process_rows",
    "replicated",
    "use_virtual_cpu_devices",
]
