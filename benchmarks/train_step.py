"""One training step on a CPU: ours against transformers + PyTorch and against MaxText.

    python -m benchmarks.train_step --maxtext_python=/path/of/maxtext/venv/bin/python

Forward, backward, clipping and AdamW of the same model from the same weights on the same
packed batch, float32 parameters, no rematerialization, two threads. Ours is `make_train_step`
as `opencoder_jax.train` runs it. Each trainer is a process of its own; all must report the
same first loss, or nothing is timed. Then they take turns, one running while the others wait,
and each round gives one ratio, so that a change of the machine's speed meets all.

A peer's requirements: benchmarks/requirements.txt. Results: docs/measured.md.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train_step_peers import THREADS, serve
from opencoder_jax.model.config import TransformerConfig

LEARNING_RATE = 1e-4
# Relative: sums of float32 differ in order, bfloat16 products in what is rounded when.
LOSS_TOLERANCE = {"float32": 2e-5, "bfloat16": 3e-3}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and a batch of `rows` sequences of `length` tokens."""

    model: TransformerConfig
    rows: int
    length: int


def _model(**dimensions: Any) -> TransformerConfig:
    return TransformerConfig(rope_theta=10_000.0, max_length=4096, dtype="float32", **dimensions)


CASES = {
    # gin_configs/models/demo.gin
    "demo": Case(
        _model(
            vocab_size=4096,
            num_layers=4,
            emb_dim=128,
            num_heads=2,
            num_kv_heads=1,
            head_dim=64,
            mlp_dim=384,
        ),
        rows=2,
        length=512,
    ),
    # SmolLM2-135M with 12 of its 30 layers.
    "smollm": Case(
        _model(
            vocab_size=49_152,
            num_layers=12,
            emb_dim=576,
            num_heads=9,
            num_kv_heads=3,
            head_dim=64,
            mlp_dim=1536,
            tie_embeddings=True,
        ),
        rows=1,
        length=512,
    ),
    # OpenCoder-1.5B with 2 of its 24 layers and a sixth of its vocabulary.
    "opencoder": Case(
        _model(
            vocab_size=16_384,
            num_layers=2,
            emb_dim=2240,
            num_heads=14,
            num_kv_heads=14,
            head_dim=160,
            mlp_dim=6144,
        ),
        rows=1,
        length=1024,
    ),
}


def prepare(folder: Path, case: Case) -> None:
    """Weights by our exporter, a packed batch of random tokens, and the settings."""
    import jax

    from opencoder_jax.formats.packed import BATCH_KEYS
    from opencoder_jax.huggingface.llama import blocks, tensor_specs, to_llama_config
    from opencoder_jax.huggingface.tensors import TensorWriter
    from opencoder_jax.model import transformer
    from opencoder_jax.training.optimizers import AdamW

    model_folder = folder / "model"
    model_folder.mkdir()
    config = case.model
    params = transformer.init_params(config, jax.random.key(0))
    (model_folder / "config.json").write_text(json.dumps(to_llama_config(config, dtype="float32")))
    with TensorWriter(
        model_folder,
        tensor_specs(config),
        dtype=np.dtype(np.float32),
        max_shard_bytes=5_000_000_000,
    ) as writer:
        for block in blocks(config):
            array: Any = functools.reduce(operator.getitem, block.path, params)
            writer.write(block.name, block.to_torch(np.asarray(array[block.index])))
    random = np.random.default_rng(0)
    tokens = random.integers(3, config.vocab_size, (case.rows, case.length + 1))
    starts = random.random((case.rows, case.length + 1)) < 4 / case.length
    starts[:, 0] = True
    segments = np.cumsum(starts, axis=1)
    index = np.arange(case.length + 1)
    positions = index - np.maximum.accumulate(np.where(starts, index, 0), axis=1)
    arrays = (tokens[:, :-1], tokens[:, 1:], ~starts[:, 1:], segments[:, :-1], positions[:, :-1])
    batch = dict(zip(BATCH_KEYS, (a.astype(np.int32) for a in arrays), strict=True))
    np.savez(folder / "batch.npz", **batch)  # type: ignore[arg-type]
    settings = {
        "model": config.to_json(),
        "optimizer": dataclasses.asdict(AdamW()) | {"learning_rate": LEARNING_RATE},
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def ours(folder: Path, dtype: str) -> None:
    """The worker of our own step."""
    import jax

    from opencoder_jax.host_memory import keep_heap
    from opencoder_jax.huggingface.folder import HuggingFaceFolder
    from opencoder_jax.sharding import MeshConfig, make_mesh
    from opencoder_jax.training import step as train
    from opencoder_jax.training.optimizers import AdamW
    from opencoder_jax.training.schedules import WarmupStable

    keep_heap()
    settings = json.loads((folder / "settings.json").read_text())
    model = TransformerConfig.from_json(settings["model"] | {"dtype": dtype})
    placement = train.Placement(make_mesh(MeshConfig(fsdp=1)))
    config = train.StepConfig(
        model=model, optimizer=AdamW(), schedule=WarmupStable(LEARNING_RATE, warmup_steps=0)
    )
    params = HuggingFaceFolder(folder / "model").read_params(model)
    with placement.activate():
        batch = train.put_batch(placement, np.load(folder / "batch.npz"))
        train_step = train.make_train_step(config, placement)
        state = train.fresh_state(config, placement, params)
        del params

        def step() -> float:
            nonlocal state
            state, metrics = train_step(state, batch)
            jax.block_until_ready(state)
            return float(metrics["loss_per_nonpadding_target_token"])

        serve(step)


class Worker:
    """A trainer that waits for its turn.

    Attributes:
      name: of the trainer.
      loss: of its first step.
    """

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(THREADS)},
            )
        self.loss: float = self._answer("loss")

    def seconds(self, steps: int) -> list[float]:
        """Wall time of each of the next steps."""
        assert self._process.stdin
        print(steps, file=self._process.stdin, flush=True)
        return self._answer("seconds")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self, key: str) -> Any:
        assert self._process.stdout
        for line in self._process.stdout:
            # MaxText prints its configuration on stdout.
            if line.startswith("{"):
                return json.loads(line)[key]
        raise SystemExit(f"{self.name} ended:\n{self._log.read_text()[-3000:]}")


def compare(case: Case, dtype: str, commands: Mapping[str, Sequence[str]], rounds: int) -> None:
    """Prints one table of a case: loss, median step, ratio to ours of each trainer."""
    with tempfile.TemporaryDirectory(prefix="train-step-") as name, _workers() as start:
        folder = Path(name)
        prepare(folder, case)
        workers = [
            start(peer, [*command, folder, dtype], folder / f"{peer}.log")
            for peer, command in commands.items()
        ]
        mine = workers[0]
        for worker in workers:
            if abs(worker.loss / mine.loss - 1) > LOSS_TOLERANCE[dtype]:
                raise SystemExit(f"{worker.name} computes {worker.loss}, ours {mine.loss}")
        steps = max(1, round(2 / statistics.median(mine.seconds(3))))
        medians: dict[str, list[float]] = {worker.name: [] for worker in workers}
        for turn in range(rounds):
            # The order turns around, for whoever runs first finds another machine.
            for worker in workers if turn % 2 == 0 else reversed(workers):
                medians[worker.name].append(statistics.median(worker.seconds(steps)))
        for worker in workers:
            ratios = [
                other / own
                for other, own in zip(medians[worker.name], medians[mine.name], strict=True)
            ]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            print(
                f"  {worker.name:<22} loss {worker.loss:.6f}  "
                f"{1000 * statistics.median(medians[worker.name]):8.1f} ms a step   "
                f"{statistics.median(ratios):5.2f} x ours  {spread}",
                flush=True,
            )


@contextlib.contextmanager
def _workers() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any) -> Worker:
            worker = Worker(*arguments)
            stack.callback(worker.close)
            return worker

        yield start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--maxtext_python", help="Python of a venv with maxtext; none: left out")
    parser.add_argument("--torch_python", default=sys.executable, help="with torch, transformers")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"]
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=("transformers", "compiled", "maxtext"),
        default=["transformers", "maxtext"],
        help="compiled: transformers under torch.compile",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        ours(Path(arguments.worker[0]), arguments.worker[1])
        return
    peers = Path(__file__).with_name("train_step_peers.py")
    pythons = {"maxtext": arguments.maxtext_python}
    commands: dict[str, Sequence[str]] = {
        "ours": [sys.executable, "-m", "benchmarks.train_step", "--worker"]
    }
    for peer in arguments.peers:
        python = pythons.get(peer, arguments.torch_python)
        if python:
            commands[peer] = [python, str(peers), peer]
    for name in arguments.cases:
        case = CASES[name]
        for dtype in arguments.dtypes:
            print(
                f"{name}: {case.model.parameter_count() / 1e6:.1f} M parameters, "
                f"{case.rows} x {case.length} tokens, {dtype}",
                flush=True,
            )
            compare(case, dtype, commands, arguments.rounds)


if __name__ == "__main__":
    main()
