"""`host_memory`: a program on a CPU takes no new pages in its steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Prints whether the heap is kept, and the page faults of eight calls of a function with 48 MiB
# of temporaries; two more calls come first.
_PROGRAM = """
import resource
import jax
import jax.numpy as jnp
from opencoder_jax.host_memory import keep_heap

kept = keep_heap()
x = jnp.full((1 << 22,), 2.0)
function = jax.jit(lambda x: jnp.sum(jnp.cumsum(x) - jnp.flip(x)))

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    function(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(kept, sum([faults() for _ in range(10)][2:]))
"""
_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _printed(program: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_", "MALLOC_"))}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=kept | environment
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
class TestKeepHeap:
    @pytest.mark.slow
    @pytest.mark.skipif(
        _LARGE_PAGES.exists() and "[always]" in _LARGE_PAGES.read_text(),
        reason="the system gives large pages unasked",
    )
    def test_calls_take_few_new_pages(self) -> None:
        kept, few = _printed(_PROGRAM).split()
        # What the user says of the allocator stays.
        left_alone, many = _printed(_PROGRAM, MALLOC_TRIM_THRESHOLD_="1000000").split()
        assert (kept, left_alone) == ("True", "False")
        # Not none: a piece may be laid elsewhere than before.
        assert int(many) > 50 * int(few)

    @pytest.mark.parametrize(
        ("before", "kept"),
        [
            # The TPU is asked for first; the CPU takes its place only in JAX.
            ('jax.config.update("jax_platforms", "tpu,cpu")', "False"),
            # Little address space is no error.
            ("resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))", "True"),
        ],
    )
    def test_where_it_is_kept(self, before: str, kept: str) -> None:
        program = "import resource, jax; from opencoder_jax.host_memory import keep_heap;"
        assert _printed(f"{program} {before}; print(keep_heap())") == kept
