"""`host_memory`: a program on a CPU takes no new pages in its steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Prints whether the heap is kept, and the page faults of eight calls of a function with 192 MiB
# of temporaries; two more calls come first.
_PROGRAM = """
import resource
import jax
import jax.numpy as jnp
from opencoder_jax.host_memory import keep_heap

kept = keep_heap()
x = jnp.full((1 << 24,), 2.0)
function = jax.jit(lambda x: jnp.sum(jnp.cumsum(x) - jnp.flip(x)))

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    function(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(kept, sum([faults() for _ in range(10)][2:]))
"""
_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _run(**environment: str) -> tuple[bool, int]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_", "MALLOC_"))}
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        env=kept | environment,
        check=True,
    )
    kept, faults = run.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
class TestKeepHeap:
    @pytest.mark.skipif(
        _LARGE_PAGES.exists() and "[always]" in _LARGE_PAGES.read_text(),
        reason="the system gives large pages unasked",
    )
    def test_calls_take_few_new_pages(self) -> None:
        kept, few = _run()
        assert kept
        # What the user says of the allocator stays.
        kept, many = _run(MALLOC_TRIM_THRESHOLD_="1000000")
        assert not kept
        # Not none: a piece may be laid elsewhere than before.
        assert many > 50 * few

    def test_with_another_platform_nothing_happens(self) -> None:
        # It is asked for first; the CPU, which this machine has, takes its place only in JAX.
        program = (
            "import jax; from opencoder_jax.host_memory import keep_heap;"
            'jax.config.update("jax_platforms", "tpu,cpu"); print(keep_heap())'
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert run.stdout == "False\n", run.stderr

    def test_little_address_space_is_no_error(self) -> None:
        program = (
            "import resource; resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30));"
            "import jax; from opencoder_jax.host_memory import keep_heap; print(keep_heap())"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert run.stdout == "True\n", run.stderr
