import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencoder_jax.decoding import native
from opencoder_jax.decoding.products import Matrix, make_matrix, multiply

needs_compiler = pytest.mark.skipif(not native.available(), reason="no C++ compiler")
TYPES = [("float32", "float32"), ("float32", "bfloat16"), ("bfloat16", "bfloat16")]
TYPES += [("float32", "int8"), ("bfloat16", "int8")]


def product(x, matrix, dtype, active=None):
    active = jnp.ones(len(x), bool) if active is None else jnp.asarray(active)
    return np.asarray(multiply(jnp.asarray(x), matrix, active, dtype, "native"))


@needs_compiler
@given(
    st.integers(1, 9), st.integers(1, 70), st.integers(1, 140), st.sampled_from(TYPES), st.data()
)
@settings(max_examples=60, deadline=None)
def test_a_product_is_that_of_numpy_whatever_its_sizes(rows, columns, depth, types, data):
    dtype, weights = types
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = random.normal(size=(rows, depth)).astype(np.float32)
    matrix = make_matrix(jnp.asarray(random.normal(size=(columns, depth)), jnp.float32), weights)
    active = random.random(rows) < 0.7
    values = np.asarray(matrix.values, np.float32)
    if weights == "int8":
        values *= np.asarray(matrix.scales)[:, None]
    rounded = np.asarray(jnp.asarray(x, dtype), np.float32)
    expected = (rounded @ values.T) * active[:, None]
    np.testing.assert_allclose(product(x, matrix, dtype, active), expected, atol=2e-4)


@needs_compiler
@pytest.mark.parametrize("types", TYPES)
def test_a_row_has_the_same_bits_alone_and_among_others(types):
    dtype, weights = types
    random = np.random.default_rng(5)
    x = random.normal(size=(23, 300)).astype(np.float32)
    matrix = make_matrix(jnp.asarray(random.normal(size=(61, 300)), jnp.float32), weights)
    together = product(x, matrix, dtype)
    for count in (1, 2, 3, 4, 5, 22):
        assert (product(x[:count], matrix, dtype) == together[:count]).all()
        active = np.arange(23) < count
        assert (product(x, matrix, dtype, active)[:count] == together[:count]).all()


@needs_compiler
def test_operands_that_do_not_fit_are_an_error():
    matrix = Matrix(jnp.ones((4, 8)), jnp.zeros(0))
    with pytest.raises(jax.errors.JaxRuntimeError, match="linear"):
        product(np.ones((2, 7)), matrix, "float32")


WITHOUT = """
from opencoder_jax.decoding import native
assert not native.available() and not native.available()
"""


def test_without_a_compiler_it_says_so_once_and_xla_decodes(tmp_path):
    environment = os.environ | {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("without its CPU kernels") == 1
    assert "apt install g++" in done.stderr


@pytest.mark.slow
@needs_compiler
def test_what_was_compiled_is_kept_for_the_next_start(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    program = "from opencoder_jax.decoding import native\nassert native.available()"
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    (library,) = tmp_path.rglob("*.so")
    made = library.stat().st_mtime_ns
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert library.stat().st_mtime_ns == made


READY = """
import jax, jax.numpy as jnp
from opencoder_jax.decoding.native import prepare_process
prepare_process()
work = jax.jit(lambda x: jax.lax.fori_loop(0, 60, lambda _, y: jnp.tanh(y @ y), x))
print(work(jnp.ones((500, 500))).is_ready())
"""


def test_programs_run_in_the_thread_that_calls_them():
    done = subprocess.run([sys.executable, "-c", READY], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


PARTS = """
#include "team.h"
#include <cstdio>
#include <vector>
int main() {
  long wrong = 0;
  for (int round = 0; round < 100000; ++round) {
    std::vector<std::atomic<int>> times(1 + round % 41);
    Team::Get().Run(times.size(), [&](int part) { times[part].fetch_add(1); });
    for (const auto& count : times) wrong += count.load() != 1;
  }
  std::printf("%ld", wrong);
}
"""


@needs_compiler
def test_each_part_is_done_once_also_with_more_threads_than_processors(tmp_path):
    source, program = tmp_path / "parts.cc", tmp_path / "parts"
    source.write_text(PARTS)
    compiler = shutil.which("g++") or shutil.which("clang++")
    flags = ["-std=c++20", "-O2", "-pthread", "-I", str(Path(native.__file__).parent)]
    subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
    environment = os.environ | {"OPENCODER_JAX_DECODING_THREADS": "7"}
    done = subprocess.run([str(program)], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "0"), done.stderr
