"""How a model lies on a mesh: `python -m opencoder_jax.sharding --gin_file=sharding/...`.

It needs no devices, so it answers for any pod from a laptop.
"""

from opencoder_jax import configuration
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.sharding.mesh import MeshConfig, make_abstract_mesh
from opencoder_jax.sharding.rules import AxisRules
from opencoder_jax.sharding.table import format_parameter_table, parameter_table


def print_parameter_table(
    model: TransformerConfig, mesh: MeshConfig, rules: AxisRules | None = None
) -> None:
    """Prints parameter, logical axes, mesh axes and bytes per device; needs no devices."""
    abstract_mesh = make_abstract_mesh(mesh)
    rows = parameter_table(model, abstract_mesh, rules or AxisRules())
    print(format_parameter_table(rows, abstract_mesh), end="")


if __name__ == "__main__":
    raise SystemExit(
        configuration.main(print_parameter_table, default_gin_files=["sharding/opencoder_1b5.gin"])
    )
