"""Bytes between HBM and the cores, of programs whose bytes one knows."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from opencoder_jax.precompilation.traffic import hbm_bytes
from tests.opencoder_jax.precompilation.small import Program

WHOLE = PartitionSpec()
# Too large for on-chip memory (128 MiB), so it lies in HBM.
LARGE = ((8192, 8192), jnp.float32, WHOLE)
LARGE_BYTES = 8192 * 8192 * 4


def test_an_element_wise_result_is_a_read_and_a_write():
    program = Program(lambda x: jnp.tanh(x) + 1, LARGE, out=WHOLE)
    assert hbm_bytes(program.module) == 2 * LARGE_BYTES


def test_a_product_reads_both_sides_once_and_writes_its_result():
    program = Program(lambda x, w: x @ w, LARGE, LARGE, out=WHOLE)
    # Inputs may be rounded first, for the matrix units.
    assert 3 * LARGE_BYTES <= hbm_bytes(program.module) <= 5.1 * LARGE_BYTES


def test_a_loop_over_a_stack_reads_a_slice_each_turn():
    stack = ((24, 4096, 4096), jnp.bfloat16, WHOLE)
    rows = ((16, 4096), jnp.bfloat16, WHOLE)

    def looped(stack, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]

    moved = hbm_bytes(Program(looped, stack, rows, out=WHOLE).module)
    assert moved == pytest.approx(24 * 4096 * 4096 * 2, rel=0.02)


def test_what_stays_on_the_chip_is_free():
    def chain(x):
        for _ in range(10):
            x = jnp.sin(x @ x)
        return x

    small = ((256, 256), jnp.float32, WHOLE)
    # The argument in, the result out; ten times that would be 5 MB.
    assert hbm_bytes(Program(chain, small, out=WHOLE).module) <= 4 * 256 * 256 * 4


def test_a_loop_that_fills_a_stack_writes_a_slice_each_turn():
    rows = ((512, 4096), jnp.bfloat16, WHOLE)

    def looped(x):
        return jax.lax.scan(lambda x, _: (x * 2, x + 1), x, length=64)[1]

    moved = hbm_bytes(Program(looped, rows, out=WHOLE).module)
    stack = 64 * 512 * 4096 * 2
    # The stack is made once before it is filled.
    assert stack <= moved <= 2.1 * stack
