"""How a loss falls with compute: L(C) = E + A (C / C0)^-alpha, by least squares.

For sweeps whose arms are models of several sizes. The floor E and the exponent are told with
their standard errors; over a range that is too small they come out as unsure as they are.
Next: `report` draws the curve over the runs.
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import optimize

from opencoder_jax.sweep.results.comparison import ArmResult
from opencoder_jax.sweep.results.measurements import Measured

# Sizes that differ, and by how much in all, before a curve is fitted.
_SIZES = 4
_RANGE = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class PowerLaw:
    """A fitted curve.

    Attributes:
      floor, amplitude, exponent: E, A and alpha.
      floor_error, exponent_error: their standard errors.
      scale: C0, the geometric mean of the compute.
      points: how many were fitted.
    """

    floor: float
    amplitude: float
    exponent: float
    floor_error: float
    exponent_error: float
    scale: float
    points: int

    def at(self, compute: float) -> float:
        return self.floor + self.amplitude * (compute / self.scale) ** -self.exponent

    def __str__(self) -> str:
        return (
            f"floor {self.floor:.4f} ± {self.floor_error:.4f}, exponent {self.exponent:.3f} ± "
            f"{self.exponent_error:.3f}, over {self.points} runs"
        )


def fit(compute: Sequence[float], losses: Sequence[float]) -> PowerLaw | None:
    """The curve through pairs; None: sizes are too few or too close, or none fits."""
    sizes = np.asarray(compute, np.float64)
    values = np.asarray(losses, np.float64)
    if np.unique(sizes).size < _SIZES or sizes.max() / sizes.min() < _RANGE:
        return None
    scale = math.exp(float(np.log(sizes).mean()))

    def law(c: np.ndarray, floor: float, amplitude: float, exponent: float) -> np.ndarray:
        return floor + amplitude * c**-exponent

    span = float(values.max() - values.min()) or 1e-9
    least = float(values.min())
    start = (max(least - span, 0.0), span, 0.2)
    bounds = ([0.0, 0.0, 0.0], [max(least, 1e-9), 100 * max(least, span), 5.0])
    try:
        with warnings.catch_warnings():
            # Where nothing can be said of a parameter its error is infinite; that is told below.
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            found, covariance = optimize.curve_fit(
                law, sizes / scale, values, p0=start, bounds=bounds, max_nfev=20_000
            )
    except (RuntimeError, ValueError):
        return None
    errors = np.sqrt(np.diag(covariance))
    if not np.isfinite(errors).all():
        return None
    return PowerLaw(
        floor=float(found[0]),
        amplitude=float(found[1]),
        exponent=float(found[2]),
        floor_error=float(errors[0]),
        exponent_error=float(errors[2]),
        scale=scale,
        points=sizes.size,
    )


def by_compute(measured: Measured, results: Sequence[ArmResult]) -> list[tuple[str, float, float]]:
    """(arm, FLOPs of its training, value) of every run by one metric; none of equal sizes."""
    points = []
    for result in results:
        for run in measured.of_arm(result.arm):
            compute = run.training_flops
            if compute and run.run.seed in result.by_seed and not result.like:
                points.append((result.arm, compute, result.by_seed[run.run.seed]))
    return points if len({compute for _, compute, _ in points}) > 1 else []
