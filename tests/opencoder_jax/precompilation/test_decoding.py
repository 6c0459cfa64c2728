"""What the TPU's compiler makes of the decoder: the 1.5B's dimensions with two layers, on v5e."""

import collections

import jax
import pytest

from opencoder_jax.decoding.engine import EngineConfig
from opencoder_jax.precompilation import topology
from opencoder_jax.precompilation.collectives import KINDS
from opencoder_jax.precompilation.decoding import compile_decoding
from tests.opencoder_jax.model.small_models import configured_model

pytestmark = pytest.mark.slow
LAYERS, SLOTS = 2, 16
# Under the smallest matrix and a layer's keys, over all that a step passes on.
LARGE = 4 << 20


@pytest.fixture(
    scope="module",
    params=[("decode", "bfloat16"), ("decode", "int8"), ("extend", "bfloat16"), ("extend", "int8")],
    ids="-".join,
)
def program(request):
    pytest.importorskip("libtpu")
    name, stored = request.param
    config = configured_model("opencoder_1b5").replace(num_layers=LAYERS)
    engine = EngineConfig(slots=SLOTS, length=2048, weights=stored, cache=stored)
    return compile_decoding(config, engine, topology.parse("v5e:2x2"), 2, name)


def instructions(program):
    for computation, times in program.module.running():
        for instruction in computation:
            yield instruction, times


def test_no_matrix_and_no_cache_is_copied_or_turned_around(program):
    moved = [
        (instruction.opcode, array)
        for instruction, _ in instructions(program)
        if instruction.opcode in ("copy", "copy-done", "transpose")
        for array in instruction.results
        # To on-chip memory is a read ahead of its time.
        if array.in_hbm and array.num_bytes > LARGE
    ]
    assert moved == []
    assert program.compiled.memory_analysis().temp_size_in_bytes < 16 << 20


def test_each_weight_and_each_stored_position_is_read_once(program):
    # A prompt's piece: the last layer's MLP is not needed.
    least = 0.6 if program.name == "extend" else 1.0
    assert least < program.moved_bytes / program.needed_bytes < 1.1


def test_the_state_is_written_in_its_own_place(program):
    memory = program.compiled.memory_analysis()
    assert memory.output_size_in_bytes - memory.alias_size_in_bytes < 1 << 20
    # Placed otherwise, it would have the next step compiled again.
    given, (left, *_) = program.compiled.input_shardings[0][1], program.compiled.output_shardings
    assert [x.spec for x in jax.tree.leaves(left)] == [x.spec for x in jax.tree.leaves(given)]


def test_devices_send_each_other_what_a_layer_adds_and_some_numbers_a_row(program):
    sent = collections.Counter()
    small = 0
    for instruction, times in instructions(program):
        if instruction.opcode.removesuffix("-start") in KINDS:
            size = max(array.num_bytes for array in instruction.results)
            if size > 48 << 10:
                sent[instruction.opcode.removesuffix("-start")] += times
            else:
                small += times
    # The embedding; attention and MLP of each layer, but for what a prompt's last leaves behind.
    assert sent == {"all-reduce": 1 + 2 * LAYERS - 2 * (program.name == "extend")}
    # Greedy: 2. All settings: two thresholds of 15 turns, and some sums.
    assert small <= (50 if program.name == "decode" else 0)
