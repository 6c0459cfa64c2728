"""The training step compiled for TPUs: its memory, operations and collectives add up."""

import math

import jax
import jax.numpy as jnp
import pytest

from opencoder_jax import sharding
from opencoder_jax.model import transformer
from opencoder_jax.precompilation import hlo, operations, program, report, roofline, topology
from opencoder_jax.precompilation.chips import chips
from opencoder_jax.precompilation.collectives import Collective
from opencoder_jax.training import flops, step
from tests.opencoder_jax.precompilation import small

BATCH_SIZE, LENGTH = 16, 256
MESH = sharding.MeshConfig(data=1, fsdp=4)
LAYERS, MICROBATCHES = small.MODEL.num_layers, small.STEP.num_microbatches


@pytest.fixture(scope="module")
def compiled() -> program.CompiledStep:
    pytest.importorskip("libtpu")
    return program.compile_step(
        small.STEP, MESH, topology.parse("v5e:2x2"), batch_size=BATCH_SIZE, sequence_length=LENGTH
    )


@pytest.fixture(scope="module")
def result(compiled) -> program.PrecompileResult:
    return program.examine(compiled, topology.parse("v5e:2x2"))


def test_memory_by_kind_adds_up_to_what_the_compiler_says(compiled, result):
    memory = result.counts.memory
    stats = compiled.compiled.memory_analysis()
    assert memory.arguments == stats.argument_size_in_bytes
    # The step count, and no padding that was not understood.
    assert 0 < memory.other_arguments < 4096
    on_a_device = sum(
        row.bytes_per_device for row in sharding.parameter_table(small.MODEL, *compiled.placement)
    )
    assert on_a_device <= memory.parameters < 1.05 * on_a_device
    assert memory.optimizer_state == pytest.approx(2 * memory.parameters, abs=4096)
    assert memory.batch == 5 * 4 * (BATCH_SIZE // 4) * LENGTH
    # New parameters and moments take the old ones' place; metrics are what is left.
    assert 0 <= memory.output - memory.aliased < 16384
    assert memory.peak == memory.arguments + memory.temporaries + (
        memory.output - memory.aliased + memory.generated_code
    )


def test_weights_of_a_layer_are_gathered_at_least_for_each_pass_of_each_microbatch(result):
    layer = small.MODEL.parameter_count() - 2 * small.MODEL.vocab_size * small.MODEL.emb_dim
    once = 2 * layer * 3 / 4  # bf16, of four chips
    gathered = sum(c.sent_bytes for c in result.counts.collectives if c.kind == "all-gather")
    # Forward, and again in the backward pass; embeddings on top, small ones may stay.
    assert 2 * MICROBATCHES * 0.9 * once < gathered < 2 * MICROBATCHES * 2 * once
    assert {c.axes for c in result.counts.collectives} == {("fsdp",)}


def test_the_unembeddings_gradient_is_reduced_before_the_layers_backward_pass(result):
    # In float32 and whole on each device, it is one of the largest arrays of a step.
    (order,) = [
        list(computation)
        for computation, _ in hlo.parse(result.hlo).running()
        if any(map(_is_backward_loop, computation))
    ]
    (backward,) = [i for i, instruction in enumerate(order) if _is_backward_loop(instruction)]
    part = (small.MODEL.vocab_size // 4, small.MODEL.emb_dim)
    reduced = [
        i
        for i, instruction in enumerate(order)
        if instruction.opcode == "reduce-scatter" and instruction.results[0].shape == part
    ]
    # The embedding's comes at the end.
    assert len(reduced) == 2
    assert reduced[0] < backward < reduced[1]


def test_the_vocabularys_tables_are_gathered_as_they_are_read(result):
    # Columns that are gathered are copied into rows, with both whole in memory.
    table = (small.MODEL.vocab_size, small.MODEL.emb_dim)
    of_tables = [
        instruction.opcode
        for computation, _ in hlo.parse(result.hlo).running()
        for instruction in computation
        if instruction.results and instruction.results[0].shape == table
    ]
    assert any("all-gather" in opcode for opcode in of_tables)
    assert "copy" not in of_tables


def _is_backward_loop(instruction):
    return instruction.opcode == "while" and "transpose(jvp(Decoder))" in instruction.op_name


def test_attention_runs_as_kernels_once_forward_and_once_backward_or_twice(result):
    runs = result.counts.kernels
    assert runs
    assert all(times % (LAYERS * MICROBATCHES) == 0 for times in runs.values())
    assert result.counts.operations.unknown_kernels == ()


def test_the_report_says_what_is_in_it(result):
    text = report.to_text(result)
    as_json = report.to_json(result)
    assert text.endswith("FITS\n")
    assert as_json["fits"]
    assert as_json["num_chips"] == as_json["num_devices"] == 4
    assert as_json["memory"]["peak"] == result.counts.memory.peak
    assert f"MFU at most {result.counts.bound.mfu:.0%}" in text


def test_a_layer_computed_again_costs_its_forward_pass():
    def counted(remat_policy):
        model = small.MODEL.replace(remat_policy=remat_policy, attention="dense")
        config = step.StepConfig(
            model=model, optimizer=small.STEP.optimizer, schedule=small.STEP.schedule
        )
        placement = step.Placement(sharding.make_abstract_mesh(sharding.MeshConfig(fsdp=1)))
        state = step.abstract_state(config, placement)
        rows = jax.ShapeDtypeStruct((2, LENGTH), jnp.int32)
        with placement.activate():
            traced = step.make_train_step(config, placement).trace(
                state, dict.fromkeys(program.BATCH_KEYS, rows)
            )
        return operations.operations(traced).products

    tokens = 2 * LENGTH
    per_token = flops.token_flops(small.MODEL, LENGTH)
    unembedding = 2 * small.MODEL.vocab_size * small.MODEL.emb_dim
    # A third of training's operations is the forward pass; plain attention computes the mask too.
    forward = tokens * ((per_token.matmul + 2 * per_token.attention) / 3 - unembedding)
    # The layer's own result is not needed again, so its last product is not made again.
    last = 2 * tokens * LAYERS * small.MODEL.mlp_dim * small.MODEL.emb_dim
    assert counted("full") - counted("none") == forward - last
    # Without it, three passes over everything, and the chunks' logits perhaps again.
    three = 3 * forward + 3 * tokens * unembedding
    assert counted("none") - three in (0, tokens * unembedding)


def test_a_kernel_is_counted_on_the_causal_half_at_the_head_size_that_it_gets(compiled):
    counted = operations.operations(compiled.traced)
    assert counted.kernels
    pairs = BATCH_SIZE * small.MODEL.num_heads * LENGTH * LENGTH / 2
    one_product = 2 * pairs * small.MODEL.head_dim
    forward = sum(n for name, n in counted.kernels.items() if "fwd" in name)
    backward = sum(n for name, n in counted.kernels.items() if "fwd" not in name)
    # Two products forward, in the layer and perhaps again; seven (or five fused) backward.
    assert forward / one_product / LAYERS in (2, 4)
    assert backward / one_product / LAYERS in (5, 7)


def test_products_in_a_loop_count_as_often_as_it_turns():
    def looped(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=7)[0]

    square = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    traced = jax.jit(looped).trace(square, square)
    assert operations.operations(traced).total == 7 * 2 * 8**3


def test_a_bound_is_the_busiest_limit():
    chip = chips()["v5e"]
    over_one_side = Collective(
        kind="all-gather",
        axes=("fsdp",),
        group_size=16,
        count=1,
        sent_bytes=100e9,
        links=2,
        dimensions=(0,),
        num_slices=1,
        dcn_bytes=0.0,
        largest_source="",
        largest_bytes=0.0,
    )
    limits = roofline.bound(
        chip,
        num_devices=256,
        model_flops=256 * 197e12 * 0.5,
        hardware_flops=256 * 197e12 * 0.75,
        hbm_bytes=819e9 / 4,
        collectives=[over_one_side],
    )
    # 100 GB over two links of 50 GB/s.
    assert limits.limits == pytest.approx({"compute": 0.75, "hbm": 0.25, "ici": 1.0, "dcn": 0.0})
    assert limits.limiting == "ici"
    assert (limits.mfu, limits.serial_mfu) == pytest.approx((0.5, 0.25))


def test_a_chip_of_two_devices_shares_its_limits():
    chip = chips()["tpu7x"]
    one, two = (
        roofline.bound(
            chip,
            num_devices=devices,
            model_flops=1e15,
            hardware_flops=1e15,
            hbm_bytes=1e9,
            collectives=[],
        )
        for devices in (2, 4)
    )
    assert one.compute == pytest.approx(1e15 / 2307e12)
    assert two.compute == pytest.approx(one.compute / 2)
    assert one.hbm == pytest.approx(1e9 / (7380e9 / 2))


def test_parameters_of_the_small_model_are_what_the_kinds_are_made_of():
    leaves = jax.tree.leaves(transformer.abstract_params(small.MODEL))
    assert sum(math.prod(leaf.shape) for leaf in leaves) == small.MODEL.parameter_count()
