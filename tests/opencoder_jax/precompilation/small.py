"""Small programs compiled by the real TPU compiler, for what the tests know of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from opencoder_jax import sharding
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.precompilation import program, topology
from opencoder_jax.precompilation.collectives import Collective, collectives
from opencoder_jax.precompilation.hlo import Module, parse
from opencoder_jax.training.optimizers import AdamW
from opencoder_jax.training.schedules import WarmupStable
from opencoder_jax.training.step import StepConfig

MODEL = TransformerConfig(
    vocab_size=1024,
    num_layers=4,
    emb_dim=256,
    num_heads=2,
    num_kv_heads=1,
    head_dim=128,
    mlp_dim=512,
    rope_theta=1e4,
    max_length=256,
    remat_policy="full",
)
STEP = StepConfig(
    model=MODEL,
    optimizer=AdamW(),
    schedule=WarmupStable(peak=1e-3, warmup_steps=10),
    loss_chunk_length=128,
    num_microbatches=2,
)


class Program:
    """`function` compiled for a slice; arguments are shape, dtype and partition."""

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: tuple[tuple[int, ...], Any, PartitionSpec],
        where: str = "v5e:2x2",
        num_slices: int = 1,
        mesh: sharding.MeshConfig | None = None,
        out: PartitionSpec | None = None,
    ) -> None:
        pytest.importorskip("libtpu")
        self.topology = topology.parse(where, num_slices)
        self.mesh = sharding.make_mesh(
            mesh or sharding.MeshConfig(data=1, fsdp=-1), topology.devices(self.topology)
        )
        shapes = [
            jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, spec))
            for shape, dtype, spec in arguments
        ]
        jitted = jax.jit(
            function, out_shardings=None if out is None else NamedSharding(self.mesh, out)
        )
        with jax.set_mesh(self.mesh):
            self.compiled = jitted.lower(*shapes).compile()

    @property
    def module(self) -> Module:
        text = self.compiled.as_text()
        assert text
        return parse(text)

    @property
    def collectives(self) -> list[Collective]:
        return collectives(self.module, program.machine(self.mesh, self.topology))


def sent(found: list[Collective]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Bytes a chip sends, by kind and mesh axes."""
    return {(c.kind, c.axes): c.sent_bytes for c in found}


def weights(layers: int, width: int) -> tuple[tuple[int, ...], Any, PartitionSpec]:
    """bf16 [layers, width, width], the first width split over `fsdp`."""
    return (layers, width, width), jnp.bfloat16, PartitionSpec(None, "fsdp")
