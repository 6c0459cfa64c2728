"""What int8 products do to a loss curve, beside what bfloat16 and another seed do to it.

    python -m benchmarks.quantization --seeds=0,1,2 --steps=300

Trains one small model in float32, in bfloat16 and with int8 products (float32 otherwise), from
each seed: the runs of a seed begin with the same parameters and see the same batches, so their
losses can be compared one by one. The text is Python's standard library, byte by byte; every
eighth file is held out. Each model is evaluated as it was trained, and the int8 one without
quantization too, as it is loaded afterwards. Losses are nats a byte: how far they lie from
float32's, seed by seed, says more than their means, for seeds lie further apart.
"""

import argparse
import statistics
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from opencoder_jax import sharding
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training import optimizers, schedules, step

MODEL = TransformerConfig(
    vocab_size=256,
    num_layers=2,
    emb_dim=128,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    mlp_dim=384,
    rope_theta=10000.0,
    max_length=128,
    dtype="float32",
)
VARIANTS = {
    "float32": MODEL,
    "bfloat16": MODEL.replace(dtype="bfloat16"),
    "int8": MODEL.replace(quantization="int8"),
}
BATCH_SIZE = 8
LAST = 50


class Losses(NamedTuple):
    """Nats a byte of one run.

    Attributes:
      training: mean of the last `LAST` steps.
      heldout: of the held-out text, evaluated as trained.
      loaded: the same without quantization.
    """

    training: float
    heldout: float
    loaded: float


def standard_library() -> tuple[np.ndarray, np.ndarray]:
    """Bytes to train on and bytes held out, int32 each."""
    folder = Path(sysconfig.get_path("stdlib"))
    texts = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    heldout = texts[::8]
    training = [text for number, text in enumerate(texts) if number % 8]
    both = [np.frombuffer(b"".join(part), np.uint8) for part in (training, heldout)]
    return both[0].astype(np.int32), both[1].astype(np.int32)


def batch(text: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows from random places of a text."""
    length = MODEL.max_length
    starts = generator.integers(len(text) - length - 1, size=BATCH_SIZE)
    rows = np.stack([text[start : start + length + 1] for start in starts])
    ones = np.ones((BATCH_SIZE, length), np.int32)
    return {
        "decoder_input_tokens": rows[:, :-1],
        "decoder_target_tokens": rows[:, 1:],
        "decoder_loss_weights": ones,
        "decoder_segment_ids": ones,
        "decoder_positions": np.broadcast_to(np.arange(length, dtype=np.int32), ones.shape),
    }


class Variant:
    """A model in one numeric type, with its compiled functions."""

    def __init__(self, model: TransformerConfig, steps: int) -> None:
        mesh = sharding.make_mesh(sharding.MeshConfig(fsdp=1), jax.devices()[:1])
        self._where = step.Placement(mesh)
        self._config = step.StepConfig(
            model,
            optimizers.AdamW(),
            schedules.WarmupStable(peak=2e-3, warmup_steps=min(20, steps)),
            loss_chunk_length=MODEL.max_length,
        )
        self._train_step = step.make_train_step(self._config, self._where)
        self._losses = {
            quantization: jax.jit(self._loss_of(model.replace(quantization=quantization)))
            for quantization in {model.quantization, "none"}
        }

    def run(self, texts: tuple[np.ndarray, np.ndarray], steps: int, seed: int) -> Losses:
        """Trains from a seed, which decides parameters and batches, and evaluates."""
        generator = np.random.default_rng(seed)
        training = []
        with self._where.activate():
            state = step.init_state(self._config, self._where, seed)
            for _ in range(steps):
                arrays = step.put_batch(self._where, batch(texts[0], generator))
                state, metrics = self._train_step(state, arrays)
                training.append(float(metrics["loss_per_nonpadding_target_token"]))
            as_trained, loaded = (
                self._heldout(state.params, texts[1], quantization)
                for quantization in (self._config.model.quantization, "none")
            )
        return Losses(statistics.fmean(training[-LAST:]), as_trained, loaded)

    def _heldout(self, params: Any, text: np.ndarray, quantization: str) -> float:
        generator = np.random.default_rng(0)
        losses = [
            float(
                self._losses[quantization](
                    params, step.put_batch(self._where, batch(text, generator))
                )
            )
            for _ in range(LAST)
        ]
        return statistics.fmean(losses)

    def _loss_of(self, model: TransformerConfig) -> Any:
        config = step.StepConfig(model, self._config.optimizer, self._config.schedule)

        def loss(params: Any, arrays: step.Batch) -> jax.Array:
            hidden = step.hidden_states(config, params, arrays)
            total, sums = step.loss_of_hidden(config, params, hidden, arrays)
            return total / sums.total().weight

        return loss


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0,1,2", help="separated by commas")
    parser.add_argument("--steps", type=int, default=300, help=f"of a run, at least {LAST}")
    options = parser.parse_args(argv)
    seeds = [int(text) for text in options.seeds.split(",")]
    if options.steps < LAST:
        parser.error(f"--steps={options.steps}: expected at least {LAST}")

    texts = standard_library()
    print(
        f"{MODEL.parameter_count():,} parameters, {options.steps} steps of {BATCH_SIZE} x "
        f"{MODEL.max_length} bytes, {len(texts[0]):,} bytes to train on"
    )
    print("| seed | | " + " | ".join(VARIANTS) + " | int8, loaded |")
    print("| --- | --- |" + " --- |" * (len(VARIANTS) + 1))
    variants = {name: Variant(model, options.steps) for name, model in VARIANTS.items()}
    for seed in seeds:
        found = {name: v.run(texts, options.steps, seed) for name, v in variants.items()}
        last = [f"{losses.training:.4f}" for losses in found.values()]
        held = [f"{losses.heldout:.4f}" for losses in found.values()]
        print(f"| {seed} | last {LAST} steps | " + " | ".join(last) + " | |")
        print(f"| | held out | {' | '.join(held)} | {found['int8'].loaded:.4f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
