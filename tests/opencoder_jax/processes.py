"""The training command in several real processes, over gloo, on a tiny model."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.train import train
from tests import packed_example
from tests.opencoder_jax import small_run

# Enough that a signal after the first of them comes before the last, however fast they are.
STEPS = 60
ROOT = Path(__file__).parent.parent.parent


def flags(model_dir: Path | str, **mesh: int) -> list[str]:
    """Of a run of `STEPS` steps with a checkpoint after every fifteen."""
    # Rates in place of a task's name: seqio takes ten seconds to import.
    refinecode = "{'refinecode': 1.0}"
    return [
        "--gin_file=pretrain/demo.gin",
        f"--gin.MODEL_DIR={model_dir}",
        f"--gin.PACKED_DIR={packed_example.packed_dir()}",
        f"--gin.TOKENIZER_DIR={packed_example.tokenizer_dir()}",
        f"--gin.MIXTURE_OR_TASK_NAME={refinecode}",
        f"--gin.HELDOUT_TASK_NAME={refinecode}",
        f"--gin.TASK_FEATURE_LENGTHS={{'targets': {packed_example.SEQUENCE_LENGTH}}}",
        # A key head for each of two devices along `tensor`.
        *small_run.model_flags(num_kv_heads=2),
        *[f"--gin.sharding.MeshConfig.{name}={size}" for name, size in mesh.items()],
        "--gin.BATCH_SIZE=8",
        "--gin.checkpoints.SaveCheckpointConfig.period=15",
        "--gin.train.eval_period=30",
        "--gin.train.eval_steps=1",
        f"--gin.TRAIN_STEPS={STEPS}",
        "--gin.schedules.WarmupStable.peak=0.003",
        "--gin.distributed.DistributedConfig.heartbeat_timeout_seconds=10",
    ]


def run_alone(model_dir: Path | str, **mesh: int) -> int:
    """The run in this process."""
    mesh = {"virtual_cpu_devices": 8, **mesh}
    return configuration.main(train, flags(model_dir, **mesh))


class Processes:
    """Several processes of one run; a context manager that leaves none behind."""

    def __init__(
        self,
        command_flags: list[str],
        count: int,
        more: Mapping[int, list[str]] | None = None,
        folders: Mapping[int, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`more` flags, and a working folder, of single processes by their number."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.children = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "opencoder_jax.train",
                    *command_flags,
                    f"--gin.COORDINATOR_ADDRESS=127.0.0.1:{port}",
                    f"--gin.PROCESS_COUNT={count}",
                    f"--gin.PROCESS_INDEX={index}",
                    *(more or {}).get(index, []),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=(folders or {}).get(index, ROOT),
                env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
            )
            for index in range(count)
        ]

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self.children:
            child.kill()
            child.communicate()

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Returns when it holds; all processes have to be alive until then."""
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline
            for child in self.children:
                assert child.poll() is None, child.communicate()[1]
            time.sleep(0.02)

    def finished(self) -> list[tuple[int, str]]:
        """Exit status and stderr of each, once all have ended."""
        errors = [child.communicate(timeout=300)[1] for child in self.children]
        return [(child.returncode, text) for child, text in zip(self.children, errors, strict=True)]


def manifest(model_dir: Path) -> dict:
    return json.loads((model_dir / "manifest.json").read_text())
