"""The decoder's programs, compiled for TPUs that are not there: what a step reads, sends and needs.

`decode` adds a token to every text, `extend` puts 256 tokens of a prompt into a slot; `score`
is the same with log-probabilities, of 64. A step of decoding can do no better than to read the
weights and all that is stored once: `DecodingProgram.needed_bytes`, beside the bytes that the
compiled program moves. Texts are taken to be as long as a slot. Nothing runs here.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from opencoder_jax import sharding
from opencoder_jax.decoding import programs
from opencoder_jax.decoding.cache import BLOCK, LayerCache, make_cache, shard_of_cache
from opencoder_jax.decoding.engine import EngineConfig
from opencoder_jax.decoding.forward import Layout
from opencoder_jax.decoding.prefill import PIECES
from opencoder_jax.decoding.weights import abstract_weights
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.precompilation import hlo, topology, traffic
from opencoder_jax.precompilation.topology import Topology

PROGRAMS = ("decode", "extend", "score")
_SCORED_PIECE = 64


@dataclasses.dataclass(frozen=True)
class DecodingProgram:
    """One compiled program; bytes are those of one device.

    Attributes:
      name: one of `PROGRAMS`.
      compiled: for the compiler's own figures.
      module: the program, with all that a request can ask for of sampling.
      needed_bytes: of the weights and stored positions that it has to read.
      moved_bytes: that it reads and writes in HBM where all texts are greedy.
      memory: at the most, with all that the programs share (weights, cache).
    """

    name: str
    compiled: jax.stages.Compiled
    module: hlo.Module
    needed_bytes: int
    moved_bytes: int
    memory: int


def compile_decoding(
    config: TransformerConfig, engine: EngineConfig, where: Topology, tensor: int, name: str
) -> DecodingProgram:
    """Compiles a program of `Engine(model, engine, mesh)`.

    Args:
      config: the model's dimensions.
      engine: how it is run.
      where: a slice; see `topology.parse`.
      tensor: devices that heads and MLP are shared out over; others have the same again.
      name: one of `PROGRAMS`.

    Raises:
      InputError: libtpu is missing.
      jax.errors.JaxRuntimeError: it does not fit (`memory.shortage` reads the message).
    """
    devices = np.array(topology.devices(where)).reshape(-1, 1, tensor)
    mesh = Mesh(devices, sharding.MESH_AXES, axis_types=(AxisType.Auto,) * devices.ndim)
    length = min(engine.length or config.max_length, config.max_length)
    dtype = engine.dtype or config.dtype
    weights = abstract_weights(config, engine.weights or dtype, mesh)
    state = _abstract_state(config, engine.slots, length, engine.cache or dtype, mesh)
    layout = Layout(config.replace(dtype=dtype), "xla", tensor)

    def everywhere(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return _placed(jax.ShapeDtypeStruct(shape, dtype), NamedSharding(mesh, PartitionSpec()))

    read: list[Any] = [weights.layers]
    if name == "decode":
        slots = everywhere(jnp.int32, engine.slots)
        asked, ends = everywhere(jnp.bool, engine.slots), everywhere(jnp.int32, 1)
        lowered = programs.decode.lower(layout, weights, state, slots, asked, ends)
    else:
        piece = everywhere(jnp.int32, PIECES[-1] if name == "extend" else _SCORED_PIECE)
        number = everywhere(jnp.int32)
        lowered = programs.extend.lower(
            layout, weights, state, number, number, number, piece, piece, score=name == "score"
        )
    if name != "extend":
        read += [weights.final_norm, weights.unembedding]
    compiled = lowered.compile()
    # Blocks of positions are the one thing that is counted at run time.
    text, blocks = compiled.as_text() or "", -(-length // BLOCK)
    plain = hlo.parse(text, open_turns=blocks, branches=False)
    stored = (
        _device_bytes(state.cache)
        if name == "decode"
        else _device_bytes(state.cache) / engine.slots
    )
    stats: Any = compiled.memory_analysis()
    held = _device_bytes((weights, state))
    return DecodingProgram(
        name=name,
        compiled=compiled,
        module=hlo.parse(text, open_turns=blocks),
        needed_bytes=_device_bytes(read) + round(stored * length / _positions(state.cache)),
        moved_bytes=traffic.hbm_bytes(plain),
        memory=max(held, stats.argument_size_in_bytes)
        + stats.temp_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.generated_code_size_in_bytes,
    )


def _abstract_state(
    config: TransformerConfig, slots: int, length: int, cache: str, mesh: Mesh
) -> programs.State:
    made = jax.eval_shape(
        lambda: programs.make_state(
            make_cache(config, slots, length, cache, mesh), slots, config.vocab_size
        )
    )
    placed = jax.tree.map(
        lambda x: _placed(x, NamedSharding(mesh, PartitionSpec())), made._replace(cache=())
    )
    stored = jax.tree.map(lambda x: _placed(x, shard_of_cache(mesh, x.shape)), made.cache)
    return placed._replace(cache=stored)


def _placed(x: jax.ShapeDtypeStruct, to: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=to)


def _device_bytes(tree: Any) -> int:
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )


def _positions(cache: Any) -> int:
    first: LayerCache = cache[0]
    return first.keys.shape[2]
