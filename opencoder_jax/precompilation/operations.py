"""Matrix operations that a traced step asks for, what is computed again included.

`training.flops` counts what the model needs; this counts what the program does: products in
the body of a loop as often as it turns, the forward pass of a rematerialised layer twice, all
of a mask's blocks where attention is a plain product. Attention kernels are counted by what
they are known to multiply, on the causal half of their blocks, at the head size that they
were given (padded to 128). Element-wise work does not count: the matrix units do none of it.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax

# Products of [S, T] with the head dimension that a kernel of splash attention makes: forward
# scores and mixing; backward scores again, the weights' gradient, and what each is for.
_SPLASH_PRODUCTS = (("fwd", 2), ("dkv_dq", 5), ("dq", 3), ("dkv", 4))


@dataclasses.dataclass(frozen=True)
class Operations:
    """Of one step on all devices together.

    Attributes:
      products: operations of matrix products outside of kernels.
      kernels: operations of kernels, by name.
      unknown_kernels: kernels whose operations are not known, and not counted.
    """

    products: float
    kernels: dict[str, float]
    unknown_kernels: tuple[str, ...]

    @property
    def total(self) -> float:
        return self.products + sum(self.kernels.values())


def operations(traced: jax.stages.Traced) -> Operations:
    """Of a traced function."""
    products = 0.0
    kernels: dict[str, float] = {}
    unknown: set[str] = set()
    for equation, times in _equations(traced.jaxpr.jaxpr, 1):
        name = equation.primitive.name
        if name == "dot_general":
            products += times * _product(equation)
        elif name == "pallas_call":
            kernel = _kernel_name(equation)
            counted = _splash(kernel, equation)
            if counted is None:
                unknown.add(kernel)
            else:
                kernels[kernel] = kernels.get(kernel, 0.0) + times * counted
    return Operations(products, kernels, tuple(sorted(unknown)))


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    """Every equation and how often it runs, on all devices."""
    for equation in jaxpr.eqns:
        yield equation, times
        if equation.primitive.name == "pallas_call":
            continue
        turns = times
        if equation.primitive.name == "scan":
            turns *= equation.params["length"]
        elif equation.primitive.name == "shard_map":
            mesh, manual = equation.params["mesh"], equation.params["newly_manual_axes"]
            turns *= math.prod(dict(mesh.shape)[axis] for axis in manual)
        for value in equation.params.values():
            for inner in _jaxprs(value):
                yield from _equations(inner, turns)


def _jaxprs(value: Any) -> Iterator[Any]:
    for item in value if isinstance(value, list | tuple) else [value]:
        inner = getattr(item, "jaxpr", item)
        if hasattr(inner, "eqns"):
            yield inner


def _product(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _kernel_name(equation: Any) -> str:
    name = equation.params.get("name") or equation.params["name_and_src_info"].name
    return str(name)


def _splash(kernel: str, equation: Any) -> float | None:
    """Operations of one call of a splash attention kernel; None of another kernel."""
    if "splash" not in kernel:
        return None
    products = next((count for part, count in _SPLASH_PRODUCTS if part in kernel), None)
    # The query is the first operand of floats that has three or more dimensions: [..., H, S, h].
    shapes = [
        var.aval.shape
        for var in equation.invars
        if var.aval.ndim >= 3 and jax.numpy.issubdtype(var.aval.dtype, jax.numpy.floating)
    ]
    if products is None or len(shapes) < 2:
        return None
    query, keys = shapes[0], shapes[1]
    pairs = query[-2] * keys[-2] / 2
    return 2.0 * products * math.prod(query[:-2]) * pairs * query[-1]
