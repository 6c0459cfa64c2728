"""What a checkpoint costs the steps around it.

    python -m benchmarks.saving [--megabytes=400] [--saves=4]

A state of that many float32 megabytes (parameters, and two moments of the optimizer as large) is
changed by a jitted step that takes its memory, as training does. Steps are timed without saving,
and while a checkpoint is written; the time that `save` holds the loop is taken apart into the
checksums and the copy from the devices. Medians; the machine has to be quiet, for steps,
checksums and files want the same processors here (an accelerator leaves the host's alone).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from opencoder_jax.training import checkpoints
from opencoder_jax.training.checkpoints import CheckpointMetadata

_METADATA = CheckpointMetadata(
    step=0, tokens_by_source={}, model={}, tokenizer_fingerprint="", data={}, phases=[]
)
_SIZE = 1024


def saving(megabytes: float, saves: int) -> None:
    """Prints the measurements; see the module."""
    layers = max(1, round(megabytes * 1e6 / 3 / 4 / _SIZE**2))
    matrices = jax.random.normal(jax.random.key(0), (layers, _SIZE, _SIZE))
    state = {name: matrices + number for number, name in enumerate(("params", "mu", "nu"))}

    def step(state: dict[str, jax.Array]) -> dict[str, jax.Array]:
        x = jnp.ones((32, _SIZE))
        for layer in range(layers):
            x = jnp.tanh(x @ state["params"][layer] / _SIZE**0.5)
        return jax.tree.map(lambda leaf: leaf * 0.999 + x.mean() * 1e-6, state)

    train_step = jax.jit(step, donate_argnums=0)
    state = jax.block_until_ready(train_step(state))
    checkpoints.checksum(state)
    alone, checksums, blocked, written, during = [], [], [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="saving-") as name,
        checkpoints.CheckpointWriter(name, keep=1) as writer,
    ):
        for number in range(saves):
            for _ in range(5):
                started = time.monotonic()
                state = jax.block_until_ready(train_step(state))
                alone.append(time.monotonic() - started)
            started = time.monotonic()
            checkpoints.checksum(state)
            checksums.append(time.monotonic() - started)
            started = time.monotonic()
            moments = {"mu": state["mu"], "nu": state["nu"]}
            metadata = CheckpointMetadata(**{**vars(_METADATA), "step": number})
            writer.save({"all": state["params"]}, moments, metadata)
            del moments
            blocked.append(time.monotonic() - started)
            while number not in checkpoints.steps(name):
                step_started = time.monotonic()
                state = jax.block_until_ready(train_step(state))
                during.append(time.monotonic() - step_started)
            written.append(time.monotonic() - started)
    a, d = statistics.median(alone), statistics.median(during)
    b, c, w = (statistics.median(values) for values in (blocked, checksums, written))
    print(f"state {layers * 3 * 4 * _SIZE**2 / 1e6:.0f} MB, step {a * 1e3:.0f} ms")
    print(f"save holds the loop {b:.2f} s, {c / b:.2f} of it checksums; on disk after {w:.2f} s")
    print(f"{len(during) / saves:.1f} steps meanwhile, each {d / a:.2f} times as long as alone")
    print(f"held: {b / w:.2f} of the time that a checkpoint takes")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=400)
    parser.add_argument("--saves", type=int, default=4)
    options = parser.parse_args(argv)
    saving(options.megabytes, options.saves)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
