"""The time that a step needs at the chip's published limits: a bound, never a measurement.

Matrix units, HBM, the torus (ICI) and the data centre network (DCN) work side by side, so a
step takes at least as long as the busiest of them, and with no overlap at all as long as all
together. The MFU of these two ends brackets what a program that reaches every limit would
get. Real programs reach none of them: the best published runs stand at 45 to 70 % MFU.
"""

import dataclasses
from collections.abc import Sequence

from opencoder_jax.precompilation.chips import Chip
from opencoder_jax.precompilation.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Bound:
    """Seconds of a step at the chip's limits.

    Attributes:
      compute: matrix operations at the bf16 peak, those computed again included.
      hbm: bytes that the program moves, at HBM's bandwidth.
      ici: bytes between chips, at the bandwidth of the links that they can take.
      dcn: bytes between slices; None where the chip's bandwidth is not published.
      model_compute: the operations of MFU at the bf16 peak.
    """

    compute: float
    hbm: float
    ici: float
    dcn: float | None
    model_compute: float

    @property
    def limits(self) -> dict[str, float]:
        return {"compute": self.compute, "hbm": self.hbm, "ici": self.ici, "dcn": self.dcn or 0.0}

    @property
    def limiting(self) -> str:
        return max(self.limits, key=lambda name: self.limits[name])

    @property
    def overlapped(self) -> float:
        """Everything side by side."""
        return max(self.limits.values())

    @property
    def serial(self) -> float:
        """One after the other."""
        return sum(self.limits.values())

    @property
    def mfu(self) -> float:
        """The highest MFU that the limits allow."""
        return self.model_compute / self.overlapped

    @property
    def serial_mfu(self) -> float:
        """MFU at the limits where nothing overlaps."""
        return self.model_compute / self.serial


def bound(
    chip: Chip,
    *,
    num_devices: int,
    model_flops: float,
    hardware_flops: float,
    hbm_bytes: float,
    collectives: Sequence[Collective],
) -> Bound:
    """The bound of one step.

    Args:
      chip: the limits.
      num_devices: JAX devices.
      model_flops: of a step on all devices, as MFU counts them.
      hardware_flops: of a step on all devices, as computed.
      hbm_bytes: of a step on one device.
      collectives: of a step.
    """
    share = 1 / chip.devices_per_chip
    peak = chip.bf16_flops * share * num_devices
    dcn_bytes = sum(collective.dcn_bytes for collective in collectives)
    dcn = chip.dcn_bandwidth
    return Bound(
        compute=hardware_flops / peak,
        hbm=hbm_bytes / (chip.hbm_bandwidth * share),
        ici=_ici_seconds(chip, collectives),
        dcn=0.0 if dcn_bytes == 0 else None if dcn is None else dcn_bytes / (dcn * share),
        model_compute=model_flops / peak,
    )


def _ici_seconds(chip: Chip, collectives: Sequence[Collective]) -> float:
    """Of the busiest dimension of the torus: collectives along others run beside it."""
    busy = [0.0] * chip.dimensions
    for collective in collectives:
        if collective.links:
            seconds = collective.sent_bytes / (collective.links * chip.ici_link_bandwidth)
            for dimension in collective.dimensions:
                busy[dimension] += seconds
    return max(busy) * chip.devices_per_chip
