"""What is published of each TPU chip: `chips.json`, every figure with its source beside it.

These are limits, not speeds: a program reaches 50 to 70 % of the matrix units' peak when
all is well. ICI is counted a link and direction: Google's tables give the sum of both
directions of all links of a chip. A chip of tpu7x is two JAX devices, with half of
everything each; on all others a chip is one device.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from importlib import resources

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of TPU.

    Attributes:
      kind: the key in `chips.json`.
      topology_prefix: what libtpu calls it.
      dimensions: of its torus, 2 or 3.
      max_chips: largest slice.
      name_counts: what the number in a Cloud name (`v5p-128`) counts, `chips` or `cores`.
      cores_per_chip: TensorCores.
      devices_per_chip: JAX devices.
      chip_config: what libtpu calls the way in which cores make devices.
      bf16_flops, int8_ops: peak operations a second.
      hbm_bytes: published capacity.
      usable_hbm_bytes: what the compiler lets a program have of it, as it says of one that does
        not fit (libtpu 0.0.50); None where that has not been seen.
      hbm_bandwidth: bytes a second.
      ici_links: links of a chip to its neighbours, `2 * dimensions`.
      ici_link_bandwidth: bytes a second over one link in one direction.
      dcn_bandwidth: bytes a second of a chip over the data centre network, one direction;
        None where nothing is published.
      sources: address to what it says.
    """

    kind: str
    topology_prefix: str
    dimensions: int
    max_chips: int
    name_counts: str
    cores_per_chip: int
    devices_per_chip: int
    chip_config: str
    bf16_flops: float
    int8_ops: float | None
    hbm_bytes: int
    usable_hbm_bytes: int | None
    hbm_bandwidth: float
    ici_links: int
    ici_link_bandwidth: float
    dcn_bandwidth: float | None
    sources: Mapping[str, str]


@functools.cache
def chips() -> Mapping[str, Chip]:
    """All chips by kind, oldest first."""
    text = resources.files(__package__).joinpath("chips.json").read_text()
    return {kind: Chip(kind, **fields) for kind, fields in json.loads(text).items()}
